//! Equality and order of values, bounded in depth. The engine leaves comparing arrays and maps to functions that it
//! looks up by name for each pair of items; ours calls back into nothing.

use std::cmp::Ordering;
use std::sync::Arc;

use comet_kernel::contract::aso::Budget;
use rhai::{Dynamic, EvalAltResult};

use super::blob::Blob;
use super::meter::{self, Fallible};
use super::text::DEPTH;

/// Work that may be done before the meter is told: that of comparing so many items, or 64 times as many bytes.
const UNPAID: usize = 1_024;

/// Whether two values are equal to a script. Numbers compare by value whatever their type. The same text may stand in many
/// places, so that little memory holds much to compare: it is charged on the way, and ends as soon as a budget does.
pub fn equal(a: &Dynamic, b: &Dynamic) -> Fallible<bool> {
    let mut walk = Walk { unpaid: 0, exact: false };
    let result = walk.equal(a, b, 0);
    meter::charge_items(walk.unpaid)?;
    result.map_err(|stop| match stop {
        Stop::TooDeep => meter::end(Budget::Size),
        Stop::Ended(error) => error,
    })
}

/// Whether two parts of a state are the same to the last bit. What is too deep to tell is not. Nothing is charged: one of
/// them is no larger than what a state may hold.
pub fn same(a: &Dynamic, b: &Dynamic) -> bool {
    Walk { unpaid: 0, exact: true }.equal(a, b, 0).unwrap_or(false)
}

/// The order of two numbers, texts, characters or booleans; `None` for anything else.
pub fn order(a: &Dynamic, b: &Dynamic) -> Option<Ordering> {
    if let (Ok(a), Ok(b)) = (a.as_int(), b.as_int()) {
        return Some(a.cmp(&b));
    }
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return Some(a.total_cmp(&b));
    }
    if let (Ok(a), Ok(b)) = (a.as_immutable_string_ref(), b.as_immutable_string_ref()) {
        return Some(a.as_str().cmp(b.as_str()));
    }
    if let (Ok(a), Ok(b)) = (a.as_char(), b.as_char()) {
        return Some(a.cmp(&b));
    }
    if let (Ok(a), Ok(b)) = (a.as_bool(), b.as_bool()) {
        return Some(a.cmp(&b));
    }
    None
}

/// An integer or float as a float.
pub fn number(value: &Dynamic) -> Option<f64> {
    value.as_float().ok().or_else(|| value.as_int().ok().map(|number| number as f64))
}

/// Why a comparison ended early.
enum Stop {
    TooDeep,
    /// A budget.
    Ended(Box<EvalAltResult>),
}

struct Walk {
    /// Items compared since the meter was told last; 64 bytes are one.
    unpaid: usize,
    /// Whether it is two states that are compared, and nobody who has to pay.
    exact: bool,
}

impl Walk {
    fn equal(&mut self, a: &Dynamic, b: &Dynamic, depth: usize) -> Result<bool, Stop> {
        if depth > DEPTH {
            return Err(Stop::TooDeep);
        }
        self.pay(1)?;
        // Asking for a type is cheap; trying a wrong one composes its name.
        if a.is_array() && b.is_array() {
            let (Ok(a), Ok(b)) = (a.as_array_ref(), b.as_array_ref()) else { unreachable!("both are arrays") };
            return if a.len() == b.len() { self.all(a.iter().zip(b.iter()), depth) } else { Ok(false) };
        }
        if a.is_map() && b.is_map() {
            let (Ok(a), Ok(b)) = (a.as_map_ref(), b.as_map_ref()) else { unreachable!("both are maps") };
            return if a.keys().eq(b.keys()) { self.all(a.values().zip(b.values()), depth) } else { Ok(false) };
        }
        self.flat(a, b)
    }

    /// Pays for the comparison of so many items before it is made.
    fn pay(&mut self, items: usize) -> Result<(), Stop> {
        self.unpaid += items;
        if self.exact || self.unpaid < UNPAID {
            return Ok(());
        }
        meter::charge_items(std::mem::take(&mut self.unpaid)).map_err(Stop::Ended)
    }

    fn all<'a>(
        &mut self,
        mut pairs: impl Iterator<Item = (&'a Dynamic, &'a Dynamic)>,
        depth: usize,
    ) -> Result<bool, Stop> {
        pairs.try_fold(true, |equal, (a, b)| Ok(equal && self.equal(a, b, depth + 1)?))
    }

    fn flat(&mut self, a: &Dynamic, b: &Dynamic) -> Result<bool, Stop> {
        if let (Ok(a), Ok(b)) = (a.as_int(), b.as_int()) {
            return Ok(a == b);
        }
        if let (Ok(a), Ok(b)) = (a.as_immutable_string_ref(), b.as_immutable_string_ref()) {
            if a.ptr_eq(&b) || a.len() != b.len() {
                return Ok(a.ptr_eq(&b));
            }
            self.pay(a.len() / 64)?;
            return Ok(*a == *b);
        }
        if let (Some(a), Some(b)) = (a.read_lock::<Blob>(), b.read_lock::<Blob>()) {
            if Arc::ptr_eq(&a.0, &b.0) || a.0.len() != b.0.len() {
                return Ok(Arc::ptr_eq(&a.0, &b.0));
            }
            self.pay(a.0.len() / 64)?;
            return Ok(*a == *b);
        }
        if self.exact && a.type_id() != b.type_id() {
            return Ok(false);
        }
        if let (Some(a), Some(b)) = (number(a), number(b)) {
            #[expect(clippy::float_cmp, reason = "a script that compares floats gets what it asks for")]
            return Ok(if self.exact { a.to_bits() == b.to_bits() } else { a == b });
        }
        Ok((a.is_unit() && b.is_unit()) || (a.type_id() == b.type_id() && order(a, b) == Some(Ordering::Equal)))
    }
}
