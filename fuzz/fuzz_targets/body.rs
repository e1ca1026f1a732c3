//! Any body of any kind is read or refused, and comes back as it was.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(bytes));
