//! `comet demo`: what it shows, and that nothing of it is left however it ends.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use comet_integration::node::comet;
use comet_integration::wait::look;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long the nodes may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// A demo that puts its data into this folder.
fn demo(folder: &Path, words: &[&str]) -> Command {
    let mut command = comet();
    command.arg("demo").args(words).env("TMPDIR", folder).stdin(Stdio::null());
    command
}

/// Processes that were started with this folder among their arguments.
fn processes(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap().as_bytes();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.windows(folder.len()).any(|part| part == folder)).count()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

/// A demo whose nodes serve.
fn running(folder: &Path) -> Child {
    let mut child = demo(folder, &["--nodes", "2"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("stays until Ctrl-C")), "the demo ended");
    assert_eq!(processes(folder), 1, "one of the two was killed as part of the walk");
    child
}

#[test]
fn the_walk_shows_three_objects_and_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let output = demo(folder.path(), &["--nodes", "3", "--once"]).output().unwrap();
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{errors}");
    for part in [
        "3 nodes are one network",
        "2) (integer) 2",
        "(error) REFUSED wrong password",
        "\"the comet returns in 2061\"",
        "kill -9",
        "\"still here\"",
    ] {
        assert!(text.contains(part), "{part} is missing: {text}\n{errors}");
    }
    assert!(!text.contains("UNAVAILABLE") && !text.contains("NOQUORUM"), "{text}");
    assert_eq!(processes(folder.path()), 0);
    assert!(is_empty(folder.path()), "a folder is left");
}

#[test]
fn a_demo_has_as_many_nodes_as_it_takes_even_if_they_need_not_all_know_each_other() {
    let folder = TempDir::new().unwrap();
    let output = demo(folder.path(), &["--nodes", "64", "--once"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("64 nodes are one network") && text.contains("\"still here\""), "{text}");
    assert_eq!(processes(folder.path()), 0);
}

#[test]
fn a_demo_that_is_told_to_end_leaves_nothing_behind() {
    for signal in [Signal::INT, Signal::TERM] {
        let folder = TempDir::new().unwrap();
        let mut child = running(folder.path());
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = look(PATIENCE, || child.try_wait().unwrap()).expect("it ends");
        assert!(status.success(), "{status}");
        assert_eq!(processes(folder.path()), 0);
        assert!(is_empty(folder.path()), "a folder is left");
    }
}

#[test]
fn the_nodes_of_a_demo_that_is_killed_end_with_it() {
    let folder = TempDir::new().unwrap();
    let mut child = running(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    look(PATIENCE, || (processes(folder.path()) == 0).then_some(())).expect("the nodes end");
}
