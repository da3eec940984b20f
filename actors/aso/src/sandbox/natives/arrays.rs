//! Functions on arrays. Callbacks get each item; what they return decides.

use std::cmp::Ordering;

use rhai::{Array, Dynamic, Engine, FnPtr, ImmutableString, NativeCallContext};

use super::{Register, index, part};
use crate::sandbox::compare;
use crate::sandbox::failure::refuse;
use crate::sandbox::meter::{self, Fallible};
use crate::sandbox::text::text;

pub fn register(engine: &mut Engine) {
    reading(engine);
    changing(engine);
    calling(engine);
}

fn reading(engine: &mut Engine) {
    engine
        .add_property("len", "the number of items", |array: &mut Array| array.len() as i64)
        .add_property("is_empty", "whether there is no item", |array: &mut Array| array.is_empty())
        .add("contains", "whether an equal item is there", |array: &mut Array, item: Dynamic| {
            find(array, &item).map(|found| found.is_some())
        })
        .add("index_of", "where the first equal item is; -1 if there is none", |array: &mut Array, item: Dynamic| {
            find(array, &item).map(|found| found.map_or(-1, |index| index as i64))
        })
        .add("get", "the item at an index; () if there is none", |array: &mut Array, at: i64| {
            index(at, array.len()).map_or(Dynamic::UNIT, |index| array[index].clone())
        })
        .add("extract", "the items from an index on", |array: &mut Array, start: i64| extract(array, start, i64::MAX))
        .add("extract", "so many items from an index on", |array: &mut Array, start: i64, count: i64| {
            extract(array, start, count)
        })
        .add(
            "join",
            "the items as one text, with a text between each two",
            |array: &mut Array, between: ImmutableString| join(array, &between),
        )
        .add("+", "an array with the items of both", |a: &mut Array, b: Array| {
            let mut sum = a.clone();
            append(&mut sum, b).map(|()| sum)
        });
}

fn changing(engine: &mut Engine) {
    engine
        .add_change("push", "adds an item at the end", push)
        .add_change("append", "adds the items of another array at the end", append)
        .add_change("pop", "takes the last item off; () if there is none", |array: &mut Array| {
            array.pop().unwrap_or(Dynamic::UNIT)
        })
        .add_change("shift", "takes the first item off; () if there is none", |array: &mut Array| take(array, 0))
        .add_change("insert", "puts an item before the one at an index", insert)
        .add_change("remove", "takes the item at an index out; () if there is none", take)
        .add_change("set", "puts an item in the place of the one at an index", set)
        .add_change("clear", "removes every item", |array: &mut Array| array.clear())
        .add_change("truncate", "keeps at most so many items from the start", |array: &mut Array, count: i64| {
            array.truncate(usize::try_from(count).unwrap_or(0));
        })
        .add_change("chop", "keeps at most so many items from the end", |array: &mut Array, count: i64| {
            array.drain(..array.len().saturating_sub(usize::try_from(count).unwrap_or(0)));
        })
        .add_change("pad", "adds an item until there are so many", pad)
        .add_change("reverse", "turns the order round", |array: &mut Array| {
            meter::charge_items(array.len()).map(|()| array.reverse())
        })
        .add_change("sort", "sorts numbers or texts in ascending order", |array: &mut Array| {
            sort(array, |a, b| match compare::order(a, b) {
                Some(order) => meter::charge(1).map(|()| order),
                None => refuse("only numbers, texts, characters or booleans can be sorted without a function"),
            })
        })
        .add_change("sort", "sorts by a function that returns a number below, at or above 0 for two items", sort_by);
}

fn calling(engine: &mut Engine) {
    engine
        .add("map", "an array of what the function returns for each item", map)
        .add("filter", "the items for which the function is true", filter)
        .add("for_each", "calls the function with each item", for_each)
        .add(
            "reduce",
            "folds the items by a function of result and item, from () on",
            |context: NativeCallContext, array: &mut Array, step: FnPtr| reduce(&context, array, &step, Dynamic::UNIT),
        )
        .add(
            "reduce",
            "folds the items by a function of result and item, from a first result on",
            |context: NativeCallContext, array: &mut Array, step: FnPtr, first: Dynamic| {
                reduce(&context, array, &step, first)
            },
        )
        .add(
            "some",
            "whether the function is true for an item",
            |context: NativeCallContext, array: &mut Array, test: FnPtr| {
                position(&context, array, &test, true).map(|found| found.is_some())
            },
        )
        .add(
            "all",
            "whether the function is true for every item",
            |context: NativeCallContext, array: &mut Array, test: FnPtr| {
                position(&context, array, &test, false).map(|found| found.is_none())
            },
        )
        .add(
            "find",
            "the first item for which the function is true; () if there is none",
            |context: NativeCallContext, array: &mut Array, test: FnPtr| {
                let found = position(&context, array, &test, true)?;
                Ok::<_, Box<rhai::EvalAltResult>>(found.map_or(Dynamic::UNIT, |index| array[index].clone()))
            },
        )
        .add(
            "find_index",
            "where the function is first true; -1 if it never is",
            |context: NativeCallContext, array: &mut Array, test: FnPtr| {
                position(&context, array, &test, true).map(|found| found.map_or(-1, |index| index as i64))
            },
        );
}

