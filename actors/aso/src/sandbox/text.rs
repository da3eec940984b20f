//! Values as text, bounded in length and depth: what the engine's own printing is not.

use std::fmt;

use rhai::{Dynamic, ImmutableString};

use super::blob::{self, Blob};
use super::meter::{self, Fallible};
use comet_kernel::contract::aso::Budget;

/// How deeply a printed or compared value may nest. Deeper values end the script: none can be stored or replied.
pub const DEPTH: usize = 64;

/// The text of a value, as `to_string`, `+` and interpolation give it.
pub fn text(value: &Dynamic) -> Fallible<ImmutableString> {
    if let Ok(text) = value.as_immutable_string_ref() {
        return Ok(text.clone());
    }
    let mut out = Bounded::new(WRITTEN_BYTES);
    let end = write(&mut out, value, 0);
    meter::charge_bytes(out.text.len())?;
    match end {
        Ok(()) => meter::fits_text(out.text.len()).map(|()| out.text.into()),
        Err(fmt::Error) => Err(meter::end(Budget::Size)),
    }
}

/// The text of a value, cut at `most` bytes. It neither fails nor looks at the meter: for what leaves the sandbox.
pub fn clipped(value: &Dynamic, most: usize) -> String {
    if let Ok(text) = value.as_immutable_string_ref() {
        return text[..boundary(&text, most)].to_owned();
    }
    let mut out = Bounded::new(most);
    let _cut_short = write(&mut out, value, 0);
    out.text
}

/// What something displays, cut at `most` bytes. No more than that is written.
pub fn shown(what: &impl fmt::Display, most: usize) -> String {
    use fmt::Write;
    let mut out = Bounded::new(most);
    let _cut_short = write!(out, "{what}");
    out.text
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

/// Longest text that is written before [`meter::fits_text`] gets to see it.
const WRITTEN_BYTES: usize = 64 << 10;

/// Text that takes so many bytes and no more: whatever is written past that is an error at once.
struct Bounded {
    text: String,
    most: usize,
}

impl Bounded {
    fn new(most: usize) -> Self {
        Bounded { text: String::new(), most }
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let fits = boundary(part, self.most - self.text.len());
        self.text.push_str(&part[..fits]);
        if fits < part.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Writes a value. It is an error if there is no room, or the value is too deep.
fn write(out: &mut Bounded, value: &Dynamic, depth: usize) -> fmt::Result {
    use fmt::Write;
    if depth > DEPTH {
        return Err(fmt::Error);
    }
    if let Ok(text) = value.as_immutable_string_ref() {
        write!(out, "{:?}", text.as_str())
    } else if let Ok(items) = value.as_array_ref() {
        out.write_char('[')?;
        for (index, item) in items.iter().enumerate() {
            separate(out, index)?;
            write(out, item, depth + 1)?;
        }
        out.write_char(']')
    } else if let Ok(fields) = value.as_map_ref() {
        out.write_str("#{")?;
        for (index, (name, field)) in fields.iter().enumerate() {
            separate(out, index)?;
            write!(out, "{name:?}: ")?;
            write(out, field, depth + 1)?;
        }
        out.write_char('}')
    } else if let Some(blob) = value.read_lock::<Blob>() {
        // One digit more than there is room for is an error as well.
        let shown = blob.0.len().min(out.most / 2 + 1);
        out.write_str(&blob::hex(&blob.0[..shown]))
    } else if value.is_fnptr() {
        out.write_str("function")
    } else if depth == 0 {
        // Numbers, booleans, characters, ranges and `()`: short, whatever they hold.
        write!(out, "{value}")
    } else {
        write!(out, "{value:?}")
    }
}

fn separate(out: &mut Bounded, index: usize) -> fmt::Result {
    use fmt::Write;
    if index > 0 { out.write_str(", ") } else { Ok(()) }
}
