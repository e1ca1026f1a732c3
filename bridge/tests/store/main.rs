//! The store from outside: what it keeps, what it does with files that it cannot use, and what a
//! process that is killed leaves behind.
#![cfg(not(loom))]
#![allow(clippy::disallowed_methods, reason = "a test's own clock and patience")]

mod files;
mod full;
mod kill;
mod sample;
