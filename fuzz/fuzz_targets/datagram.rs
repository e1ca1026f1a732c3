//! A datagram with a right code is opened or refused, and comes back as it was.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::datagram(bytes));
