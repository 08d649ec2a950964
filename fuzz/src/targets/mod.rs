//! The targets, one a module; each says what it tries and what must hold.

pub mod client_handshake;
pub mod deflate;
pub mod differential;
pub mod extensions;
pub mod frames;
pub mod operations;
pub mod server_handshake;
