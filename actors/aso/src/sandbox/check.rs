//! `comet script check`: finds before loading what would otherwise be found by the first client.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rhai::{AST, ASTFlags, ASTNode, Engine, Expr, FnCallExpr, Position, Stmt};

use super::event::Handler;
use super::failure::CompileError;
use super::script::{self, Script};
use super::signature::{self, Signed};
use super::{Budgets, definitions};

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Errors and warnings in the order of the source.
    pub findings: Vec<Finding>,
    /// The handlers that the script defines.
    pub handlers: Vec<&'static str>,
    /// Bytes of the source; [`comet_kernel::limits::SCRIPT_BYTES`] are allowed.
    pub bytes: usize,
    /// Functions, handlers included and anonymous ones not.
    pub functions: usize,
    /// Lines that hold more than blanks and comments.
    pub code_lines: usize,
    /// The publisher who signed it. Whether a node trusts that one is another question.
    pub publisher: Option<String>,
}

impl Report {
    /// Whether the script would not load or would fail for certain.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The script does not load, or fails when it gets there.
    Error,
    /// The script works but perhaps not as its author thinks.
    Warning,
}

/// One thing worth knowing. Line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
    /// How bad it is.
    pub severity: Severity,
    /// What was found, and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(formatter, "{severity}: line {}, column {}: {}", self.line, self.column, self.message)
    }
}

/// Checks a source.
pub fn check(engine: &Engine, budgets: &Budgets, source: &str) -> Report {
    let mut report = Report {
        findings: Vec::new(),
        handlers: Vec::new(),
        bytes: source.len(),
        functions: 0,
        code_lines: code_lines(source),
        publisher: None,
    };
    // Whoever is named is believed here, so that a signature which does not fit is an error whoever made it.
    let named: Vec<Arc<str>> = match signature::read(source) {
        Signed::By(name) | Signed::Wrong(name) => vec![name.into()],
        Signed::Not | Signed::Malformed => Vec::new(),
    };
    match Script::compile(engine, budgets, &named, source) {
        Ok(script) => {
            report.handlers = script.handlers();
            report.publisher = script.publisher().map(ToString::to_string);
        }
        Err(error) => report.compile_error(error),
    }
    if let Ok(tree) = script::parse(engine, source) {
        report.functions = tree.iter_functions().filter(|function| is_named(function.name)).count();
        report.names_of_functions(&tree);
        Names::of(engine, &tree).check(&tree, &mut report);
        if report.handlers.is_empty() && report.findings.is_empty() {
            report.add(
                Severity::Warning,
                Position::NONE,
                "the script defines no handler, so the object is a plain value",
            );
        }
    }
    report.findings.sort_by_key(|finding| (finding.line, finding.column, finding.severity));
    report.findings.dedup();
    report
}

impl Report {
    fn add(&mut self, severity: Severity, position: Position, message: impl Into<String>) {
        let CompileError { message, line, column } = CompileError::at(position, message);
        self.findings.push(Finding { line, column, severity, message });
    }

    fn compile_error(&mut self, error: CompileError) {
        let CompileError { message, line, column } = error;
        self.findings.push(Finding { line, column, severity: Severity::Error, message });
    }

    /// Warns of functions whose names are nearly those of handlers.
    fn names_of_functions(&mut self, tree: &AST) {
        for function in tree.iter_fn_def() {
            let name = function.name.as_str();
            if !is_named(name) || Handler::named(name).is_some() {
                continue;
            }
            let plain = plain(name);
            let near = Handler::ALL.into_iter().find(|handler| {
                let wanted = plain_name(*handler);
                plain == wanted || (plain.starts_with("on") && distance(&plain, &wanted) <= 1)
            });
            if let Some(handler) = near {
                let message = format!("`{name}` is never called by Comet; did you mean `{}`?", handler.name());
                self.add(Severity::Warning, function.body.start_position(), message);
            }
        }
    }
}

/// Every name that a script can use.
struct Names {
    /// Numbers of arguments by name. A method's object counts as one.
    natives: BTreeMap<String, BTreeSet<usize>>,
    /// Numbers of parameters by name. A method's object does not count.
    functions: BTreeMap<String, BTreeSet<usize>>,
    constants: BTreeSet<String>,
    /// Names of fields of maps, which may hold functions.
    fields: BTreeSet<String>,
    /// Where `catch (name)` declares a name.
    catches: Vec<Position>,
}

impl Names {
    fn of(engine: &Engine, tree: &AST) -> Self {
        let mut names = Names {
            natives: BTreeMap::new(),
            functions: BTreeMap::new(),
            constants: BTreeSet::from(["comet".to_owned()]),
            fields: BTreeSet::new(),
            catches: Vec::new(),
        };
        for known in definitions::known(engine) {
            let counts = names.natives.entry(known.name).or_default();
            if known.parameters.contains(&"...") {
                counts.extend(1..16);
            } else {
                counts.extend([known.parameters.len()]);
            }
        }
        for function in tree.iter_functions() {
            names.functions.entry(function.name.to_owned()).or_default().insert(function.params.len());
        }
        tree.walk(&mut |path| {
            names.learn(path.last().expect("a path ends in its node"));
            true
        });
        names
    }

