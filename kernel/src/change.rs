//! How a change is worked out: the rules that hold on every node, wherever the object is.

use std::borrow::Cow;
use std::time::Duration;

use crate::clock::UnixMillis;
use crate::contract::aso::{Edit, Lifetime, Put, Refusal, Revision};
use crate::limits;
use crate::value::Value;

impl Put {
    /// Refuses values that are too large, have too many items or nest too deeply.
    pub fn check(&self) -> Result<(), Refusal> {
        check(&self.value)
    }
}

impl Revision {
    /// Refuses values that are too large, have too many items or nest too deeply.
    pub fn check(&self) -> Result<(), Refusal> {
        self.value.as_ref().map_or(Ok(()), check)
    }
}

/// Refuses a value that is too large, has too many items or nests too deeply to be stored.
pub fn check(value: &Value) -> Result<(), Refusal> {
    let size = value.encoded_size();
    // The few bytes of MessagePack's own heads are not the client's concern.
    if size > limits::VALUE_BYTES + 16 {
        return Err(Refusal::TooBig { what: "the value".into(), size, limit: limits::VALUE_BYTES });
    }
    if value.items() > limits::VALUE_ITEMS {
        return Err(Refusal::TooManyItems { what: "the value".into(), limit: limits::VALUE_ITEMS });
    }
    if value.depth() > limits::VALUE_DEPTH {
        return Err(Refusal::WrongType("the value nests deeper than 32 levels".into()));
    }
    Ok(())
}

/// On what present end a change of the end depends. An object without an end counts as one that ends later than all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCondition {
    /// On none.
    Always,
    /// The object has no end.
    IfNone,
    /// It has one.
    IfSome,
    /// The new end is later.
    IfLater,
    /// The new end is sooner.
    IfSooner,
    /// It has an end, and the new one is sooner.
    IfSomeSooner,
}

impl EndCondition {
    /// Whether an object that ends at `present` may be given the end `new`.
    pub fn holds(self, present: Option<UnixMillis>, new: Option<UnixMillis>) -> bool {
        let never = UnixMillis(u64::MAX);
        let (from, to) = (present.unwrap_or(never), new.unwrap_or(never));
        match self {
            EndCondition::Always => true,
            EndCondition::IfNone => present.is_none(),
            EndCondition::IfSome => present.is_some(),
            EndCondition::IfLater => to > from,
            EndCondition::IfSooner => to < from,
            EndCondition::IfSomeSooner => present.is_some() && to < from,
        }
    }
}

impl Lifetime {
    /// When an object ends that is given this lifetime while the present one ends at `present`. No life is longer than
    /// `longest`, if there is such a limit.
    pub fn end(self, present: Option<UnixMillis>, now: UnixMillis, longest: Option<Duration>) -> Option<UnixMillis> {
        let century = Duration::from_secs(limits::LIFETIME_SECONDS);
        let wanted = match self {
            Lifetime::Endless => None,
            Lifetime::Keep => present,
            Lifetime::For(duration) => Some(now.after(duration.min(century))),
            Lifetime::At(end) => Some(end.min(now.after(century))),
        };
        match (wanted, longest.map(|longest| now.after(longest))) {
            (Some(wanted), Some(most)) => Some(wanted.min(most)),
            (wanted, most) => wanted.or(most),
        }
    }
}

impl Edit {
    /// The value that the edit makes of the present one, or of nothing.
    pub fn apply(&self, present: Option<&Value>) -> Result<Value, Refusal> {
        match self {
            Edit::Add(amount) => {
                let number = present.map_or(Some(0), whole).ok_or(NOT_AN_INTEGER)?;
                number.checked_add(*amount).map(Value::Int).ok_or(OVERFLOW)
            }
            Edit::AddFloat(amount) => {
                let number = present.map_or(Some(0.0), float).ok_or(NOT_A_FLOAT)?;
                let sum = number + amount;
                if sum.is_finite() { Ok(Value::Float(sum)) } else { Err(NOT_FINITE) }
            }
        }
    }
}

const NOT_AN_INTEGER: Refusal = Refusal::NotANumber(Cow::Borrowed("value is not an integer or out of range"));
const NOT_A_FLOAT: Refusal = Refusal::NotANumber(Cow::Borrowed("value is not a valid float"));
const OVERFLOW: Refusal = Refusal::NotANumber(Cow::Borrowed("increment or decrement would overflow"));
const NOT_FINITE: Refusal = Refusal::NotANumber(Cow::Borrowed("increment would produce NaN or Infinity"));

/// The integer that bytes write, as strictly as Redis reads it: an optional minus, digits, no leading zero.
pub fn integer(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let canonical = matches!(digits, [b'0'] | [b'1'..=b'9', ..]) && bytes != b"-0";
    if !canonical || bytes.len() > 20 {
        return None;
    }
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        // As Redis, which keeps numbers as they are written.
        Value::Float(number) if number.fract() == 0.0 && number.abs() < EXACT => Some(*number as i64),
        Value::Text(text) => integer(text.as_bytes()),
        _ => None,
    }
}

/// Below this, every whole number is a float of its own.
const EXACT: f64 = (1_u64 << 53) as f64;

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Text(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_strictly_as_redis_reads_them() {
        assert_eq!(integer(b"0"), Some(0));
        assert_eq!(integer(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer(b"9223372036854775807"), Some(i64::MAX));
        for wrong in [&b""[..], b"-", b"+1", b"01", b"-0", b" 1", b"1 ", b"1.0", b"9223372036854775808", b"\xff"] {
            assert_eq!(integer(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_no_integer_in_redis_cannot_be_counted_up() {
        let add = |value: Value| Edit::Add(1).apply(Some(&value));
        assert_eq!(add(Value::from("9")), Ok(Value::Int(10)));
        for wrong in ["007", "+5", "-0", "5 ", "", "5.0"] {
            assert_eq!(add(Value::from(wrong)), Err(NOT_AN_INTEGER), "{wrong:?}");
        }
        assert_eq!(add(Value::Float(4.0)), Ok(Value::Int(5)), "what INCRBYFLOAT has made whole");
        for wrong in [4.5, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(add(Value::Float(wrong)), Err(NOT_AN_INTEGER), "{wrong}");
        }
    }

    #[test]
    fn a_condition_on_the_end_takes_no_end_for_the_latest_of_all() {
        use EndCondition::{Always, IfLater, IfNone, IfSome, IfSomeSooner, IfSooner};
        let at = |milliseconds| Some(UnixMillis(milliseconds));
        let all = [Always, IfNone, IfSome, IfLater, IfSooner, IfSomeSooner];
        let held = |present, new| all.map(|condition| condition.holds(present, new));
        assert_eq!(held(None, at(5)), [true, true, false, false, true, false]);
        assert_eq!(held(at(5), at(9)), [true, false, true, true, false, false]);
        assert_eq!(held(at(9), at(5)), [true, false, true, false, true, true]);
        assert_eq!(held(at(5), at(5)), [true, false, true, false, false, false]);
        assert_eq!(held(at(5), None), [true, false, true, true, false, false]);
    }
}
