//! A length over the limit of its kind is refused from the header alone.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::length(bytes));
