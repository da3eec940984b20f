//! The script sandbox: runs the handlers of active storage objects, and lets nothing out of its bounds.
//!
//! The rest of the crate sees scripts, states and outcomes; that they are written in Rhai is known in here only. The
//! sandbox knows nothing of actors and messages.
//!
//! | file | owns |
//! |---|---|
//! | `allocator` | memory by thread, counted |
//! | `meter` | what one call may use |
//! | `natives`, `text`, `compare`, `blob` | the functions that scripts can use, each bounded |
//! | `event`, `host` | the constant `comet` |
//! | `script`, `reach`, `signature` | compiling, and what the text says of the network and of its publisher |
//! | `state`, `convert` | values, in and out |
//! | `failure` | errors |
//! | `check`, `definitions` | help for authors |
//!
//! # Why this holds
//!
//! The engine's own limits do not bound a script: its count of operations misses callbacks, its limits of size miss
//! maps that grow by index, and no limit at all covers nesting. So they are off, and each bound is physical:
//!
//! - **Processor**: every operation of the engine passes the meter, native functions charge it in proportion to what
//!   they touch, and memory that the engine copies by itself is charged by the allocator. Between two looks at the
//!   processor clock lies little work.
//! - **Memory**: bytes alive are counted by the allocator and compared at each operation. One operation can at most
//!   double what is there.
//! - **Stack**: the meter measures the stack that nested calls and expressions use. Nested values cost memory for each
//!   level (`allocator::OVERHEAD`), so that the deepest that fits into the memory budget can be dropped, cloned and
//!   hashed on the rest of a 2 MiB stack. Printing and comparing stop at a depth of their own. What is stored, sent or
//!   thrown is bounded by `limits::VALUE_DEPTH`.
//! - **Isolation**: nothing mutable is shared between two calls: no interned strings, no modules, no global variables.
//!   A script can redefine any function for itself and for nobody else.
//!
//! # Closures
//!
//! Anonymous functions (`|x| x * 2`) can be passed to `map`, `filter`, `sort` and the like, but cannot capture
//! variables: the engine's feature for that is off. Captured variables live in shared, reference-counted cells. A
//! closure stored in a variable that it captures is a cycle that is never freed (measured: 64 KB leaked for each), a
//! closure that captures itself panics when it is printed or converted, and shared cells could smuggle one object's
//! value into two places of a state. Currying, the other way to put values into functions, doubles memory with each
//! step (`f = f.curry(f)`), so it does not exist either. Constants and `this` are what callbacks are for want of it.

mod allocator;
mod blob;
mod check;
mod compare;
mod convert;
mod definitions;
mod event;
mod failure;
mod host;
mod meter;
mod natives;
mod reach;
mod script;
pub mod signature;
mod state;
#[cfg(test)]
mod tests;
mod text;

use std::cell::Cell;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use comet_kernel::clock::Clock;
use comet_kernel::contract::aso::Budget;
use comet_kernel::identity::NodeId;
use comet_kernel::limits;
use comet_kernel::neighbours::Neighbours;
use comet_kernel::value::Value;
use rhai::{Array, CallFnOptions, Dynamic, Engine, EvalAltResult, EvalContext, Map, OptimizationLevel, Scope};

pub use allocator::{Counting, live as live_bytes};
pub use check::{Finding, Report, Severity};
pub use event::{Actions, Args, Asked, Event, Handler};
pub use failure::{CompileError, Failure};
pub use meter::Usage;
pub use script::Script;
pub use state::State;

/// What one handler call may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Operations, those of callbacks and native functions included.
    pub operations: u64,
    /// Processor time of the thread.
    pub cpu: Duration,
    /// Bytes held at once.
    pub memory: usize,
    /// Bytes of a text. Text that grows by `+=` is noticed at twice that at the latest.
    pub string: usize,
    /// Items of an array or map. The engine's own ways to grow one are noticed when it is stored.
    pub items: usize,
    /// Bytes of the state, encoded: every field of `this`, and the value if the handler changed it.
    pub state: usize,
    /// Calls of script functions within each other.
    pub call_depth: usize,
    /// Actions in the network of one event.
    pub actions: usize,
    /// Requests parked at one object.
    pub parked: usize,
}

impl Default for Budgets {
    fn default() -> Self {
        Budgets {
            operations: 100_000,
            cpu: Duration::from_millis(20),
            memory: 1 << 20,
            string: 32 << 10,
            items: 1_000,
            state: 64 << 10,
            call_depth: 32,
            actions: 2,
            parked: 64,
        }
    }
}

/// What scripts are told of the node that runs them.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its peer id.
    pub id: NodeId,
    /// Its address as long as it is in no network.
    pub ip: IpAddr,
    /// Who is near it.
    pub neighbours: Neighbours,
}

