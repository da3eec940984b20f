//! The hostile scripts: their files, and what they expect. `hostile/README.md` says how a file is written.
//!
//! A file that is not written as it should be is an error of the corpus, and says so with its name.

mod generate;
mod verdict;

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

pub use self::verdict::{Observed, Verdict};

/// One hostile script.
#[derive(Clone, Debug)]
pub struct Case {
    /// Folder and name, such as `processor/spin`.
    pub name: String,
    /// The source as it is sent.
    pub source: Vec<u8>,
    /// What is done with it, in order.
    pub drive: Vec<Op>,
    /// The value of the put, as JSON text.
    pub value: String,
    /// What every driven get carries, as JSON text.
    pub payload: Option<String>,
    /// How often the last operation is done.
    pub repeat: usize,
    /// What is right for the last operation.
    pub expect: Vec<Verdict>,
    /// What is right for a plain get at the end.
    pub after: Option<Vec<Verdict>>,
    /// The child key that the same source is put at.
    pub twin: Option<u32>,
    /// The bound on wall time in milliseconds.
    pub wall_ms: u64,
    /// Whether nothing that the operator is shown may hold a control character.
    pub clean: bool,
}

/// What is done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The put of the object.
    Put,
    /// A get.
    Get,
    /// A put of a plain value.
    Update,
    /// A removal.
    Remove,
    /// A tick of the object's timer.
    Timer,
    /// The source takes over an object that followed another version of its name.
    Upgrade,
    /// A copy of the object arrives from another node.
    Arrive,
    /// A copy with another state arrives from another node.
    Merge,
}

impl Case {
    /// Whether the case is about what other nodes do: one node alone cannot be driven so.
    pub fn needs_network(&self) -> bool {
        self.drive.iter().any(|op| matches!(op, Op::Arrive | Op::Merge))
    }

    /// Whether the case waits for the object's timer.
    pub fn needs_timer(&self) -> bool {
        self.drive.contains(&Op::Timer)
    }

    /// Whether the case may leave a request without an answer for a while.
    pub fn may_park(&self) -> bool {
        self.expect.contains(&Verdict::Parked)
    }

    /// Reads one file.
    ///
    /// # Panics
    ///
    /// If it is not written as `README.md` says.
    pub fn read(path: &Path) -> Case {
        let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let stem = path.file_stem().and_then(|name| name.to_str()).expect("the corpus has plain names");
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).expect("in a folder");
        let (header, source) = split(&text);
        let parsed = Case::parse(&format!("{folder}/{stem}"), stem, &header, source);
        parsed.unwrap_or_else(|problem| panic!("{}: {problem}", path.display()))
    }

    fn parse(name: &str, stem: &str, header: &[(&str, &str)], source: &[u8]) -> Result<Case, String> {
        let (first, lines) = header.split_first().ok_or("it has no header")?;
        if first.0 != stem {
            return Err(format!("the first line names {:?}", first.0));
        }
        let mut case = Case {
            name: name.to_owned(),
            source: Vec::new(),
            drive: vec![Op::Get],
            value: "\"x\"".to_owned(),
            payload: None,
            repeat: 1,
            expect: Vec::new(),
            after: None,
            twin: None,
            wall_ms: 250,
            clean: false,
        };
        let mut generators = Vec::new();
        for (index, (word, text)) in lines.iter().enumerate() {
            if *word != "generate" && lines[..index].iter().any(|(other, _)| other == word) {
                return Err(format!("{word} stands twice"));
            }
            match *word {
                "drive" => case.drive = text.split(", ").map(op).collect::<Result<_, _>>()?,
                "value" => case.value = text.to_string(),
                "payload" => case.payload = Some((*text).to_owned()),
                "repeat" => case.repeat = number(text)?,
                "expect" => case.expect = Verdict::alternatives(text)?,
                "after" => case.after = Some(Verdict::alternatives(text)?),
                "twin" => case.twin = Some(number(text)?),
                "wall_ms" => case.wall_ms = number(text)?,
                "clean" if *text == "screen" => case.clean = true,
                "generate" => generators.push(*text),
                _ => return Err(format!("the header says {word}: {text}")),
            }
        }
        if case.expect.is_empty() {
            return Err("it expects nothing".to_owned());
        }
        case.source = generate::source(source, &generators)?;
        Ok(case)
    }
}

/// Every case, in the order of names.
///
/// # Panics
///
/// If a file is not written as it should be.
pub fn all() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile");
    let mut files: Vec<PathBuf> = folder(&root).iter().filter(|path| path.is_dir()).flat_map(|it| folder(it)).collect();
    files.sort();
    files.iter().map(|path| Case::read(path)).collect()
}

fn folder(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).expect("the corpus is there");
    entries.map(|entry| entry.expect("the corpus can be listed").path()).collect()
}

/// The header's words and texts, and what follows it without the line end that closes the file.
fn split(mut text: &[u8]) -> (Vec<(&str, &str)>, &[u8]) {
    let mut header = Vec::new();
    while let Some(end) = text.iter().position(|byte| *byte == b'\n')
        && let Some(line) = std::str::from_utf8(&text[..end]).ok().and_then(|line| line.strip_prefix("// "))
        && let Some((word, rest)) = line.split_once(": ")
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        header.push((word, rest));
        text = &text[end + 1..];
    }
    (header, text.strip_suffix(b"\n").unwrap_or(text))
}

fn op(word: &str) -> Result<Op, String> {
    Ok(match word {
        "put" => Op::Put,
        "get" => Op::Get,
        "update" => Op::Update,
        "remove" => Op::Remove,
        "timer" => Op::Timer,
        "upgrade" => Op::Upgrade,
        "arrive" => Op::Arrive,
        "merge" => Op::Merge,
        _ => return Err(format!("there is no operation {word:?}")),
    })
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// JSON that the corpus or the node wrote.
fn json(text: &str) -> Result<Json, String> {
    serde_json::from_str(text).map_err(|error| format!("{text:?} is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_written_as_the_readme_says() {
        let cases = all();
        assert!(cases.len() >= 700, "{} files", cases.len());
    }

    #[test]
    fn a_header_ends_at_the_first_line_that_is_none() {
        let (header, source) = split(b"// n: does x\n// expect: ok\n// no header\nfn f() {}\n");
        assert_eq!(header, [("n", "does x"), ("expect", "ok")]);
        assert_eq!(source, b"// no header\nfn f() {}");
    }

    #[test]
    fn what_the_readme_does_not_know_is_an_error() {
        for (header, reason) in [
            (&[("n", "x")][..], "expects nothing"),
            (&[("m", "x"), ("expect", "ok")], "names"),
            (&[("n", "x"), ("expect", "ok"), ("expect", "ok")], "twice"),
            (&[("n", "x"), ("expect", "fine")], "fine"),
            (&[("n", "x"), ("drive", "eat"), ("expect", "ok")], "eat"),
            (&[("n", "x"), ("colour", "red"), ("expect", "ok")], "colour"),
        ] {
            let error = Case::parse("f/n", "n", header, b"").unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
