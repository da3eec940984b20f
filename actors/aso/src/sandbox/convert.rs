//! Values in and out: between the kernel's [`Value`] and the engine's `Dynamic`, with every bound checked on the way.
//!
//! Text and bytes are copied at most once each way; bytes are shared both ways.

use std::collections::HashMap;
use std::sync::Arc;

use comet_kernel::contract::aso::Budget;
use comet_kernel::limits;
use comet_kernel::value::Value;
use rhai::{Array, Dynamic, Map};

use super::blob::Blob;
use super::failure::Failure;

/// Most arrays, maps and scalars in one value that a script gets to see. What nests more of them does not fit into
/// a handler's memory budget anyhow; this says so before a copy is made.
pub const NODES: usize = 16_384;
const _: () = assert!(NODES <= limits::VALUE_ITEMS, "a state that a script may have can be read back");

/// A value as a script sees it. Refuses arrays and maps of more than `items` items with [`Failure::Given`].
pub fn to_script(value: &Value, items: usize) -> Result<Dynamic, Failure> {
    let mut nodes_left = NODES;
    enter(value, items, limits::VALUE_DEPTH, &mut nodes_left)
}

fn enter(value: &Value, items: usize, depth_left: usize, nodes_left: &mut usize) -> Result<Dynamic, Failure> {
    let too_many = || Failure::Given { what: "a value that a script is given", limit: NODES - 1 };
    *nodes_left = nodes_left.checked_sub(1).ok_or_else(too_many)?;
    let deeper = |count: usize| {
        if count > items {
            return Err(Failure::Given { what: "an array or map that a script is given", limit: items });
        }
        // Nobody can send anything deeper: it is refused while it is read.
        depth_left.checked_sub(1).ok_or_else(too_many)
    };
    Ok(match value {
        Value::Nil => Dynamic::UNIT,
        Value::Bool(flag) => Dynamic::from_bool(*flag),
        Value::Int(number) => Dynamic::from_int(*number),
        Value::Float(number) => Dynamic::from_float(*number),
        Value::Text(text) => Dynamic::from(rhai::ImmutableString::from(&**text)),
        Value::Bytes(bytes) => Dynamic::from(Blob(bytes.clone())),
        Value::Array(values) => {
            let depth_left = deeper(values.len())?;
            let array: Result<Array, _> =
                values.iter().map(|value| enter(value, items, depth_left, nodes_left)).collect();
            Dynamic::from_array(array?)
        }
        Value::Map(fields) => {
            let depth_left = deeper(fields.len())?;
            let map: Result<Map, _> = fields
                .iter()
                .map(|(name, value)| Ok((name.as_ref().into(), enter(value, items, depth_left, nodes_left)?)))
                .collect();
            Dynamic::from_map(map?)
        }
    })
}

/// Turns characters into texts, which is what they are once they were stored: a state is to its script the same before and
/// after. What lies deeper than a state may is left alone; it is refused.
pub fn settle(value: &mut Dynamic, depth_left: usize) {
    // Asking for a type is cheap; trying a wrong one composes its name.
    if value.is_char() {
        let text: rhai::ImmutableString = value.as_char().map(String::from).expect("it is one").into();
        *value = Dynamic::from(text);
    } else if let Some(depth_left) = depth_left.checked_sub(1) {
        if value.is_array() {
            let mut items = value.write_lock::<Array>().expect("it is one");
            items.iter_mut().for_each(|item| settle(item, depth_left));
        } else if value.is_map() {
            let mut fields = value.write_lock::<Map>().expect("it is one");
            fields.values_mut().for_each(|field| settle(field, depth_left));
        }
    }
}

/// What a script replies, as a value. `what` names it in errors.
pub fn from_script(value: &Dynamic, what: &str) -> Result<Value, Failure> {
    Texts::default().export(value, what)
}

/// Texts that were copied on their way out, by where they lie, so that one which stands in many places is copied once.
/// Each has to live as long as this.
#[derive(Debug, Default)]
pub struct Texts(Option<HashMap<usize, Arc<str>, ahash::RandomState>>);

/// Shorter texts are copied each time: that costs less than to remember them.
const SHARED_BYTES: usize = 1_024;

impl Texts {
    /// As [`from_script`].
    pub fn export(&mut self, value: &Dynamic, what: &str) -> Result<Value, Failure> {
        let mut room = Room { bytes: limits::REPLY_BYTES, items: limits::VALUE_ITEMS, texts: self };
        leave(value, what, limits::VALUE_DEPTH, &mut room)
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if text.len() < SHARED_BYTES {
            return text.into();
        }
        self.0.get_or_insert_default().entry(text.as_ptr().addr()).or_insert_with(|| text.into()).clone()
    }
}

/// What is left of what a reply may take.
struct Room<'a> {
    bytes: usize,
    items: usize,
    texts: &'a mut Texts,
}

