//! See `openline_fuzz::targets::deflate`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| openline_fuzz::targets::deflate::run(data));
