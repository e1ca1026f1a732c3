//! The cursor hands out the bytes that it was given.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::reader(bytes));
