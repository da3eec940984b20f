//! Functions on text. Positions and lengths count characters, as everywhere in Rhai; budgets count bytes.

use rhai::{Array, Dynamic, Engine, ImmutableString};

use super::{Register, part};
use crate::sandbox::failure::refuse;
use crate::sandbox::meter::{self, Fallible};
use crate::sandbox::text::text;

pub fn register(engine: &mut Engine) {
    joining(engine);
    reading(engine);
    searching(engine);
    changing(engine);
    engine
        .add("to_upper", "the character in upper case", |character: char| first(character.to_uppercase(), character))
        .add("to_lower", "the character in lower case", |character: char| first(character.to_lowercase(), character));
}

fn joining(engine: &mut Engine) {
    engine
        .add("+", "the text with a value's text behind it", |a: ImmutableString, b: Dynamic| join(&a, &text(&b)?))
        .add("+", "the value's text with a text behind it", |a: Dynamic, b: ImmutableString| join(&text(&a)?, &b))
        .add_change("+=", "puts a value's text behind the text", |a: &mut ImmutableString, b: Dynamic| {
            join(a, &text(&b)?).map(|joined| *a = joined)
        })
        .add_change("append", "puts a value's text behind the text", |a: &mut ImmutableString, b: Dynamic| {
            join(a, &text(&b)?).map(|joined| *a = joined)
        })
        .add_change("pad", "puts a text behind the text until it has so many characters", pad);
}

fn reading(engine: &mut Engine) {
    engine
        .add_property("len", "the number of characters", |text: &mut ImmutableString| count(text))
        .add_property("bytes", "the number of bytes", |text: &mut ImmutableString| text.len() as i64)
        .add_property("is_empty", "whether there is no character", |text: &mut ImmutableString| text.is_empty())
        .add("get", "the character at a position; () if there is none", |text: &mut ImmutableString, at: i64| {
            let part = slice(text, at, 1)?;
            Ok::<_, Box<rhai::EvalAltResult>>(part.chars().next().map_or(Dynamic::UNIT, Dynamic::from_char))
        })
        .add("sub_string", "the text from a position on", |text: &mut ImmutableString, start: i64| {
            slice(text, start, i64::MAX).map(ImmutableString::from)
        })
        .add(
            "sub_string",
            "so many characters from a position on",
            |text: &mut ImmutableString, start: i64, len: i64| slice(text, start, len).map(ImmutableString::from),
        )
        .add("to_chars", "an array of the characters", |text: &mut ImmutableString| {
            meter::charge_bytes(text.len())?;
            collect(text.chars().map(Dynamic::from_char))
        })
        .add("to_upper", "the text in upper case", |text: &mut ImmutableString| changed(text, str::to_uppercase))
        .add("to_lower", "the text in lower case", |text: &mut ImmutableString| changed(text, str::to_lowercase));
}

fn searching(engine: &mut Engine) {
    engine
        .add("contains", "whether another text is in it", |text: &mut ImmutableString, part: ImmutableString| {
            find(text, &part).map(|found| found.is_some())
        })
        .add("contains", "whether a character is in it", |text: &mut ImmutableString, part: char| {
            meter::charge_bytes(text.len()).map(|()| text.contains(part))
        })
        .add(
            "starts_with",
            "whether it starts with another text",
            |text: &mut ImmutableString, part: ImmutableString| {
                meter::charge_bytes(part.len()).map(|()| text.starts_with(part.as_str()))
            },
        )
        .add("ends_with", "whether it ends with another text", |text: &mut ImmutableString, part: ImmutableString| {
            meter::charge_bytes(part.len()).map(|()| text.ends_with(part.as_str()))
        })
        .add(
            "index_of",
            "where another text first is; -1 if nowhere",
            |text: &mut ImmutableString, part: ImmutableString| {
                Ok::<_, Box<rhai::EvalAltResult>>(find(text, &part)?.map_or(-1, |at| text[..at].chars().count() as i64))
            },
        )
        .add("split", "an array of the parts between white space", |text: &mut ImmutableString| {
            meter::charge_bytes(text.len())?;
            collect(text.split_whitespace().map(|part| ImmutableString::from(part).into()))
        })
        .add(
            "split",
            "an array of the parts between another text",
            |text: &mut ImmutableString, at: ImmutableString| split(text, &at),
        );
}