fn leave(value: &Dynamic, what: &str, depth_left: usize, room: &mut Room<'_>) -> Result<Value, Failure> {
    take(&mut room.bytes, 1)?;
    if value.is_int() || value.is_float() || value.is_bool() || value.is_unit() {
        return Ok(scalar(value).expect("these are scalars"));
    }
    let deeper = || depth_left.checked_sub(1).ok_or(Failure::Budget(Budget::Size));
    if let Ok(text) = value.as_immutable_string_ref() {
        take(&mut room.bytes, text.len())?;
        return Ok(Value::Text(room.texts.text(&text)));
    }
    if let Ok(items) = value.as_array_ref() {
        let depth_left = deeper()?;
        take(&mut room.items, items.len())?;
        let values: Result<_, _> = items.iter().map(|item| leave(item, what, depth_left, room)).collect();
        return values.map(Value::Array);
    }
    if let Ok(fields) = value.as_map_ref() {
        let depth_left = deeper()?;
        take(&mut room.items, fields.len())?;
        let mut map = std::collections::BTreeMap::new();
        for (name, field) in fields.iter() {
            take(&mut room.bytes, name.len())?;
            map.insert(name.as_str().into(), leave(field, what, depth_left, room)?);
        }
        return Ok(Value::Map(map));
    }
    scalar(value).map_or_else(|| leave_blob(value, what, &mut room.bytes), Ok)
}

fn scalar(value: &Dynamic) -> Option<Value> {
    if let Ok(number) = value.as_int() {
        Some(Value::Int(number))
    } else if value.is_unit() {
        Some(Value::Nil)
    } else if let Ok(flag) = value.as_bool() {
        Some(Value::Bool(flag))
    } else if let Ok(number) = value.as_float() {
        Some(Value::Float(number))
    } else if let Ok(character) = value.as_char() {
        Some(Value::from(&*character.encode_utf8(&mut [0; 4])))
    } else {
        None
    }
}

fn leave_blob(value: &Dynamic, what: &str, bytes_left: &mut usize) -> Result<Value, Failure> {
    let Some(blob) = value.read_lock::<Blob>() else {
        return Err(foreign(value, what));
    };
    take(bytes_left, blob.0.len())?;
    Ok(Value::Bytes(blob.0.clone()))
}

fn take(left: &mut usize, count: usize) -> Result<(), Failure> {
    *left = left.checked_sub(count).ok_or(Failure::Budget(Budget::Size))?;
    Ok(())
}

fn foreign(value: &Dynamic, what: &str) -> Failure {
    let kind = if value.is_fnptr() { "a function" } else { "something" };
    Failure::Error(format!(
        "{what} holds {kind} that cannot be stored or sent; use null, booleans, numbers, text, blobs, arrays and maps"
    ))
}

/// How many nodes a value has that [`Texts::export`] can take out of a script, in at most so many bytes. Nothing is copied.
pub fn sendable(value: &Dynamic, bytes: usize) -> Option<usize> {
    let bounds = Bounds { string: bytes, items: limits::VALUE_ITEMS, depth: limits::VALUE_DEPTH };
    let mut nodes_left = limits::VALUE_ITEMS + 1;
    let size = measure(value, "value", bounds, &mut nodes_left).ok()?;
    (size <= bytes).then_some(limits::VALUE_ITEMS + 1 - nodes_left)
}

/// What a field of the state may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a text.
    pub string: usize,
    /// Items of an array or map.
    pub items: usize,
    /// Arrays and maps within each other.
    pub depth: usize,
}

/// Roughly the bytes that the field `name` of the state takes as MessagePack, see [`Value::encoded_size`]. Refuses
/// what could not be stored or read back: foreign types, what is past its bounds, and more nodes than are left.
pub fn measure(value: &Dynamic, name: &str, bounds: Bounds, nodes_left: &mut usize) -> Result<usize, Failure> {
    Ruler { name, bounds, nodes_left }.measure(value, bounds.depth)
}

struct Ruler<'a> {
    name: &'a str,
    bounds: Bounds,
    nodes_left: &'a mut usize,
}

impl Ruler<'_> {
    fn measure(&mut self, value: &Dynamic, depth_left: usize) -> Result<usize, Failure> {
        let too_large = || Failure::Budget(Budget::Size);
        let most = self.bounds.items;
        take(self.nodes_left, 1)?;
        if value.is_int() || value.is_float() {
            return Ok(9);
        }
        if let Ok(text) = value.as_immutable_string_ref() {
            return if text.len() <= self.bounds.string { Ok(5 + text.len()) } else { Err(too_large()) };
        }
        if let Ok(items) = value.as_array_ref() {
            let depth_left = depth_left.checked_sub(1).filter(|_| items.len() <= most).ok_or_else(too_large)?;
            return items.iter().try_fold(5, |size, item| Ok(size + self.measure(item, depth_left)?));
        }
        if let Ok(fields) = value.as_map_ref() {
            let depth_left = depth_left.checked_sub(1).filter(|_| fields.len() <= most).ok_or_else(too_large)?;
            return fields
                .iter()
                .try_fold(5, |size, (name, field)| Ok(size + 5 + name.len() + self.measure(field, depth_left)?));
        }
        if let Some(blob) = value.read_lock::<Blob>() {
            return Ok(5 + blob.0.len());
        }
        if value.is_unit() || value.is_bool() || value.is_char() {
            Ok(5)
        } else {
            Err(foreign(value, &format!("this.{}", self.name)))
        }
    }
}
