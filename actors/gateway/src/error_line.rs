//! Errors as a client sees them: one line with a first word that programs can rely on.
//!
//! | first word | what happened |
//! |---|---|
//! | `ERR` | the request itself is wrong, as in Redis |
//! | `WRONGTYPE` `NOAUTH` `WRONGPASS` `NOPERM` `NOPROTO` | as in Redis |
//! | `REFUSED` | the script threw, or returned `false`: what it threw |
//! | `BUDGET` | the script ran out of this budget |
//! | `FAILED` | the script failed |
//! | `LIMITED` | a rate is used up: when to try again |
//! | `QUARANTINED` | handlers are off after repeated failures |
//! | `NOSCRIPT` `BADSCRIPT` | no such script; a script that does not compile |
//! | `OWNED` | the object belongs to somebody else |
//! | `TOOBIG` | larger than the contract allows |
//! | `TIMEOUT` | no answer in time |
//! | `NOQUORUM` | too few nodes have stored it: it may be on some, and may yet reach the others |
//! | `FORBIDDEN` | the script asked for what an object may not do |
//! | `UNAVAILABLE` | the node cannot do it now |

use std::borrow::Cow;

use comet_kernel::contract::aso::Refusal;
use comet_kernel::contract::library::LibraryError;
use comet_kernel::handle::CallError;
use comet_kernel::key::KeyError;
use comet_kernel::reply::NoAnswer;

/// One line of error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErrorLine(Cow<'static, str>);

impl ErrorLine {
    /// An error of Redis, or of our own, whose text is known.
    pub(crate) const fn fixed(text: &'static str) -> Self {
        ErrorLine(Cow::Borrowed(text))
    }

    /// An error with a text that may carry anything, be it what a script threw: what could end the line or act on a
    /// terminal is made visible and harmless.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        ErrorLine(Cow::Owned(harmless(text.into())))
    }

    /// The request is not written as the command wants it.
    pub(crate) const SYNTAX: Self = Self::fixed("ERR syntax error");
    /// Something else stands where an integer should.
    pub(crate) const NOT_AN_INTEGER: Self = Self::fixed("ERR value is not an integer or out of range");
    /// The value is of a type that the command has no use for.
    pub(crate) const WRONG_TYPE: Self =
        Self::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");

    /// The line.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// An object answered something that its contract does not say.
    pub(crate) fn unexpected(what: &impl std::fmt::Debug) -> Self {
        tracing::error!(answer = ?what, "an object gave an answer of another kind");
        Self::fixed("UNAVAILABLE the object gave an answer of another kind")
    }
}

/// The text without characters that end a line or act on a terminal.
pub(crate) fn harmless(text: String) -> String {
    if text.contains(char::is_control) {
        let blank = |letter: char| if letter.is_whitespace() { ' ' } else { '?' };
        return text.chars().map(|letter| if letter.is_control() { blank(letter) } else { letter }).collect();
    }
    text
}

impl From<Refusal> for ErrorLine {
    fn from(refusal: Refusal) -> Self {
        let word = match &refusal {
            Refusal::Thrown(_) => "REFUSED",
            Refusal::Budget(_) => "BUDGET",
            Refusal::Failed(_) => "FAILED",
            Refusal::Limited { .. } => "LIMITED",
            Refusal::Quarantined => "QUARANTINED",
            Refusal::NoScript(_) => "NOSCRIPT",
            Refusal::BadScript(_) => "BADSCRIPT",
            Refusal::Owned(_) => "OWNED",
            Refusal::WrongType(_) => "WRONGTYPE",
            Refusal::NotANumber(_) => "ERR",
            Refusal::TooBig { .. } | Refusal::TooManyItems { .. } => "TOOBIG",
            Refusal::TimedOut(_) => "TIMEOUT",
            Refusal::NoQuorum { .. } => "NOQUORUM",
            Refusal::Forbidden(_) => "FORBIDDEN",
            Refusal::Unavailable(_) => "UNAVAILABLE",
        };
        ErrorLine::new(format!("{word} {refusal}"))
    }
}

impl From<LibraryError> for ErrorLine {
    fn from(error: LibraryError) -> Self {
        let word = match &error {
            LibraryError::BadName(_)
            | LibraryError::BuiltIn(_)
            | LibraryError::NoFormerVersion(_)
            | LibraryError::TooMany(_) => "ERR",
            LibraryError::BadScript(_) => "BADSCRIPT",
            LibraryError::NoScript(_) => "NOSCRIPT",
            LibraryError::Unavailable(_) => "UNAVAILABLE",
        };
        ErrorLine::new(format!("{word} {error}"))
    }
}

impl From<KeyError> for ErrorLine {
    fn from(error: KeyError) -> Self {
        let word = match error {
            KeyError::Empty => "ERR",
            KeyError::TooLong(_) => "TOOBIG",
        };
        ErrorLine::new(format!("{word} {error}"))
    }
}

impl From<NoAnswer> for ErrorLine {
    fn from(error: NoAnswer) -> Self {
        ErrorLine::new(format!("UNAVAILABLE {error}"))
    }
}

impl From<CallError> for ErrorLine {
    fn from(error: CallError) -> Self {
        ErrorLine::new(format!("UNAVAILABLE {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_throws_cannot_forge_protocol_or_act_on_a_terminal() {
        let line = ErrorLine::from(Refusal::Thrown("no\r\n+OK\r\n\u{1b}[2J\u{9b}2J\0\u{7f}".to_owned()));
        assert_eq!(line.as_str(), "REFUSED no  +OK  ?[2J?2J??");
    }

    #[test]
    fn every_refusal_has_a_first_word_that_programs_can_rely_on() {
        let limited = ErrorLine::from(Refusal::Limited { retry_after_ms: 20 });
        assert_eq!(limited.as_str(), "LIMITED retry after 20 ms");
        let number = ErrorLine::from(Refusal::NotANumber("value is not an integer or out of range".into()));
        assert_eq!(number, ErrorLine::NOT_AN_INTEGER);
        let quorum = ErrorLine::from(Refusal::NoQuorum { stored: 1, wanted: 3 });
        assert_eq!(quorum.as_str(), "NOQUORUM 1 of 3 nodes have stored it; try again");
        assert_eq!(ErrorLine::from(Refusal::Forbidden("not its key".into())).as_str(), "FORBIDDEN not its key");
    }
}
