//! See `openline_fuzz::targets::server_handshake`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| openline_fuzz::targets::server_handshake::run(data));
