//! Values as text, bounded in length and depth: what the engine's own printing is not.

use rhai::{Dynamic, ImmutableString};

use super::blob::Blob;
use super::meter::{self, Fallible};
use comet_kernel::contract::aso::Budget;

/// How deeply a printed or compared value may nest. Deeper values end the script: none can be stored or replied.
pub const DEPTH: usize = 64;

/// The text of a value, as `to_string`, `+` and interpolation give it.
pub fn text(value: &Dynamic) -> Fallible<ImmutableString> {
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(text.clone());
    }
    let mut out = String::new();
    let end = write(&mut out, value, 0, usize::MAX);
    meter::charge_bytes(out.len())?;
    match end {
        Ok(()) => meter::fits_text(out.len()).map(|()| out.into()),
        Err(Full) => Err(meter::end(Budget::Size)),
    }
}

/// The text of a value, cut at `most` bytes. It neither fails nor looks at the meter: for what leaves the sandbox.
pub fn clipped(value: &Dynamic, most: usize) -> String {
    if let Ok(text) = value.as_immutable_string_ref() {
        return text[..boundary(&text, most)].to_owned();
    }
    let mut out = String::new();
    let _ = write(&mut out, value, 0, most);
    cut(out, most)
}

/// At most `most` bytes of a text, cut between two characters.
pub fn cut(mut text: String, most: usize) -> String {
    text.truncate(boundary(&text, most));
    text
}

fn boundary(text: &str, most: usize) -> usize {
    let most = most.min(text.len());
    (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// The text is long enough, or the value too deep.
struct Full;

/// Longest text that is written before [`meter::fits_text`] gets to see it.
const WRITTEN_BYTES: usize = 64 << 10;

fn write(out: &mut String, value: &Dynamic, depth: usize, most: usize) -> Result<(), Full> {
    use std::fmt::Write;
    if depth > DEPTH || out.len() > most.min(WRITTEN_BYTES) {
        return Err(Full);
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        write!(out, "{:?}", text.as_str()).expect("text grows");
    } else if let Ok(items) = value.as_array_ref() {
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            separate(out, index);
            write(out, item, depth + 1, most)?;
        }
        out.push(']');
    } else if let Ok(fields) = value.as_map_ref() {
        out.push_str("#{");
        for (index, (name, field)) in fields.iter().enumerate() {
            separate(out, index);
            write!(out, "{name:?}: ").expect("text grows");
            write(out, field, depth + 1, most)?;
        }
        out.push('}');
    } else if let Some(blob) = value.read_lock::<Blob>() {
        if blob.0.len() > most.min(WRITTEN_BYTES) {
            return Err(Full);
        }
        out.push_str(&blob.hex());
    } else if value.is_fnptr() {
        out.push_str("function");
    } else if depth == 0 {
        // Numbers, booleans, characters, ranges and `()`: short, whatever they hold.
        write!(out, "{value}").expect("text grows");
    } else {
        write!(out, "{value:?}").expect("text grows");
    }
    Ok(())
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push_str(", ");
    }
}
