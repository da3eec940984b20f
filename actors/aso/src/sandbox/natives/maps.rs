//! Functions on maps.

use rhai::{Array, Dynamic, Engine, FnPtr, ImmutableString, Map, NativeCallContext};

use super::Register;
use super::arrays::truth;
use crate::sandbox::meter::{self, Fallible};

pub fn register(engine: &mut Engine) {
    engine
        .add("len", "the number of fields", |map: &mut Map| map.len() as i64)
        .add("is_empty", "whether there is no field", |map: &mut Map| map.is_empty())
        .add("contains", "whether there is a field of this name", |map: &mut Map, name: ImmutableString| {
            map.contains_key(name.as_str())
        })
        .add("get", "the field of this name; () if there is none", |map: &mut Map, name: ImmutableString| {
            map.get(name.as_str()).cloned().unwrap_or(Dynamic::UNIT)
        })
        .add_change("set", "puts a field", set)
        .add_change(
            "remove",
            "takes a field out and returns it; () if there is none",
            |map: &mut Map, name: ImmutableString| map.remove(name.as_str()).unwrap_or(Dynamic::UNIT),
        )
        .add_change("clear", "removes every field", |map: &mut Map| map.clear())
        .add("keys", "the names of all fields, sorted", |map: &mut Map| keys(map))
        .add("values", "all fields in the order of their names", |map: &mut Map| values(map))
        .add("filter", "the fields for which the function, called with name and field, is true", filter)
        .add_change("mixin", "puts all fields of another map", mixin)
        .add_change("+=", "puts all fields of another map", mixin)
        .add_change("fill_with", "puts those fields of another map that are not there yet", fill_with)
        .add("+", "a map with the fields of both; the second's where both have one", |a: &mut Map, b: Map| {
            let mut sum = a.clone();
            mixin(&mut sum, b).map(|()| sum)
        });
}

fn set(map: &mut Map, name: ImmutableString, field: Dynamic) -> Fallible<()> {
    meter::fits_items(map.len() + 1)?;
    map.insert(name.as_str().into(), field);
    Ok(())
}

fn keys(map: &Map) -> Fallible<Array> {
    meter::fits_items(map.len())?;
    meter::charge_items(map.len())?;
    Ok(map.keys().map(|name| ImmutableString::from(name.as_str()).into()).collect())
}

fn values(map: &Map) -> Fallible<Array> {
    meter::fits_items(map.len())?;
    meter::charge_items(map.len())?;
    Ok(map.values().cloned().collect())
}

fn mixin(map: &mut Map, other: Map) -> Fallible<()> {
    meter::charge_items(other.len())?;
    map.extend(other);
    meter::fits_items(map.len())
}

fn fill_with(map: &mut Map, other: Map) -> Fallible<()> {
    meter::charge_items(other.len())?;
    for (name, field) in other {
        map.entry(name).or_insert(field);
    }
    meter::fits_items(map.len())
}

fn filter(context: NativeCallContext, map: &mut Map, test: FnPtr) -> Fallible<Map> {
    let mut kept = Map::new();
    for (name, field) in map.iter() {
        let answer = test.call_within_context(&context, (ImmutableString::from(name.as_str()), field.clone()))?;
        if truth(&answer)? {
            kept.insert(name.clone(), field.clone());
        }
    }
    Ok(kept)
}
