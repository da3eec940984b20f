//! The binary `comet`: node, client and operator's tool in one.

use std::process::ExitCode;

fn main() -> ExitCode {
    comet_ops::cli::main()
}
