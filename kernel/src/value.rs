//! What clients put and get: MessagePack's types, no more.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::limits;

/// A value. Text and bytes are shared, so that a copy for a reply costs a counter and not a buffer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// The absence of a value: `()` in scripts, null in JSON.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// A double.
    Float(f64),
    /// UTF-8 text.
    Text(Arc<str>),
    /// Bytes that are not UTF-8 text.
    Bytes(Arc<[u8]>),
    /// Values in order.
    Array(Vec<Value>),
    /// Values by name, ordered by name so that equal maps have equal bytes.
    Map(BTreeMap<Arc<str>, Value>),
}

impl Value {
    /// Text if the bytes are UTF-8, bytes otherwise. Clients of untyped protocols put values through here.
    pub fn from_wire(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.into()),
            Err(_) => Value::Bytes(bytes.into()),
        }
    }

    /// The bytes of text or bytes; `None` for every other type.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Text(text) => Some(text.as_bytes()),
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The name of the type as error texts and `TYPE`-like answers print it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "null",
            Value::Bool(_) => "boolean",
            Value::Int(_) => "integer",
            Value::Float(_) => "float",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Array(_) => "array",
            Value::Map(_) => "map",
        }
    }

    /// Roughly how many bytes the value takes as MessagePack: within nine bytes for each scalar.
    pub fn encoded_size(&self) -> usize {
        match self {
            Value::Nil | Value::Bool(_) => 1,
            Value::Int(_) | Value::Float(_) => 9,
            Value::Text(text) => 5 + text.len(),
            Value::Bytes(bytes) => 5 + bytes.len(),
            Value::Array(items) => 5 + items.iter().map(Value::encoded_size).sum::<usize>(),
            Value::Map(fields) => {
                5 + fields.iter().map(|(name, value)| 5 + name.len() + value.encoded_size()).sum::<usize>()
            }
        }
    }

    /// How deeply arrays and maps are nested: 0 for a scalar, 1 for an array of scalars.
    pub fn depth(&self) -> usize {
        match self {
            Value::Array(items) => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            Value::Map(fields) => 1 + fields.values().map(Value::depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// How many items all its arrays and maps have together.
    pub fn items(&self) -> usize {
        match self {
            Value::Array(items) => items.len() + items.iter().map(Value::items).sum::<usize>(),
            Value::Map(fields) => fields.len() + fields.values().map(Value::items).sum::<usize>(),
            _ => 0,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Nil => serializer.serialize_unit(),
            Value::Bool(flag) => serializer.serialize_bool(*flag),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::Array(items) => items.serialize(serializer),
            Value::Map(fields) => fields.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    /// Refuses what nests deeper than [`limits::VALUE_DEPTH`] before it can cost a stack, what has more items than
    /// [`limits::VALUE_ITEMS`] before it can cost memory, integers outside `i64`, and maps whose names are not text or
    /// stand twice.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Room::default().read(deserializer)
    }
}

/// Room for the items of one value that is being read. Who reads through it can tell a value with too many items from one
/// with another fault.
#[derive(Debug)]
pub struct Room {
    items_left: Cell<usize>,
    exceeded: Cell<bool>,
}

impl Default for Room {
    fn default() -> Self {
        Room { items_left: Cell::new(limits::VALUE_ITEMS), exceeded: Cell::new(false) }
    }
}

impl Room {
    /// Reads a value into this room.
    pub fn read<'de, D: Deserializer<'de>>(&self, deserializer: D) -> Result<Value, D::Error> {
        Seed { depth_left: limits::VALUE_DEPTH, room: self }.read(deserializer)
    }

    /// Whether a value was refused because it has more items than there is room for.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded.get()
    }

    /// Takes the place of one item.
    fn take<E: de::Error>(&self) -> Result<(), E> {
        match self.items_left.get().checked_sub(1) {
            Some(left) => {
                self.items_left.set(left);
                Ok(())
            }
            None => {
                self.exceeded.set(true);
                Err(E::custom(format_args!("value has more than {} items in arrays and maps", limits::VALUE_ITEMS)))
            }
        }
    }
}

/// Reads a value that may still nest `depth_left` levels, and takes its items out of the room.
#[derive(Clone, Copy)]
struct Seed<'a> {
    depth_left: usize,
    room: &'a Room,
}

/// Reads an item, if there is room for it.
#[derive(Clone, Copy)]
struct Item<'a>(Seed<'a>);

