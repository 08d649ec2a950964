//! The server as its clients see it: over real connections on the loopback.

mod common;

mod attacks;
mod cors;
mod drain;
mod limits;
mod meters;
mod page;
mod pages;
mod publish;
mod resume;
mod state;
mod streams;
mod websocket;
