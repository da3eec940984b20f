//! Programs that a test drives the node with and that may be missing where it runs.

use std::process::{Command, Stdio};

/// Whether the program is there. If it is not, the test says so and ends early; where `COMET_REQUIRE_CLIENTS` is set to
/// 1, it fails. `probe` are arguments with which the program does nothing and succeeds.
///
/// # Panics
///
/// If the program is missing and required.
pub fn available(program: &str, probe: &[&str]) -> bool {
    let mut command = Command::new(program);
    let run = command.args(probe).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if run.is_ok_and(|status| status.success()) {
        return true;
    }
    let required = std::env::var("COMET_REQUIRE_CLIENTS").is_ok_and(|flag| flag == "1");
    assert!(!required, "{program} is missing, and COMET_REQUIRE_CLIENTS=1 asks for it");
    println!("skipped: needs {program}");
    false
}