/// What a handler did.
#[derive(Debug)]
pub struct Outcome {
    /// What it returned. [`Value::Nil`] if it parked the request.
    pub reply: Value,
    /// `onGet` returned `comet.later()`.
    pub parked: bool,
    /// The new state, if it differs from the former one.
    pub state: Option<State>,
    /// What to carry out now.
    pub actions: Actions,
    /// Operations that were used.
    pub operations: u64,
}

/// The sandbox. One serves the whole process; calls on different threads do not wait for each other.
pub struct Sandbox {
    engine: Engine,
    budgets: Budgets,
    publishers: Box<[Arc<str>]>,
}

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sandbox").field("budgets", &self.budgets).finish_non_exhaustive()
    }
}

/// Expressions within expressions, in a script.
const EXPRESSION_DEPTH: usize = 32;
/// Functions of one script, anonymous ones included.
const FUNCTIONS: usize = 128;
/// Variables that exist at once in one function.
const VARIABLES: usize = 128;

impl Sandbox {
    /// A sandbox on this node.
    pub fn new(budgets: Budgets, node: Node, clock: Clock) -> Sandbox {
        let mut engine = Engine::new_raw();
        engine
            .set_max_expr_depths(EXPRESSION_DEPTH, EXPRESSION_DEPTH)
            .set_max_call_levels(budgets.call_depth)
            .set_max_functions(FUNCTIONS)
            .set_max_variables(VARIABLES)
            .set_optimization_level(OptimizationLevel::None)
            .set_max_strings_interned(0)
            .on_progress(|_| meter::tick().map(|budget| budget.to_string().into()));
        for symbol in ["eval", "curry", "print", "debug", "import", "export", "is_shared"] {
            engine.disable_symbol(symbol);
        }
        #[expect(deprecated, reason = "marked as volatile, not as deprecated")]
        engine.on_var(resolve);
        natives::register(&mut engine);
        host::register(&mut engine, &node, &clock, budgets.actions);
        Sandbox { engine, budgets, publishers: Box::default() }
    }

