//! What the sandbox promises, row by row.

mod authors;
mod contract;
mod hostile;
mod natives;
mod nesting;
mod network;

use std::net::IpAddr;
use std::sync::Arc;

use comet_kernel::Key;
use comet_kernel::clock::{Clock, UnixMillis};
use comet_kernel::contract::aso::Budget;
use comet_kernel::identity::{Caller, NodeId};
use comet_kernel::neighbours::Neighbours;
use comet_kernel::value::Value;

use super::{Args, Budgets, Event, Failure, Handler, Node, Outcome, Sandbox, Script, State, Usage};

/// A sandbox, a key and somebody who asks.
struct Bench {
    sandbox: Sandbox,
    clock: Clock,
    key: Key,
    caller: Caller,
}

impl Bench {
    fn new() -> Self {
        Bench::with(Budgets::default())
    }

    fn with(budgets: Budgets) -> Self {
        let clock = Clock::manual(UnixMillis(1_700_000_000_123));
        let node = Node {
            id: NodeId::from_public_key(&[7; 32]),
            ip: IpAddr::from([10, 0, 0, 1]),
            neighbours: Neighbours::none(),
        };
        let caller = Caller { id: "somebody".into(), ip: IpAddr::from([10, 0, 0, 2]), port: 4_711, client: "".into() };
        let sandbox = Sandbox::new(budgets, node, clock.clone());
        Bench { sandbox, clock, key: Key::new(b"key").expect("short"), caller }
    }

    fn event(&self) -> Event<'_> {
        Event { key: &self.key, parked: &[], seed: 42 }
    }

    fn script(&self, source: &str) -> Script {
        self.sandbox.compile(source).unwrap_or_else(|error| panic!("{error} in {source}"))
    }

    fn create(&self, script: &Script, value: &Value) -> State {
        self.sandbox.create(script, value, &self.event()).expect("the state is created")
    }

    fn get(&self, script: &Script, state: &State) -> Result<Outcome, Failure> {
        let args = Args::Get { caller: &self.caller, payload: &Value::Nil };
        self.sandbox.call(script, state, Handler::Get, args, &self.event())
    }

    /// Compiles a script, creates an object with the value `"v"` and gets it.
    fn run(&self, source: &str) -> Result<Outcome, Failure> {
        let script = self.script(source);
        self.get(&script, &self.sandbox.create(&script, &Value::from("v"), &self.event())?)
    }

    /// What `onGet` with this body replies.
    fn reply(&self, body: &str) -> Result<Value, Failure> {
        self.run(&format!("fn onGet() {{ {body} }}")).map(|outcome| outcome.reply)
    }
}

fn ints(numbers: &[i64]) -> Value {
    Value::Array(numbers.iter().map(|number| Value::Int(*number)).collect())
}

fn map(fields: &[(&str, Value)]) -> Value {
    Value::Map(fields.iter().map(|(name, field)| ((*name).into(), field.clone())).collect())
}

fn budget<T>(budget: Budget) -> Result<T, Failure> {
    Err(Failure::Budget(budget))
}
