//! See `openline_fuzz::targets::differential`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| openline_fuzz::targets::differential::run(data));