fn changing(engine: &mut Engine) {
    engine
        .add_change("replace", "replaces every occurrence of a text by another", replace)
        .add_change(
            "remove",
            "removes every occurrence of a text",
            |text: &mut ImmutableString, part: ImmutableString| replace(text, part, ImmutableString::new()),
        )
        .add_change("trim", "removes white space at both ends", |text: &mut ImmutableString| {
            meter::charge_bytes(text.len()).map(|()| *text = text.trim().into())
        })
        .add_change("make_upper", "turns the text into upper case", |text: &mut ImmutableString| {
            changed(text, str::to_uppercase).map(|upper| *text = upper)
        })
        .add_change("make_lower", "turns the text into lower case", |text: &mut ImmutableString| {
            changed(text, str::to_lowercase).map(|lower| *text = lower)
        })
        .add_change(
            "truncate",
            "keeps at most so many characters from the start",
            |text: &mut ImmutableString, len: i64| {
                slice(text, 0, len).map(ImmutableString::from).map(|kept| *text = kept)
            },
        )
        .add_change("crop", "keeps the text from a position on", |text: &mut ImmutableString, start: i64| {
            slice(text, start, i64::MAX).map(ImmutableString::from).map(|kept| *text = kept)
        })
        .add_change("clear", "removes every character", |text: &mut ImmutableString| *text = ImmutableString::new());
}

fn join(a: &str, b: &str) -> Fallible<ImmutableString> {
    let length = a.len() + b.len();
    meter::fits_text(length)?;
    meter::charge_bytes(length)?;
    let mut joined = String::with_capacity(length);
    joined.push_str(a);
    joined.push_str(b);
    Ok(joined.into())
}

fn pad(text: &mut ImmutableString, length: i64, with: ImmutableString) -> Fallible<()> {
    let missing = usize::try_from(length).unwrap_or(0).saturating_sub(text.chars().count());
    if missing == 0 || with.is_empty() {
        return Ok(());
    }
    meter::fits_text(missing.saturating_add(text.len()))?;
    let mut padded = text.to_string();
    padded.extend(with.chars().cycle().take(missing));
    meter::charge_bytes(padded.len())?;
    meter::fits_text(padded.len())?;
    *text = padded.into();
    Ok(())
}

fn count(text: &str) -> Fallible<i64> {
    meter::charge_bytes(text.len() / 8)?;
    Ok(text.chars().count() as i64)
}

/// So many characters from a position on, negative positions counting from the end.
fn slice(text: &str, start: i64, count: i64) -> Fallible<&str> {
    meter::charge_bytes(text.len())?;
    let characters = part(start, count, text.chars().count());
    let byte = |position: usize| text.char_indices().nth(position).map_or(text.len(), |(byte, _)| byte);
    Ok(&text[byte(characters.start)..byte(characters.end)])
}

fn find(text: &str, part: &str) -> Fallible<Option<usize>> {
    meter::charge_bytes(text.len() + part.len())?;
    Ok(text.find(part))
}

fn split(text: &str, at: &str) -> Fallible<Array> {
    meter::charge_bytes(text.len() + at.len())?;
    if at.is_empty() {
        return collect(text.chars().map(Dynamic::from_char));
    }
    collect(text.split(at).map(|part| ImmutableString::from(part).into()))
}

/// Collects items as long as they fit.
fn collect(items: impl Iterator<Item = Dynamic>) -> Fallible<Array> {
    let mut array = Array::new();
    for item in items {
        meter::fits_items(array.len() + 1)?;
        array.push(item);
    }
    meter::charge_items(array.len())?;
    Ok(array)
}

/// The text after a change of case, which may make it three times as long.
fn changed(text: &str, change: impl Fn(&str) -> String) -> Fallible<ImmutableString> {
    meter::charge_bytes(text.len().saturating_mul(4))?;
    meter::fits_text(text.len())?;
    let changed = change(text);
    meter::fits_text(changed.len())?;
    Ok(changed.into())
}

fn replace(text: &mut ImmutableString, part: ImmutableString, with: ImmutableString) -> Fallible<()> {
    if part.is_empty() {
        return refuse("replace needs a text to look for");
    }
    meter::charge_bytes(text.len() + part.len())?;
    let count = text.matches(part.as_str()).count();
    if count > 0 {
        let length = text.len() - count * part.len() + count.saturating_mul(with.len());
        meter::fits_text(length)?;
        meter::charge_bytes(length)?;
        *text = text.replace(part.as_str(), &with).into();
    }
    Ok(())
}

fn first(mut characters: impl Iterator<Item = char>, otherwise: char) -> char {
    characters.next().unwrap_or(otherwise)
}
