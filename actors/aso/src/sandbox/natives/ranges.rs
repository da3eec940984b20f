//! Ranges, and what `for` can go through.

use std::any::TypeId;
use std::ops::{Range, RangeInclusive};

use rhai::{Array, Dynamic, Engine, ImmutableString, Module};

use super::Register;
use crate::sandbox::failure::refuse;
use crate::sandbox::meter::Fallible;

pub fn register(engine: &mut Engine) {
    let mut module = Module::new();
    module.set_iterable::<Array>();
    module.set_iterator::<Range<i64>>();
    module.set_iterator::<RangeInclusive<i64>>();
    module.set_iterator::<Steps>();
    module.set_iter(TypeId::of::<ImmutableString>(), |text| {
        Box::new(Characters { text: text.cast(), at: 0 }.map(Dynamic::from_char))
    });
    engine.register_global_module(module.into());
    engine
        .register_type_with_name::<Steps>("range")
        .add("range", "the integers from a first one to before a last one", |from: i64, to: i64| from..to)
        .add("range", "the integers from a first one to before a last one, in steps", Steps::new)
        .add("contains", "whether an integer lies in the range", |range: &mut Range<i64>, n: i64| range.contains(&n))
        .add("contains", "whether an integer lies in the range", |range: &mut RangeInclusive<i64>, n: i64| {
            range.contains(&n)
        });
}

/// The characters of a text one by one. The engine's own iterator copies them all first, at four bytes each.
struct Characters {
    text: ImmutableString,
    at: usize,
}

impl Iterator for Characters {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let character = self.text[self.at..].chars().next()?;
        self.at += character.len_utf8();
        Some(character)
    }
}

/// A range with a step other than 1.
#[derive(Clone, Debug)]
struct Steps {
    next: Option<i64>,
    end: i64,
    step: i64,
}

impl Steps {
    fn new(from: i64, to: i64, step: i64) -> Fallible<Steps> {
        if step == 0 {
            return refuse("a range cannot go in steps of 0");
        }
        Ok(Steps { next: Some(from), end: to, step })
    }
}

impl Iterator for Steps {
    type Item = i64;

    fn next(&mut self) -> Option<i64> {
        let present = self.next.filter(|next| if self.step > 0 { *next < self.end } else { *next > self.end })?;
        self.next = present.checked_add(self.step);
        Some(present)
    }
}
