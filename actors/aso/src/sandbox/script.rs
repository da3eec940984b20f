//! Compiled scripts.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use comet_kernel::identity::ScriptHash;
use comet_kernel::limits;
use rhai::{AST, ASTFlags, ASTNode, Dynamic, Engine, Expr, Identifier, Position, Scope, Stmt};

use super::event::{Constants, Handler};
use super::failure::{CompileError, Failure};
use super::reach::Reach;
use super::state::{Names, VALUE};
use super::{Budgets, event, meter, signature};

/// A compiled script. It knows nothing of any object and is shared by all that use it.
pub struct Script {
    source: Arc<str>,
    hash: ScriptHash,
    pub(super) ast: AST,
    /// Parameters that each handler declares, in the order of [`Handler::ALL`]; `None` where it is not defined.
    declared: [Option<u8>; Handler::ALL.len()],
    pub(super) constants: Option<Constants>,
    pub(super) reach: Option<Arc<Reach>>,
    publisher: Option<Arc<str>>,
    /// The fields of `this` that the script declares, [`VALUE`] among them.
    pub(super) names: Names,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Script")
            .field("hash", &self.hash)
            .field("handlers", &self.handlers())
            .finish_non_exhaustive()
    }
}

impl Script {
    /// The hash of the source.
    pub fn hash(&self) -> ScriptHash {
        self.hash
    }

    /// The source.
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Whether the script defines this handler.
    pub fn handles(&self, handler: Handler) -> bool {
        self.declared(handler).is_some()
    }

    /// The names of the handlers that the script defines, in the order of [`Handler::ALL`].
    pub fn handlers(&self) -> Vec<&'static str> {
        Handler::ALL.into_iter().filter(|handler| self.handles(*handler)).map(Handler::name).collect()
    }

    /// The publisher who signed the script, if the node trusts that one.
    pub fn publisher(&self) -> Option<&Arc<str>> {
        self.publisher.as_ref()
    }

    /// Whether something in the script leads to the network.
    pub fn uses_network(&self) -> bool {
        self.reach.is_some()
    }

    /// How many parameters the script's version of this handler declares.
    pub(super) fn declared(&self, handler: Handler) -> Option<usize> {
        self.declared[handler as usize].map(usize::from)
    }

    /// Compiles a source.
    pub(super) fn compile(
        engine: &Engine,
        budgets: &Budgets,
        trusted: &[Arc<str>],
        source: &str,
    ) -> Result<Script, CompileError> {
        let ast = parse(engine, source)?;
        let publisher = signature::publisher(source, trusted)?;
        let names = check_top_level(&ast)?;
        let declared = find_handlers(&ast)?;
        let constants = evaluate_constants(engine, budgets, &ast)?;
        let reach = Reach::of(&ast, publisher.as_ref());
        let hash = ScriptHash::of(source);
        Ok(Script { source: source.into(), hash, ast, declared, constants, reach, publisher, names })
    }
}

/// The syntax tree of a source. What took seconds to compile (long lists of statements, blocks or `switch` arms) took
/// them in the engine's optimizer, which is off; parsing takes time in proportion to the size, which is bounded here.
pub(super) fn parse(engine: &Engine, source: &str) -> Result<AST, CompileError> {
    if source.len() > limits::SCRIPT_BYTES {
        let message = format!("the script has {} bytes; at most {} are allowed", source.len(), limits::SCRIPT_BYTES);
        return Err(CompileError::at(Position::NONE, message));
    }
    if let Some(line) = source.split('\n').position(|line| line.contains('\0')) {
        let position = Position::new((line + 1) as u16, 1);
        return Err(CompileError::at(position, "a script is text and holds no NUL character"));
    }
    match catch_unwind(AssertUnwindSafe(|| engine.compile(source))) {
        Ok(parsed) => Ok(parsed?),
        Err(panic) => {
            let failure = Failure::from_panic(&*panic);
            Err(CompileError::at(Position::NONE, failure.to_string()))
        }
    }
}