fn find(array: &Array, item: &Dynamic) -> Fallible<Option<usize>> {
    meter::charge_items(array.len())?;
    for (index, other) in array.iter().enumerate() {
        if compare::equal(other, item)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn extract(array: &Array, start: i64, count: i64) -> Fallible<Array> {
    let part = part(start, count, array.len());
    meter::charge_items(part.len())?;
    Ok(array[part].to_vec())
}

fn join(array: &Array, between: &str) -> Fallible<ImmutableString> {
    let mut out = String::new();
    for (index, item) in array.iter().enumerate() {
        if index > 0 {
            out.push_str(between);
        }
        out.push_str(&text(item)?);
        meter::fits_text(out.len())?;
    }
    meter::charge_bytes(out.len())?;
    Ok(out.into())
}

fn push(array: &mut Array, item: Dynamic) -> Fallible<()> {
    meter::fits_items(array.len() + 1)?;
    array.push(item);
    Ok(())
}

fn append(array: &mut Array, other: Array) -> Fallible<()> {
    meter::fits_items(array.len() + other.len())?;
    meter::charge_items(other.len())?;
    array.extend(other);
    Ok(())
}

/// Positions past either end are the ends.
fn insert(array: &mut Array, at: i64, item: Dynamic) -> Fallible<()> {
    meter::fits_items(array.len() + 1)?;
    meter::charge_items(array.len())?;
    array.insert(part(at, 0, array.len()).start, item);
    Ok(())
}

fn take(array: &mut Array, at: i64) -> Fallible<Dynamic> {
    meter::charge_items(array.len())?;
    Ok(index(at, array.len()).map_or(Dynamic::UNIT, |index| array.remove(index)))
}

fn set(array: &mut Array, at: i64, item: Dynamic) -> Fallible<()> {
    match index(at, array.len()) {
        Some(index) => array[index] = item,
        None => return refuse(format!("there is no item {at} in an array of {}", array.len())),
    }
    Ok(())
}

fn pad(array: &mut Array, count: i64, item: Dynamic) -> Fallible<()> {
    let count = usize::try_from(count).unwrap_or(0);
    meter::fits_items(count)?;
    while array.len() < count {
        // Each copy may be large: the meter looks before the next.
        meter::charge(1)?;
        array.push(item.clone());
    }
    Ok(())
}

fn map(context: NativeCallContext, array: &mut Array, change: FnPtr) -> Fallible<Array> {
    array.iter().map(|item| change.call_within_context(&context, (item.clone(),))).collect()
}

fn for_each(context: NativeCallContext, array: &mut Array, act: FnPtr) -> Fallible<()> {
    array.iter().try_for_each(|item| act.call_within_context::<Dynamic>(&context, (item.clone(),)).map(|_| ()))
}

fn filter(context: NativeCallContext, array: &mut Array, test: FnPtr) -> Fallible<Array> {
    let mut kept = Array::new();
    for item in array.iter() {
        if truth(&test.call_within_context(&context, (item.clone(),))?)? {
            kept.push(item.clone());
        }
    }
    Ok(kept)
}

fn reduce(context: &NativeCallContext, array: &Array, step: &FnPtr, first: Dynamic) -> Fallible<Dynamic> {
    array.iter().try_fold(first, |result, item| step.call_within_context(context, (result, item.clone())))
}

/// Where `test` first answers `wanted`.
fn position(context: &NativeCallContext, array: &Array, test: &FnPtr, wanted: bool) -> Fallible<Option<usize>> {
    for (index, item) in array.iter().enumerate() {
        if truth(&test.call_within_context(context, (item.clone(),))?)? == wanted {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// What a callback that decides has to return.
pub fn truth(answer: &Dynamic) -> Fallible<bool> {
    answer.as_bool().or_else(|kind| refuse(format!("the function has to return true or false, not {kind}")))
}

fn sort_by(context: NativeCallContext, array: &mut Array, comparer: FnPtr) -> Fallible<()> {
    sort(array, |a, b| {
        let answer: Dynamic = comparer.call_within_context(&context, (a.clone(), b.clone()))?;
        if let Ok(order) = answer.as_int() {
            return Ok(order.cmp(&0));
        }
        if let Some(order) = compare::number(&answer) {
            return Ok(order.partial_cmp(&0.0).unwrap_or(Ordering::Equal));
        }
        // `|a, b| a < b` is what many write.
        answer
            .as_bool()
            .map(|before| if before { Ordering::Less } else { Ordering::Greater })
            .or_else(|kind| refuse(format!("the function has to return a number or a boolean, not {kind}")))
    })
}

/// A stable merge sort that ends at the first error of its comparer. The standard library's sort can neither be ended
/// nor given an order that contradicts itself.
fn sort(array: &mut Array, mut compare: impl FnMut(&Dynamic, &Dynamic) -> Fallible<Ordering>) -> Fallible<()> {
    let mut width = 1;
    while width < array.len() {
        meter::charge_items(array.len())?;
        let mut merged = Array::with_capacity(array.len());
        for run in array.chunks(width * 2) {
            let (mut left, mut right) = run.split_at(width.min(run.len()));
            while let ([a, left_rest @ ..], [b, right_rest @ ..]) = (left, right) {
                if compare(a, b)? == Ordering::Greater {
                    merged.push(b.clone());
                    right = right_rest;
                } else {
                    merged.push(a.clone());
                    left = left_rest;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        *array = merged;
        width *= 2;
    }
    Ok(())
}
