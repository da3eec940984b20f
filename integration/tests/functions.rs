//! What a script can see, asked of the binary that is shipped: a function that nobody meant to allow has to be seen here.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::path::Path;

use comet_integration::node::comet;

fn functions() -> String {
    let output = comet().args(["script", "functions"]).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_script_sees_the_functions_of_the_list_and_no_others() {
    let list = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("functions.txt")).unwrap();
    let seen = functions();
    let seen: Vec<&str> = seen.lines().collect();
    let allowed: Vec<&str> = list.lines().collect();
    let new: Vec<_> = seen.iter().filter(|function| !allowed.contains(function)).collect();
    let gone: Vec<_> = allowed.iter().filter(|function| !seen.contains(function)).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "new: {new:#?}\ngone: {gone:#?}\nIf that is meant: comet script functions > integration/functions.txt"
    );
}

#[test]
fn nothing_is_there_that_leaves_the_sandbox() {
    let functions = functions();
    for banned in [
        "eval",
        "import",
        "export",
        "sleep",
        "timestamp",
        "print",
        "debug",
        "curry",
        "call_native_fn",
        "is_shared",
        "open",
        "read_file",
        "exec",
        "env",
        "http",
    ] {
        let found = functions.lines().find(|line| line.split(['(', ' ', '.']).any(|word| word == banned));
        assert_eq!(found, None);
    }
}
