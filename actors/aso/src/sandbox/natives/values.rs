//! Functions on values of every type, and on blobs.

use rhai::{Array, Dynamic, Engine, ImmutableString, Map};

use super::{Register, index};
use crate::sandbox::blob::{self, Blob};
use crate::sandbox::compare;
use crate::sandbox::failure::refuse;
use crate::sandbox::meter::{self, Fallible};
use crate::sandbox::text::text;

pub fn register(engine: &mut Engine) {
    engine.add("to_string", "the value as text", |value: &mut Dynamic| printed(value)).add(
        "to_int",
        "the integer part of a float",
        integer_part,
    );
    equality::<Array>(engine);
    equality::<Map>(engine);
    equality::<Blob>(engine);
    blobs(engine);
}

/// Never fails: an interpolation prints by itself, and without bound, what fails here. A text that is too long is empty
/// instead, and the meter ends the script at its next operation.
fn printed(value: &Dynamic) -> ImmutableString {
    text(value).unwrap_or_default()
}

/// The engine's own makes 0 of what is no number, and the largest integer of 2^63.
fn integer_part(number: f64) -> Fallible<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&number) {
        Ok(number as i64)
    } else {
        refuse(format!("{number} is not in the range of integers"))
    }
}

fn equality<T: rhai::Variant + Clone>(engine: &mut Engine) {
    engine
        .add("==", "whether both hold equal items", |a: &mut Dynamic, b: T| compare::equal(a, &Dynamic::from(b)))
        .add("!=", "whether they hold different items", |a: &mut Dynamic, b: T| {
            compare::equal(a, &Dynamic::from(b)).map(|equal| !equal)
        });
}

fn blobs(engine: &mut Engine) {
    engine.register_type_with_name::<Blob>("blob");
    engine
        .add_property("len", "the number of bytes", |blob: &mut Blob| blob.0.len() as i64)
        .add_property("is_empty", "whether there is no byte", |blob: &mut Blob| blob.0.is_empty())
        .add("to_hex", "the bytes as hexadecimal digits", |blob: &mut Blob| to_hex(blob))
        .add("as_string", "the bytes as text; () if they are not UTF-8", |blob: &mut Blob| as_text(blob))
        .add("to_blob", "the bytes of a text", |text: ImmutableString| {
            meter::charge_bytes(text.len()).map(|()| Blob(text.as_bytes().into()))
        })
        .add("parse_hex", "the bytes that hexadecimal digits stand for", |digits: ImmutableString| parse_hex(&digits));
    rhai::FuncRegistration::new_index_getter().register_into_engine(engine, |blob: &mut Blob, at: i64| byte(blob, at));
}

fn byte(blob: &Blob, at: i64) -> Fallible<i64> {
    match index(at, blob.0.len()) {
        Some(index) => Ok(i64::from(blob.0[index])),
        None => refuse(format!("there is no byte {at} in a blob of {} bytes", blob.0.len())),
    }
}

fn to_hex(blob: &Blob) -> Fallible<ImmutableString> {
    meter::fits_text(blob.0.len().saturating_mul(2))?;
    meter::charge_bytes(blob.0.len())?;
    Ok(blob.hex().into())
}

fn as_text(blob: &Blob) -> Fallible<Dynamic> {
    meter::fits_text(blob.0.len())?;
    meter::charge_bytes(blob.0.len())?;
    Ok(std::str::from_utf8(&blob.0).map_or(Dynamic::UNIT, |text| ImmutableString::from(text).into()))
}

fn parse_hex(digits: &str) -> Fallible<Blob> {
    meter::charge_bytes(digits.len())?;
    match blob::unhex(digits) {
        Some(bytes) => Ok(Blob(bytes.into())),
        None => refuse("parse_hex takes an even number of hexadecimal digits"),
    }
}
