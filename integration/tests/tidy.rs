//! The rules of the house that no compiler knows.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::path::{Path, PathBuf};
use std::process::Command;

use comet_integration::client::available;

const LINES_OF_A_FILE: usize = 500;
const LINES_OF_A_FUNCTION: usize = 60;
const COLUMNS: usize = 120;
/// The formatter leaves comments and texts alone: lines with one may be this much longer. Rows of a table, in a comment
/// or of a test, may be as long as they need.
const COLUMNS_OF_TEXT: usize = 125;
/// The slides' bound for the sandbox's own code, its tests not counted.
const LINES_OF_THE_SANDBOX: usize = 5_000;

/// Functions that may be longer, and why.
const LONG: [(&str, &str); 2] = [
    ("actors/aso/benches/sandbox.rs::sources", "a table of scripts"),
    ("actors/aso/src/sandbox/tests/natives.rs::functions_do_what_their_lines_say", "a table of calls and results"),
];

/// The one file with `unsafe`: a global allocator has no other way.
const ALLOCATOR: &str = "actors/aso/src/sandbox/allocator.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Every file of the repository, new ones included, ignored ones not. None where git does not know them: in the archive
/// of a release, or without git.
fn files() -> Option<Vec<String>> {
    if !available("git", &["ls-files", "--error-unmatch", "Cargo.toml"]) {
        return None;
    }
    let words = ["ls-files", "--cached", "--others", "--exclude-standard", "-z"];
    let output = Command::new("git").args(words).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).unwrap();
    let files = names.split('\0').filter(|name| !name.is_empty() && root().join(name).is_file());
    Some(files.map(ToOwned::to_owned).collect())
}

/// A Rust file.
struct Source {
    name: String,
    text: String,
}

fn sources() -> Option<Vec<Source>> {
    let rust = files()?.into_iter().filter(|name| Path::new(name).extension().is_some_and(|it| it == "rs"));
    let sources: Vec<_> =
        rust.map(|name| Source { text: std::fs::read_to_string(root().join(&name)).unwrap(), name }).collect();
    assert!(sources.len() > 100, "{} Rust files", sources.len());
    Some(sources)
}

impl Source {
    /// Whether the whole file is about tests.
    fn is_test(&self) -> bool {
        ["/tests/", "/benches/", "/tests.rs"].iter().any(|part| self.name.contains(part))
    }

    /// The lines before the unit tests at the file's end, numbered from 1. Of a file of tests, none.
    fn product(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.is_test();
        let lines = self.text.lines().take_while(|line| !line.ends_with("mod tests {"));
        lines.enumerate().filter(move |_| !tests).map(|(index, line)| (index + 1, line))
    }
}

/// The line without what stands in texts and comments. Good enough for well-formatted code.
fn code(line: &str) -> String {
    let mut code = String::new();
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                while let Some(inner) = letters.next() {
                    match inner {
                        '\\' => drop(letters.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            '/' if letters.peek() == Some(&'/') => break,
            letter => code.push(letter),
        }
    }
    code
}

/// Functions with the number of their lines, signature to closing brace, by their indentation.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Vec<(String, usize, usize)> = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let indentation = line.len() - line.trim_start().len();
        let words = line.trim_start().trim_start_matches("pub").trim_start_matches(|letter| letter != ' ').to_owned();
        let starts = [line.trim_start(), words.trim_start()]
            .iter()
            .any(|rest| ["fn ", "async fn ", "const fn ", "unsafe fn "].iter().any(|start| rest.starts_with(start)));
        if starts && !line.trim_end().ends_with(';') && !line.trim_end().ends_with('}') {
            let name = line.split("fn ").nth(1).unwrap_or_default();
            let name = name.split(['(', '<']).next().unwrap_or_default().to_owned();
            open.push((name, indentation, number));
        }
        if matches!(line.trim_end(), closing if closing.trim_start() == "}")
            && open.last().is_some_and(|(_, start, _)| *start == indentation)
        {
            let (name, _, start) = open.pop().expect("there is a last one");
            found.push((name, number - start + 1));
        }
    }
    found
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn every_file_says_first_what_it_is() {
    let Some(sources) = sources() else { return };
    let silent = sources.into_iter().filter(|source| !source.text.starts_with("//! "));
    assert_none(&silent.map(|source| source.name).collect::<Vec<_>>());
}

