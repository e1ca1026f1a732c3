//! What the binary `compare` is made of. The criterion benches stand beside it and use none of it.
#![forbid(unsafe_code)]

pub mod compare;
