//! The server as its clients see it: over real connections on the loopback.

mod common;

mod admission;
mod attacks;
mod auth;
mod compression;
mod cors;
mod counts;
mod drain;
mod held;
mod history;
mod http2;
mod limits;
mod memory;
mod meters;
mod operation;
mod page;
mod pages;
mod publish;
mod resume;
mod slow;
mod state;
mod streams;
mod tls;
mod traces;
mod webhook;
mod websocket;
