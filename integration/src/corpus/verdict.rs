//! What a case expects, and whether it came.

use std::fmt;

use serde_json::Value as Json;

use super::json;

/// One of the outcomes that are right.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// This value.
    Value(Json),
    /// Some value.
    AnyValue,
    /// Nothing was found.
    Absent,
    /// No answer yet.
    Parked,
    /// The operation took effect.
    Ok,
    /// The present object stayed.
    Kept,
    /// An error with this first word, whose rest begins with this text.
    Error {
        /// The first word.
        word: String,
        /// What the rest begins with.
        rest: String,
    },
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// A value.
    Value(Json),
    /// A null.
    Absent,
    /// No answer yet.
    Parked,
    /// It took effect.
    Ok,
    /// It was answered, and the present object stayed.
    Kept,
    /// A tick was handled. Nobody is told more than whether the handler failed; one that throws does not fail.
    Ticked {
        /// Whether it failed.
        failed: bool,
    },
    /// An error line.
    Error {
        /// Its first word.
        word: String,
        /// The rest.
        rest: String,
    },
}

/// First words that stand for a failing script or a request that is wrong in itself.
const FAILURES: [&str; 3] = ["FAILED", "ERR", "WRONGTYPE"];
const WORDS: [&str; 8] = ["BUDGET", "REFUSED", "ERR", "BADSCRIPT", "TOOBIG", "LIMITED", "QUARANTINED", "UNAVAILABLE"];

impl Verdict {
    /// The alternatives of a header.
    pub(super) fn alternatives(text: &str) -> Result<Vec<Verdict>, String> {
        text.split(" | ").map(Verdict::parse).collect()
    }

    fn parse(text: &str) -> Result<Verdict, String> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        Ok(match (word, rest) {
            ("value", "*") => Verdict::AnyValue,
            ("value", value) => Verdict::Value(json(value)?),
            ("absent", "") => Verdict::Absent,
            ("parked", "") => Verdict::Parked,
            ("ok", "") => Verdict::Ok,
            ("kept", "") => Verdict::Kept,
            (word, rest) if WORDS.contains(&word) => {
                Verdict::Error { word: word.to_owned(), rest: rest.trim_end_matches('*').to_owned() }
            }
            _ => return Err(format!("there is no verdict {text:?}")),
        })
    }

    /// Whether this is what came.
    pub fn allows(&self, observed: &Observed) -> bool {
        match (self, observed) {
            (Verdict::Value(expected), Observed::Value(value)) => expected == value,
            (Verdict::AnyValue, Observed::Value(_))
            | (Verdict::Absent, Observed::Absent)
            | (Verdict::Parked, Observed::Parked)
            | (
                Verdict::Ok,
                Observed::Ok | Observed::Value(_) | Observed::Absent | Observed::Ticked { failed: false },
            )
            | (Verdict::Kept, Observed::Kept) => true,
            (Verdict::Error { word, .. }, Observed::Ticked { failed }) => (word != "REFUSED") == *failed,
            (Verdict::Error { word, rest }, Observed::Error { word: other, rest: text }) => {
                let same = if word == "ERR" { FAILURES.contains(&other.as_str()) } else { word == other };
                same && text.starts_with(rest)
            }
            _ => false,
        }
    }
}

impl Observed {
    /// An error line.
    pub fn error(line: &str) -> Observed {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Observed::Error { word: word.to_owned(), rest: rest.to_owned() }
    }

    /// Whether the source was refused.
    pub fn is_bad_script(&self) -> bool {
        matches!(self, Observed::Error { word, .. } if word == "BADSCRIPT")
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Observed::Value(value) => {
                let text = value.to_string();
                write!(formatter, "value {}", text.chars().take(80).collect::<String>())
            }
            Observed::Error { word, rest } => write!(formatter, "{word} {rest}"),
            other => write!(formatter, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(expected: &str, observed: &Observed) -> bool {
        Verdict::alternatives(expected).unwrap().iter().any(|verdict| verdict.allows(observed))
    }

    #[test]
    fn alternatives_allow_what_they_name_and_nothing_else() {
        let time = Observed::error("BUDGET time");
        assert!(allows("BUDGET operations | BUDGET time", &time) && allows("BUDGET *", &time));
        assert!(!allows("BUDGET operations | REFUSED", &time));
        assert!(allows("ERR *", &Observed::error("FAILED line 1: no")));
        assert!(allows("REFUSED no", &Observed::error("REFUSED no  +OK")));
        assert!(!allows("REFUSED after", &Observed::error("REFUSED no")));
    }

    #[test]
    fn integers_and_floats_differ_and_fields_have_no_order() {
        assert!(!allows("value 1", &Observed::Value(json("1.0").unwrap())));
        assert!(allows("value {\"a\":1,\"b\":2}", &Observed::Value(json("{\"b\":2,\"a\":1}").unwrap())));
        assert!(allows("ok", &Observed::Absent) && !allows("value *", &Observed::Absent));
    }

    #[test]
    fn a_tick_tells_only_whether_it_failed() {
        assert!(allows("BUDGET time", &Observed::Ticked { failed: true }));
        assert!(allows("REFUSED no", &Observed::Ticked { failed: false }));
        assert!(!allows("ok", &Observed::Ticked { failed: true }));
    }
}
