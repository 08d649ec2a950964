//! Fuzz targets of openline-proto.
//!
//! Each is a plain function of bytes that returns, or panics where a promise of the library is broken. The programs of
//! `fuzz_targets/` hand them to libFuzzer; `tests/corpus.rs` runs them on what was found worth keeping.

#![forbid(unsafe_code)]

pub mod choices;
pub mod heads;
pub mod hearing;
mod model;
pub mod pair;
pub mod targets;
pub mod wire;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of its program, its module and its directory of `corpus/`.
    pub name: &'static str,
    /// Tries one input; panics if the library breaks a promise.
    pub run: fn(&[u8]),
    /// Inputs to begin with, which reach what the fuzzer would be long in finding.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! targets {
    ($($name:ident),*) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: targets::$name::run,
            seeds: targets::$name::seeds,
        }),*];
    };
}

targets!(
    server_handshake,
    client_handshake,
    extensions,
    frames,
    deflate,
    operations,
    differential
);