    /// The same sandbox, which trusts these publishers' signatures.
    pub fn trusting<'a>(mut self, publishers: impl IntoIterator<Item = &'a String>) -> Sandbox {
        self.publishers = publishers.into_iter().map(|publisher| publisher.as_str().into()).collect();
        self
    }

    /// Compiles a script. Measured: under 2 ms for the worst source of the largest size. Constants may use a handler's
    /// budgets on top, so keep it off the hot path.
    pub fn compile(&self, source: &str) -> Result<Script, CompileError> {
        Script::compile(&self.engine, &self.budgets, &self.publishers, source)
    }

    /// The state of a new object: its value, and each top-level `let` of the script evaluated once.
    pub fn create(&self, script: &Script, value: &Value, event: &Event<'_>) -> Result<State, Failure> {
        timed(event::is_large(value), || {
            let value = convert::to_script(value, self.budgets.items)?;
            let mut fields = Map::new();
            if script.names.len() > 1 {
                let mut scope = Scope::new();
                self.metered(script, event, || self.engine.run_ast_with_scope(&mut scope, &script.ast))?;
                fields = script::declared_fields(scope);
            }
            // A large value is fine: the client put it, and puts have a limit of their own.
            let with_nothing = State::commit(None, fields, &script.names, &self.budgets)?;
            let state = with_nothing.expect("there is no former state that it could equal");
            Ok(state.with_value(value))
        })
    }

    /// Runs a handler on a state. The state stays as it is: what the handler makes of it is in the outcome.
    pub fn call(
        &self,
        script: &Script,
        state: &State,
        handler: Handler,
        args: Args<'_>,
        event: &Event<'_>,
    ) -> Result<Outcome, Failure> {
        let Some(declared) = script.declared(handler) else {
            return Err(Failure::Error(format!("the script has no {}", handler.name())));
        };
        timed(state.is_large() || args.are_large(), || {
            let args = args.to_script(declared, self.budgets.items)?;
            let (reply, outcome) = self.run(script, state, handler.name(), args, event)?;
            let parked = self.parked(&reply, handler, event)?;
            let reply = if parked { Value::Nil } else { convert::from_script(&reply, "the reply")? };
            Ok(Outcome { reply, parked, ..outcome })
        })
    }

    /// Runs the function that a script named for the answer of an action. It is an event of its own; what it returns does
    /// not matter. Answers that no script can hold are left out, and so are those that do not fit into a megabyte with the
    /// ones before.
    pub fn call_back(
        &self,
        script: &Script,
        state: &State,
        function: &str,
        values: &[Value],
        event: &Event<'_>,
    ) -> Result<Outcome, Failure> {
        let Some((name, takes)) = script.reach.as_ref().and_then(|reach| reach.callback(function)) else {
            return Err(Failure::Error(format!("the script has no function {function:?} for the answer any more")));
        };
        timed(true, || {
            let args = if takes { vec![self.answers(values)] } else { Vec::new() };
            self.run(script, state, &name, args, event).map(|(_, outcome)| outcome)
        })
    }

    fn answers(&self, values: &[Value]) -> Dynamic {
        let mut room = limits::REPLY_BYTES;
        let fitting = values.iter().take(limits::ACTION_NODES).filter_map(|value| {
            room = room.checked_sub(value.encoded_size())?;
            convert::to_script(value, self.budgets.items).ok()
        });
        Dynamic::from_array(fitting.collect::<Array>())
    }

    fn run(
        &self,
        script: &Script,
        state: &State,
        function: &str,
        args: Vec<Dynamic>,
        event: &Event<'_>,
    ) -> Result<(Dynamic, Outcome), Failure> {
        let mut this = Dynamic::from_map(state.working_copy());
        let (reply, operations, actions) = self.metered(script, event, || {
            let options = CallFnOptions::new().eval_ast(false).bind_this_ptr(&mut this);
            self.engine.call_fn_with_options::<Dynamic>(options, &mut Scope::new(), &script.ast, function, args)
        })?;
        let Some(this) = this.try_cast::<Map>() else {
            return Err(Failure::Error("`this` has to stay a map; change its fields instead".to_owned()));
        };
        let state = State::commit(Some(state), this, &script.names, &self.budgets)?;
        Ok((reply, Outcome { reply: Value::Nil, parked: false, state, actions, operations }))
    }

    /// What a reader of this source should know: errors, likely mistakes, and sizes.
    pub fn check(&self, source: &str) -> Report {
        check::check(&self.engine, &self.budgets, source)
    }

    /// The signature of every function that a script can see, sorted: for whoever audits the shipped binary.
    pub fn functions(&self) -> Vec<String> {
        let mut signatures: Vec<String> =
            definitions::known(&self.engine).iter().map(definitions::Known::signature).collect();
        signatures.sort_unstable();
        signatures
    }

    /// The text of a definition file for editors: every function with a line on what it does.
    pub fn definitions(&self) -> String {
        definitions::definitions(&self.engine)
    }

    /// Runs `act`, and tells what its calls of the sandbox have used on this thread, also those that failed.
    pub fn account<T>(act: impl FnOnce() -> T) -> (T, Usage) {
        USED.set(Usage::default());
        let outcome = act();
        (outcome, USED.take())
    }

    /// Runs `act` under the meter, within a call.
    fn metered<T>(
        &self,
        script: &Script,
        event: &Event<'_>,
        act: impl FnOnce() -> Result<T, Box<EvalAltResult>>,
    ) -> Result<(T, u64, Actions), Failure> {
        let entered = event::enter(Some(event), script.constants.as_ref(), script.reach.as_ref());
        let running = meter::start(&self.budgets);
        let outcome = catch_unwind(AssertUnwindSafe(act));
        let (operations, ended) = running.look();
        match (outcome, ended) {
            (Ok(Ok(result)), None) => Ok((result, operations, entered.take_actions()?)),
            (Ok(Ok(_)), Some(budget)) => Err(Failure::Budget(budget)),
            (Ok(Err(error)), ended) => Err(Failure::from_engine(error, ended)),
            (Err(panic), _) => Err(Failure::from_panic(&*panic)),
        }
    }

    fn parked(&self, reply: &Dynamic, handler: Handler, event: &Event<'_>) -> Result<bool, Failure> {
        if !reply.is::<host::Later>() {
            return Ok(false);
        }
        if handler != Handler::Get {
            return Err(Failure::Error(format!("{} cannot return comet.later(); only onGet can", handler.name())));
        }
        if event.parked.len() >= self.budgets.parked {
            return Err(Failure::Budget(Budget::Parked));
        }
        Ok(true)
    }
}

thread_local! {
    static USED: Cell<Usage> = const { Cell::new(Usage { operations: 0, cpu: Duration::ZERO }) };
}

/// Runs one call from its beginning to its end, and adds what it uses to the account. A call that what it was given kept
/// from running uses nothing.
fn timed<T>(long: bool, act: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let watch = meter::watch(long);
    let outcome = act();
    if !matches!(outcome, Err(Failure::Given { .. })) {
        USED.set(USED.get() + watch.usage());
    }
    outcome
}

/// What a name means that is no variable: `comet`, or a constant of the script.
#[expect(clippy::unnecessary_wraps, reason = "the engine's signature")]
fn resolve(
    name: &str,
    index: usize,
    _: EvalContext<'_, '_, '_, '_, '_, '_>,
) -> Result<Option<Dynamic>, Box<EvalAltResult>> {
    if index > 0 {
        return Ok(None);
    }
    if name == "comet" {
        return Ok(Some(Dynamic::from(host::Comet)));
    }
    Ok(event::with(|call| {
        let constants = call.constants.as_ref()?;
        constants.iter().find(|(other, _)| other.as_str() == name).map(|(_, value)| value.clone())
    }))
}
