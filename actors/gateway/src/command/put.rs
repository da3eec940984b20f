//! What every command that puts something shares: values, life times, and what a put replies.

use std::time::Duration;

use comet_kernel::change::integer;
use comet_kernel::contract::aso::{Lifetime, Refusal, Reply};
use comet_kernel::{UnixMillis, Value, limits};

use crate::error_line::ErrorLine;
use crate::frame::{Frame, Outcome};

/// The value that a client's bytes are.
pub(super) fn value(bytes: &[u8]) -> Result<Value, ErrorLine> {
    within("the value", bytes.len(), limits::VALUE_BYTES)?;
    Ok(Value::from_wire(bytes))
}

/// Refuses what is larger than the contract allows, before it costs anything.
pub(super) fn within(what: &'static str, size: usize, limit: usize) -> Result<(), ErrorLine> {
    if size > limit { Err(Refusal::TooBig { what: what.into(), size, limit }.into()) } else { Ok(()) }
}

/// How a command writes a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// In so many seconds.
    Seconds,
    /// In so many milliseconds.
    Millis,
    /// At this second since 1970.
    AtSeconds,
    /// At this millisecond since 1970.
    AtMillis,
}

/// The life time that a word writes, for a command that takes a time to come only.
pub(super) fn lifetime(word: &[u8], unit: Unit, command: &str) -> Result<Lifetime, ErrorLine> {
    let number = integer(word).ok_or(ErrorLine::NOT_AN_INTEGER)?;
    let invalid = || ErrorLine::new(format!("ERR invalid expire time in '{command}' command"));
    if number <= 0 {
        return Err(invalid());
    }
    ending(number, unit).ok_or_else(invalid)
}

/// The life time of this number, which may be over already; none if it lies past the end of time.
pub(super) fn ending(number: i64, unit: Unit) -> Option<Lifetime> {
    let millis = match unit {
        Unit::Seconds | Unit::AtSeconds => number.checked_mul(1_000)?,
        Unit::Millis | Unit::AtMillis => number,
    };
    let longest = Duration::from_secs(limits::LIFETIME_SECONDS);
    Some(match (unit, u64::try_from(millis)) {
        (Unit::AtSeconds | Unit::AtMillis, Ok(millis)) => Lifetime::At(UnixMillis(millis)),
        (Unit::Seconds | Unit::Millis, Ok(millis @ 1..)) => Lifetime::For(Duration::from_millis(millis).min(longest)),
        // It is over.
        _ => Lifetime::At(UnixMillis(0)),
    })
}

/// `+OK` for a put without a condition. When `onUpdate` kept the present object the put was accepted all the same: what
/// to do with it is the object's own rule.
pub(super) fn accepted(outcome: Outcome, _: UnixMillis) -> Frame {
    match outcome {
        Ok(Reply::Stored { .. } | Reply::Kept { .. }) => Frame::OK,
        other => unexpected(other),
    }
}

/// `+OK`, or null if the put's condition did not hold.
pub(super) fn stored(outcome: Outcome, _: UnixMillis) -> Frame {
    match outcome {
        Ok(Reply::Stored { .. }) => Frame::OK,
        Ok(Reply::Kept { .. }) => Frame::NULL,
        other => unexpected(other),
    }
}

/// What was there before the put.
pub(super) fn former(outcome: Outcome, _: UnixMillis) -> Frame {
    match outcome {
        Ok(Reply::Stored { former: record } | Reply::Kept { present: record }) => Frame::record(record),
        other => unexpected(other),
    }
}

/// The error, or the error of having got an answer that the contract does not say.
pub(super) fn unexpected(outcome: Outcome) -> Frame {
    Frame::Error(outcome.map_or_else(|error| error, |reply| ErrorLine::unexpected(&reply)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_past_the_end_of_time_are_refused_and_long_ones_clamped() {
        assert_eq!(ending(i64::MAX, Unit::Seconds), None);
        assert_eq!(ending(i64::MIN, Unit::AtSeconds), None);
        let longest = Duration::from_secs(limits::LIFETIME_SECONDS);
        assert_eq!(ending(i64::MAX, Unit::Millis), Some(Lifetime::For(longest)));
    }

    #[test]
    fn what_is_over_ends_at_once() {
        for unit in [Unit::Seconds, Unit::Millis, Unit::AtSeconds, Unit::AtMillis] {
            assert_eq!(ending(-1, unit), Some(Lifetime::At(UnixMillis(0))));
        }
        assert_eq!(ending(0, Unit::Seconds), Some(Lifetime::At(UnixMillis(0))));
    }
}
