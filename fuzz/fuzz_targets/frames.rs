//! See `openline_fuzz::targets::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| openline_fuzz::targets::frames::run(data));
