//! Standard output: JSON for programs, text for people, and nothing that could act on a terminal.
//!
//! Keys, values, logs and events come from strangers. Whatever could move a cursor, change a title or turn text around
//! is written as an escape before it reaches a terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

use serde::Serialize;

use super::failure::Failure;

/// Where a command's outcome goes.
pub(super) struct Output {
    /// Whether a program reads.
    pub(super) json: bool,
    terminal: bool,
    out: Box<dyn Write>,
}

impl Output {
    /// The process's standard output.
    pub(super) fn stdout(json: bool) -> Self {
        let out = std::io::stdout();
        Output { json, terminal: out.is_terminal(), out: Box::new(out) }
    }

    /// One line for people. Line breaks in it are escaped, so that nothing can pretend to be a line of its own.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.write(format!("{}\n", harmless(text)).as_bytes())
    }

    /// A text of several lines, such as a table or a source, as it is but for what could act on a terminal.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Failure> {
        if self.terminal {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            return self.write(format!("{}{end}", harmless_lines(text)).as_bytes());
        }
        self.write(text.as_bytes())
    }

    /// A value: byte for byte into a file or a pipe, harmless and with a line's end on a terminal.
    pub(super) fn value(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text),
            Err(_) if self.terminal => self.line(&bytes.escape_ascii().to_string()),
            Err(_) => self.write(bytes),
        }
    }

    /// One JSON document on one line.
    pub(super) fn json(&mut self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(document).expect("what is printed has text for its names");
        self.write(format!("{}\n", json_harmless(&text)).as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).and_then(|()| self.out.flush()).map_err(Failure::output)
    }
}

/// Whether a letter can act on a terminal: control codes of both sets, and what turns the direction of text around.
fn acts(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// One line that cannot act on a terminal.
pub(super) fn harmless(text: &str) -> String {
    escape(text, acts)
}

/// Lines that cannot act on a terminal; breaks and tabs stay.
pub(super) fn harmless_lines(text: &str) -> String {
    escape(text, |letter| acts(letter) && letter != '\n' && letter != '\t')
}

fn escape(text: &str, wanted: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if wanted(letter) {
            escaped.extend(letter.escape_default());
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

/// JSON writes the first set of control codes as escapes by itself. The rest can stand in strings only, where the same
/// escapes are right.
pub(super) fn json_harmless(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for letter in json.chars() {
        if acts(letter) {
            let _infallible = write!(escaped, "\\u{:04x}", u32::from(letter));
        } else {
            escaped.push(letter);
        }
    }
    escaped
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `work` prints.
    pub(in crate::cli) fn printed(json: bool, terminal: bool, work: impl FnOnce(&mut Output)) -> String {
        let out = Shared::default();
        work(&mut Output { json, terminal, out: Box::new(out.clone()) });
        let bytes = out.0.lock().unwrap().clone();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    const HOSTILE: &str = "a\u{1b}[2J\u{9b}1m\r\n\u{202e}z\u{7f}ü";

    #[test]
    fn nothing_that_acts_on_a_terminal_gets_there() {
        let line = printed(false, true, |output| output.line(HOSTILE).unwrap());
        assert_eq!(line, "a\\u{1b}[2J\\u{9b}1m\\r\\n\\u{202e}z\\u{7f}ü\n");
        let value = printed(false, true, |output| output.value(HOSTILE.as_bytes()).unwrap());
        assert_eq!(value, "a\\u{1b}[2J\\u{9b}1m\\r\n\\u{202e}z\\u{7f}ü\n");
        let bytes = printed(false, true, |output| output.value(b"\xff\x1b").unwrap());
        assert_eq!(bytes, "\\xff\\x1b\n");
    }

    #[test]
    fn a_value_goes_into_a_file_byte_for_byte() {
        assert_eq!(printed(false, false, |output| output.value(HOSTILE.as_bytes()).unwrap()), HOSTILE);
    }

    #[test]
    fn json_is_harmless_and_says_the_same() {
        let json = printed(true, true, |output| output.json(&HOSTILE).unwrap());
        assert!(!json.trim_end().contains(acts), "{json}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), HOSTILE);
    }
}