impl<'de> de::DeserializeSeed<'de> for Item<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.room.take()?;
        self.0.read(deserializer)
    }
}

impl<'a> Seed<'a> {
    fn read<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn deeper<E: de::Error>(self) -> Result<Item<'a>, E> {
        match self.depth_left.checked_sub(1) {
            Some(depth_left) => Ok(Item(Seed { depth_left, ..self })),
            None => Err(E::custom(format_args!("value nests deeper than {} levels", limits::VALUE_DEPTH))),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("null, a boolean, a number, text, bytes, an array or a map")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.read(deserializer)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        i64::try_from(number)
            .map(Value::Int)
            .map_err(|_| E::custom(format_args!("integer {number} does not fit into 64 bits with a sign")))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(bytes.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let item = self.deeper()?;
        // The claimed length is a claim: it reserves no memory.
        let mut items = Vec::new();
        while let Some(value) = seq.next_element_seed(item)? {
            items.push(value);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let item = self.deeper()?;
        let mut fields = BTreeMap::new();
        while let Some(name) = map.next_key::<Arc<str>>()? {
            let value = map.next_value_seed(item)?;
            if let Some(_former) = fields.insert(name.clone(), value) {
                return Err(de::Error::custom(format_args!("map names {name:?} twice")));
            }
        }
        Ok(Value::Map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(value: &Value) -> Value {
        let bytes = rmp_serde::to_vec(value).expect("values encode");
        rmp_serde::from_slice(&bytes).expect("encoded values decode")
    }

    #[test]
    fn every_type_survives_messagepack() {
        let map = BTreeMap::from([("a".into(), Value::Float(0.5)), ("b".into(), Value::Bytes([255, 0][..].into()))]);
        let value = Value::Array(vec![
            Value::Nil,
            Value::Bool(true),
            Value::Int(i64::MIN),
            Value::Int(i64::MAX),
            Value::from("text"),
            Value::Map(map),
        ]);
        assert_eq!(round_trip(&value), value);
    }

    #[test]
    fn an_array_that_claims_four_billion_items_is_refused_without_reserving_them() {
        let error = rmp_serde::from_slice::<Value>(&[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0]).expect_err("truncated");
        assert!(!error.to_string().is_empty());
    }

    #[test]
    fn nesting_past_the_limit_is_refused() {
        let mut bytes = vec![0x91; 10_000];
        bytes.push(0xc0);
        let error = rmp_serde::from_slice::<Value>(&bytes).expect_err("too deep").to_string();
        assert!(error.contains("deeper"), "{error}");
    }

    #[test]
    fn a_value_may_have_so_many_items_in_all_its_arrays_and_maps_and_no_more() {
        let most = limits::VALUE_ITEMS;
        let half = Value::Array(vec![Value::Nil; most / 2 - 1]);
        let value = Value::Map(BTreeMap::from([("a".into(), half.clone()), ("b".into(), half)]));
        assert_eq!(value.items(), most);
        assert_eq!(round_trip(&value), value);
        let bytes = rmp_serde::to_vec(&Value::Array(vec![value])).expect("values encode");
        let error = rmp_serde::from_slice::<Value>(&bytes).expect_err("too many").to_string();
        assert!(error.contains("more than 65536 items"), "{error}");
    }

    #[test]
    fn what_has_too_many_items_is_refused_at_the_first_that_is_too_many() {
        let room = Room::default();
        // A mebibyte of nulls, and no end: whoever read them all would find that out.
        let mut bytes = vec![0xdd, 0x7f, 0xff, 0xff, 0xff];
        bytes.resize(limits::VALUE_BYTES, 0xc0);
        let error = room.read(&mut rmp_serde::Deserializer::new(&bytes[..])).expect_err("too many").to_string();
        assert!(error.contains("more than 65536 items") && room.is_exceeded(), "{error}");
        let other = Room::default();
        other.read(&mut rmp_serde::Deserializer::new(&[0x92, 0xc0][..])).expect_err("cut off");
        assert!(!other.is_exceeded());
    }

    #[test]
    fn a_map_that_names_a_field_twice_is_refused() {
        let error = rmp_serde::from_slice::<Value>(&[0x82, 0xa1, b'a', 1, 0xa1, b'a', 2]).expect_err("twice");
        assert!(error.to_string().contains("twice"));
    }
}
