//! See `openline_fuzz::targets::extensions`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| openline_fuzz::targets::extensions::run(data));
