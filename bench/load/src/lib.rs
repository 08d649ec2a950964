//! What the bench and its own servers share: what the kernel tells and takes, the bytes on the wire, and the load.

pub mod kernel;
pub mod link;
pub mod load;
pub mod wire;
