//! What the text of a script says about its use of the network.

use std::sync::Arc;

use rhai::{AST, ASTNode, Expr, Position, Stmt};

/// Names of functions by which a script can come to the network. `Fn` can make any name at run time.
const DOORS: [&str; 4] = ["lookup", "get", "put", "Fn"];

/// What a script that may use the network can call back, and who vouches for it. Scripts that do not have none of it.
#[derive(Debug)]
pub(super) struct Reach {
    /// Functions that can take an answer, and whether they have a parameter for it.
    callbacks: Box<[(Arc<str>, bool)]>,
    /// Calls of `put` whose data is written as `this`.
    itself: Box<[Position]>,
    /// The trusted publisher who signed the script.
    pub publisher: Option<Arc<str>>,
}

impl Reach {
    /// What this syntax tree says; none if nothing in it leads to the network.
    pub fn of(tree: &AST, publisher: Option<&Arc<str>>) -> Option<Arc<Reach>> {
        let (mut uses, mut itself) = (false, Vec::new());
        tree.walk(&mut |path| {
            let (name, data, position) = match path.last() {
                Some(ASTNode::Expr(Expr::MethodCall(call, position))) => (&call.name, call.args.get(1), position),
                Some(ASTNode::Expr(Expr::FnCall(call, position)) | ASTNode::Stmt(Stmt::FnCall(call, position))) => {
                    (&call.name, call.args.get(2), position)
                }
                _ => return true,
            };
            uses |= DOORS.contains(&name.as_str());
            if name == "put" && matches!(data, Some(Expr::ThisPtr(_))) {
                itself.push(*position);
            }
            true
        });
        uses.then(|| {
            let functions = tree.iter_fn_def().filter(|function| function.this_type.is_none());
            let mut callbacks: Vec<(Arc<str>, bool)> = functions
                .filter(|function| function.params.len() <= 1)
                .map(|function| (function.name.as_str().into(), !function.params.is_empty()))
                .collect();
            // Of two that share a name the one with the parameter is meant.
            callbacks.sort_by(|(name, takes), (other, other_takes)| name.cmp(other).then(other_takes.cmp(takes)));
            callbacks.dedup_by(|(name, _), (former, _)| name == former);
            Arc::new(Reach { callbacks: callbacks.into(), itself: itself.into(), publisher: publisher.cloned() })
        })
    }

    /// The callback of this name, and whether it takes the answer.
    pub fn callback(&self, name: &str) -> Option<(Arc<str>, bool)> {
        self.callbacks.iter().find(|(other, _)| **other == *name).cloned()
    }

    /// Whether the call of `put` that stands here has `this` for its data.
    pub fn means_itself(&self, position: Position) -> bool {
        self.itself.contains(&position)
    }
}