    fn learn(&mut self, node: &ASTNode<'_>) {
        match node {
            ASTNode::Stmt(Stmt::Var(variable, flags, _)) if flags.intersects(ASTFlags::CONSTANT) => {
                self.constants.insert(variable.0.name.to_string());
            }
            ASTNode::Stmt(Stmt::TryCatch(parts, _)) => self.catches.push(parts.expr.position()),
            ASTNode::Expr(Expr::Map(map, _)) => self.fields.extend(map.1.keys().map(ToString::to_string)),
            ASTNode::Expr(Expr::Property(property, _)) => {
                self.fields.insert(property.2.to_string());
            }
            _ => {}
        }
    }

    fn check(&self, tree: &AST, report: &mut Report) {
        tree.walk(&mut |path| {
            match path.last().expect("a path ends in its node") {
                ASTNode::Expr(Expr::FnCall(call, position)) | ASTNode::Stmt(Stmt::FnCall(call, position)) => {
                    self.check_call(call, *position, 0, report);
                }
                ASTNode::Expr(Expr::MethodCall(call, position)) => self.check_call(call, *position, 1, report),
                ASTNode::Expr(Expr::Variable(variable, short, position)) if short.is_none() && variable.0.is_none() => {
                    self.check_variable(&variable.1, *position, report);
                }
                _ => {}
            }
            true
        });
    }

    /// `objects` is 1 for a method, whose object is one more argument of a native function.
    fn check_call(&self, call: &FnCallExpr, position: Position, objects: usize, report: &mut Report) {
        let name = call.name.as_str();
        if call.is_operator_call() || !is_named(name) || (objects > 0 && self.fields.contains(name)) {
            return;
        }
        let count = call.args.len();
        let (natives, functions) = (self.natives.get(name), self.functions.get(name));
        let fits = natives.is_some_and(|counts| counts.contains(&(count + objects)))
            || functions.is_some_and(|counts| counts.contains(&count));
        if fits {
            return;
        }
        if natives.is_none() && functions.is_none() {
            let names = self.natives.keys().chain(self.functions.keys()).map(String::as_str);
            let hint = near(name, names).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            report.add(Severity::Error, position, format!("there is no function `{name}`{hint}"));
            return;
        }
        let natives = natives.into_iter().flatten().filter_map(|count| count.checked_sub(objects));
        let counts: BTreeSet<usize> = natives.chain(functions.into_iter().flatten().copied()).collect();
        let counts: Vec<String> = counts.iter().map(ToString::to_string).collect();
        let message = format!("`{name}` takes {} arguments, not {count}", counts.join(" or "));
        report.add(Severity::Error, position, message);
    }

    fn check_variable(&self, name: &str, position: Position, report: &mut Report) {
        if self.constants.contains(name) || self.functions.contains_key(name) || self.catches.contains(&position) {
            return;
        }
        let message = format!(
            "there is no variable `{name}` here; functions see their parameters, top-level constants and `this`, \
             and nothing of the code around them"
        );
        report.add(Severity::Error, position, message);
    }
}

/// Whether an author gave the function its name.
fn is_named(name: &str) -> bool {
    !name.contains('$')
}

fn plain(name: &str) -> String {
    name.chars().filter(|character| *character != '_').flat_map(char::to_lowercase).collect()
}

fn plain_name(handler: Handler) -> String {
    plain(handler.name())
}

/// The name that differs by one or two characters, if any.
fn near<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = if name.len() < 4 { 1 } else { 2 };
    let near = names.filter(|other| is_named(other)).map(|other| (distance(name, other), other));
    near.filter(|(distance, _)| *distance <= most).min().map(|(_, other)| other)
}

/// How many characters have to be inserted, removed or exchanged, or swapped with their neighbours, to make one name of the
/// other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let exchanged = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = exchanged.min(row[j - 1] + 1).min(rows[i - 1][j] + 1);
            if i > 1 && j > 1 && a[i - 2..i] == [b[j - 1], b[j - 2]] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Lines that hold more than blanks and comments.
fn code_lines(source: &str) -> usize {
    let mut comment_depth = 0_usize;
    let mut lines = 0;
    for line in source.lines() {
        let mut rest = line.trim_start();
        let mut code = false;
        while !rest.is_empty() {
            if rest.starts_with("/*") {
                comment_depth += 1;
                rest = &rest[2..];
            } else if comment_depth > 0 && rest.starts_with("*/") {
                comment_depth -= 1;
                rest = &rest[2..];
            } else if comment_depth == 0 && rest.starts_with("//") {
                break;
            } else {
                let mut characters = rest.chars();
                let first = characters.next().expect("the rest is not empty");
                code |= comment_depth == 0 && !first.is_whitespace();
                rest = characters.as_str();
                // A text may look like a comment: skip to its end on this line.
                if comment_depth == 0 && matches!(first, '"' | '`') {
                    rest = rest.split_once(first).map_or("", |(_, after)| after);
                }
            }
        }
        lines += usize::from(code);
    }
    lines
}
