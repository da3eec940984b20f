//! An object's `this` between two handler calls.
//!
//! Memory matters here: a node holds a state for each active object. A map of the engine costs 456 bytes for its
//! first leaf alone, so the fields lie in a slice beside a list of names, which all states of one script share. Each
//! call works on a map of its own; that copy is what makes a failed call leave no trace.

use std::sync::Arc;

use comet_kernel::contract::aso::Budget;
use comet_kernel::limits;
use comet_kernel::value::Value;
use rhai::{Dynamic, Identifier, Map};

use super::convert::Bounds;
use super::failure::Failure;
use super::{Budgets, compare, convert};

/// The field that holds the object's value.
pub const VALUE: &str = "value";

/// Fields that fit into one leaf of a map.
const SMALL: usize = 11;

/// Names of fields, sorted. [`VALUE`] is one of them.
pub type Names = Arc<[Identifier]>;

/// The fields of `this`, its value among them.
#[derive(Clone)]
pub struct State {
    names: Names,
    fields: Box<[Dynamic]>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_map().entries(self.names.iter().zip(&self.fields)).finish()
    }
}

impl State {
    /// The state with this value and these other fields, as [`State::value`] and [`State::fields`] gave them. Refuses
    /// values with larger arrays or maps than a script can handle.
    pub fn new(value: &Value, fields: &Value) -> Result<State, Failure> {
        let items = Budgets::default().items;
        let mut map = match fields {
            Value::Map(_) => convert::to_script(fields, items)?.cast::<Map>(),
            _ => Map::new(),
        };
        map.insert(VALUE.into(), convert::to_script(value, items)?);
        let names = map.keys().cloned().collect();
        Ok(State { names, fields: map.into_values().collect() })
    }

    /// The object's value.
    pub fn value(&self) -> Value {
        self.field(VALUE).map_or(Value::Nil, exported)
    }

    /// Every field but the value, as a map.
    pub fn fields(&self) -> Value {
        let fields = self.names.iter().zip(&self.fields);
        let others = fields.filter(|(name, _)| name.as_str() != VALUE);
        Value::Map(others.map(|(name, field)| (name.as_str().into(), exported(field))).collect())
    }

    /// Roughly the bytes that value and fields take as MessagePack.
    pub fn encoded_size(&self) -> usize {
        let sizes = self.names.iter().zip(&self.fields).map(|(name, field)| {
            let any = Bounds { string: usize::MAX, items: usize::MAX, depth: usize::MAX };
            let mut nodes = usize::MAX;
            5 + name.len() + convert::measure(field, VALUE, any, &mut nodes).expect("states hold values only")
        });
        5 + sizes.sum::<usize>()
    }

    /// Whether it may be more than a moment's work to copy and compare. Texts are shared: they are not even looked at, as a
    /// text that nobody needs is seldom in the processor's caches.
    pub(super) fn is_large(&self) -> bool {
        self.fields.iter().any(|field| field.is_array() || field.is_map())
    }

    /// Puts another value in the place of the present one.
    pub fn set_value(&mut self, value: &Value) -> Result<(), Failure> {
        let value = convert::to_script(value, Budgets::default().items)?;
        let index = self.index(VALUE).expect("every state has a value");
        self.fields[index] = value;
        Ok(())
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.names.binary_search_by(|other| other.as_str().cmp(name)).ok()
    }

    fn field(&self, name: &str) -> Option<&Dynamic> {
        self.index(name).map(|index| &self.fields[index])
    }

    /// The map that a handler works on.
    pub(super) fn working_copy(&self) -> Map {
        let fields = self.names.iter().cloned().zip(self.fields.iter().cloned());
        if self.names.len() > SMALL {
            return fields.collect();
        }
        // Collecting sorts a copy first, which costs more than it saves for a handful.
        let mut map = Map::new();
        for (name, field) in fields {
            map.insert(name, field);
        }
        map
    }

    /// What a handler left in its working copy, or `None` if that is what it found. The names of `shared` are used
    /// if they fit.
    pub(super) fn commit(
        before: Option<&State>,
        mut map: Map,
        shared: &Names,
        budgets: &Budgets,
    ) -> Result<Option<State>, Failure> {
        map.entry(VALUE.into()).or_insert(Dynamic::UNIT);
        for field in map.values_mut() {
            convert::settle(field, limits::VALUE_DEPTH);
        }
        if before.is_some_and(|before| before.holds(&map)) {
            return Ok(None);
        }
        check(before, &map, budgets)?;
        let names = [Some(shared), before.map(|before| &before.names)];
        let names = names.into_iter().flatten().find(|names| map.keys().eq(names.iter()));
        let names = names.cloned().unwrap_or_else(|| map.keys().cloned().collect());
        Ok(Some(State { names, fields: map.into_values().collect() }))
    }

    fn holds(&self, map: &Map) -> bool {
        map.keys().eq(self.names.iter()) && map.values().zip(&self.fields).all(|(a, b)| compare::same(a, b))
    }
}

/// Checks the fields, and the value if the handler changed it: what a client put may be larger than what a script
/// may make.
fn check(before: Option<&State>, map: &Map, budgets: &Budgets) -> Result<(), Failure> {
    if map.len() > budgets.items {
        return Err(Failure::Budget(Budget::Size));
    }
    // All fields but the value are stored as one map: that is a node and a level of its own.
    let (mut size, mut nodes_left) = (5, convert::NODES - 1);
    for (name, field) in map {
        let is_value = name.as_str() == VALUE;
        let depth = if is_value { limits::VALUE_DEPTH } else { limits::VALUE_DEPTH - 1 };
        let bounds = Bounds { string: budgets.string, items: budgets.items, depth };
        let former = before.filter(|_| is_value).and_then(|before| before.field(VALUE));
        if former.is_some_and(|former| compare::same(former, field)) {
            continue;
        }
        size += 5 + name.len() + convert::measure(field, name, bounds, &mut nodes_left)?;
    }
    if size > budgets.state { Err(Failure::Budget(Budget::State)) } else { Ok(()) }
}

fn exported(field: &Dynamic) -> Value {
    convert::from_script(field, VALUE).expect("states hold values only, and none larger than a reply")
}

impl State {
    /// The same fields with this value.
    pub(super) fn with_value(mut self, value: Dynamic) -> State {
        let index = self.index(VALUE).expect("every state has a value");
        self.fields[index] = value;
        self
    }
}
