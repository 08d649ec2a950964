//! See `openline_fuzz::targets::operations`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| openline_fuzz::targets::operations::run(data));
