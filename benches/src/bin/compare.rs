//! Measures the engine against other servers under the same load; see [`benches::compare`].

use std::process::ExitCode;

fn main() -> ExitCode {
    benches::compare::main()
}
