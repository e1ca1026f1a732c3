//! A stream means the same wherever it is cut, attachments included.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::stream(bytes));
