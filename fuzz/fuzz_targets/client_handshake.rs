//! See `openline_fuzz::targets::client_handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| openline_fuzz::targets::client_handshake::run(data));