#[test]
fn no_file_is_longer_than_it_may_be() {
    let Some(sources) = sources() else { return };
    let long = sources.iter().map(|source| (&source.name, source.text.lines().count()));
    let long = long.filter(|(_, lines)| *lines > LINES_OF_A_FILE);
    assert_none(&long.map(|(name, lines)| format!("{name}: {lines} lines")).collect::<Vec<_>>());
}

#[test]
fn no_function_is_longer_than_it_may_be() {
    let mut counted = 0;
    let Some(sources) = sources() else { return };
    let mut problems = Vec::new();
    for source in sources {
        for (name, lines) in functions(&source) {
            counted += 1;
            let known = LONG.iter().any(|(long, _)| *long == format!("{}::{name}", source.name));
            if lines > LINES_OF_A_FUNCTION && !known {
                problems.push(format!("{}: {name} has {lines} lines", source.name));
            }
        }
    }
    assert!(counted > 1_000, "{counted} functions");
    assert_none(&problems);
}

#[test]
fn no_line_is_longer_than_it_may_be() {
    let Some(sources) = sources() else { return };
    let mut problems = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            let is_row = line.starts_with("//! |") || source.is_test() && line.contains('"');
            let most = if line.contains("//") || line.contains('"') { COLUMNS_OF_TEXT } else { COLUMNS };
            if line.chars().count() > most && !is_row {
                problems.push(format!("{}:{}", source.name, number + 1));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn nothing_is_left_undone() {
    let Some(sources) = sources() else { return };
    let mut problems = Vec::new();
    for source in sources {
        for (number, line) in source.product() {
            let code = code(line);
            let left = [".unwrap()", "dbg!(", "todo!(", "unimplemented!("].iter().any(|word| code.contains(word));
            // Written so that this line does not find itself.
            let noted = [["TO", "DO"], ["FIX", "ME"], ["X", "XX"]].iter().any(|word| line.contains(&word.concat()));
            if left || noted {
                problems.push(format!("{}:{number}: {}", source.name, line.trim()));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn only_the_allocator_is_unsafe() {
    let Some(sources) = sources() else { return };
    let mut problems = Vec::new();
    for source in sources {
        let lines = source.text.lines().enumerate();
        let unsafe_lines = lines.filter(|(_, line)| {
            code(line).split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == "unsafe")
        });
        if source.name == ALLOCATOR {
            assert!(unsafe_lines.count() > 0, "{ALLOCATOR} is not the exception any more");
        } else {
            problems.extend(unsafe_lines.map(|(number, _)| format!("{}:{}", source.name, number + 1)));
        }
    }
    assert_none(&problems);
}

#[test]
fn no_file_knows_the_machine_that_it_was_written_on() {
    // Put together here, so that this file does not name them.
    let homes: Vec<String> = ["home", "root", "work", "Users"].iter().map(|folder| format!("/{folder}/")).collect();
    let Some(files) = files() else { return };
    let mut problems = Vec::new();
    for name in files.into_iter().filter(|name| !name.starts_with("integration/hostile/")) {
        let Ok(text) = std::fs::read_to_string(root().join(&name)) else { continue };
        for (number, line) in text.lines().enumerate() {
            // A path begins where no other path goes on.
            let begins = |home: &String| {
                line.match_indices(home.as_str()).any(|(at, _)| {
                    !line[..at].ends_with(|before: char| before.is_alphanumeric() || "_-./{}*)".contains(before))
                })
            };
            if homes.iter().any(begins) {
                problems.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn the_sandbox_can_be_read_in_one_sitting() {
    let is_sandbox = |name: &str| name == "actors/aso/src/sandbox.rs" || name.starts_with("actors/aso/src/sandbox/");
    let Some(sources) = sources() else { return };
    let lines: usize =
        sources.iter().filter(|source| is_sandbox(&source.name)).map(|source| source.product().count()).sum();
    assert!((1_000..LINES_OF_THE_SANDBOX).contains(&lines), "{lines} lines");
}

#[test]
fn modules_are_files_beside_their_folders() {
    let Some(files) = files() else { return };
    let old: Vec<PathBuf> = files.into_iter().map(PathBuf::from).filter(|path| path.ends_with("mod.rs")).collect();
    assert_eq!(old, Vec::<PathBuf>::new());
}
