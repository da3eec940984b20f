//! The shipped binary, as the tests of this crate find it: cargo builds it next to them, from the same profile.

use std::process::ExitCode;

fn main() -> ExitCode {
    comet_ops::cli::main()
}