/// Refuses everything at top level but `let`, `const` and `fn`, and names that stand for something else.
fn check_top_level(ast: &AST) -> Result<Names, CompileError> {
    let mut names = vec![Identifier::from(VALUE)];
    for statement in ast.statements() {
        match statement {
            Stmt::Noop(_) => {}
            Stmt::Var(variable, flags, position) => {
                let name = &variable.0.name;
                match name.as_str() {
                    "comet" => return Err(CompileError::at(*position, "`comet` is the node; choose another name")),
                    VALUE => {
                        let message = "`value` is what clients put; this.value is there without a `let`";
                        return Err(CompileError::at(*position, message));
                    }
                    _ if !flags.intersects(ASTFlags::CONSTANT) => names.push(name.as_str().into()),
                    _ => {}
                }
            }
            other => {
                let message = "only `let`, `const` and `fn` may stand at top level; move this into a handler";
                return Err(CompileError::at(other.position(), message));
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names.into())
}

/// How many parameters each handler declares. Of several definitions the one with most parameters counts.
fn find_handlers(ast: &AST) -> Result<[Option<u8>; Handler::ALL.len()], CompileError> {
    let mut declared = [None; Handler::ALL.len()];
    for function in ast.iter_fn_def().filter(|function| function.this_type.is_none()) {
        let Some(handler) = Handler::named(&function.name) else { continue };
        let offered = handler.parameters().len();
        if function.params.len() > offered {
            let message = format!("{} is called with at most {offered} arguments", handler.name());
            return Err(CompileError::at(function.body.start_position(), message));
        }
        let present = &mut declared[handler as usize];
        *present = (*present).max(u8::try_from(function.params.len()).ok());
    }
    Ok(declared)
}

/// Evaluates the top-level constants under the meter, so that functions can read them by name.
fn evaluate_constants(engine: &Engine, budgets: &Budgets, ast: &AST) -> Result<Option<Constants>, CompileError> {
    let is_constant =
        |statement: &&Stmt| matches!(statement, Stmt::Var(_, flags, _) if flags.intersects(ASTFlags::CONSTANT));
    if !ast.statements().iter().any(|statement| is_constant(&statement)) {
        return Ok(None);
    }
    let entered = event::enter(None, None, None);
    let running = meter::start(budgets);
    let mut scope = Scope::new();
    for statement in ast.statements() {
        let Stmt::Var(variable, ..) = statement else { continue };
        if !is_constant(&statement) {
            // Later expressions count variables from the end of the scope: each needs its place.
            scope.push(variable.0.name.clone(), ());
            continue;
        }
        check_constant(&variable.1, &scope)?;
        let one = AST::new([statement.clone()], ast.shared_lib().clone());
        let outcome = catch_unwind(AssertUnwindSafe(|| engine.run_ast_with_scope(&mut scope, &one)));
        let (_, ended) = running.look();
        let failure = match outcome {
            Ok(Ok(())) if ended.is_none() => None,
            Ok(Ok(())) => ended.map(Failure::Budget),
            Ok(Err(error)) => Some(Failure::from_engine(error, ended)),
            Err(panic) => Some(Failure::from_panic(&*panic)),
        };
        if let Some(failure) = failure {
            let message = format!("the constant {} cannot be evaluated: {failure}", variable.0.name);
            return Err(CompileError::at(statement.position(), message));
        }
        event::with(|call| call.constants = Some(constants_of(&scope)));
    }
    drop((running, entered));
    Ok(Some(constants_of(&scope)))
}

fn constants_of(scope: &Scope<'_>) -> Constants {
    // The last of several constants of one name counts.
    let mut constants: Vec<(Identifier, Dynamic)> = Vec::new();
    for (name, _, value) in scope.iter_raw().filter(|(_, is_constant, _)| *is_constant) {
        constants.retain(|(other, _)| other.as_str() != name);
        constants.push((name.into(), value.clone()));
    }
    constants.into()
}

/// Constants exist once for each script, fields once for each object: the former cannot depend on the latter.
fn check_constant(expression: &Expr, scope: &Scope<'_>) -> Result<(), CompileError> {
    let mut wrong = None;
    expression.walk(&mut Vec::new(), &mut |path: &[ASTNode<'_>]| {
        if let Some(ASTNode::Expr(Expr::Variable(variable, _, position))) = path.last()
            && scope.is_constant(&variable.1) == Some(false)
        {
            wrong = Some((variable.1.clone(), *position));
        }
        wrong.is_none()
    });
    match wrong {
        Some((name, position)) => {
            Err(CompileError::at(position, format!("a constant cannot depend on `let {name}`, which each object has")))
        }
        None => Ok(()),
    }
}

/// The fields of `this` that the top level of the script declares, after it was evaluated in `scope`.
pub(super) fn declared_fields(scope: Scope<'_>) -> rhai::Map {
    let fields = scope.iter_raw().filter(|(_, is_constant, _)| !is_constant);
    fields.map(|(name, _, value)| (name.into(), value.clone())).collect()
}
