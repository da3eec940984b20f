//! Every function that a script can see, as the engine that runs scripts knows it: for authors, editors and audits.

use std::any::TypeId;
use std::collections::BTreeSet;
use std::fmt::Write;

use rhai::{Array, Dynamic, Engine, FnPtr, ImmutableString, Map};

use super::blob::Blob;
use super::event::Handler;
use super::host::{Comet, Later};

/// A function.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Known {
    /// Its name; operators are their sign.
    pub name: String,
    /// The types of its parameters.
    pub parameters: Vec<&'static str>,
    /// The type of its result; empty if it has none.
    pub returns: String,
    /// One line on what it does.
    pub doc: String,
}

impl Known {
    /// `name(type, type) -> type`
    pub fn signature(&self) -> String {
        let arrow = if self.returns.is_empty() { "" } else { " -> " };
        format!("{}({}){arrow}{}", self.name, self.parameters.join(", "), self.returns)
    }

    /// Properties stand beside functions of the same names, and no script has a value of type `f32`.
    fn is_for_authors(&self) -> bool {
        !self.name.contains('$') && !self.parameters.contains(&"f32")
    }

    fn is_operator(&self) -> bool {
        !self.name.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// Functions that the language itself has, not the engine's tables.
const LANGUAGE: &[(&str, &[&str], &str, &str)] = &[
    ("Fn", &["string"], "function", "the function of this name, to be passed on"),
    ("call", &["function", "..."], "?", "calls a function with arguments"),
    (
        "is_def_fn",
        &["string", "int"],
        "bool",
        "whether the script defines a function of this name and number of parameters",
    ),
    ("is_def_var", &["string"], "bool", "whether there is a variable of this name"),
    ("type_of", &["?"], "string", "the name of a value's type"),
];

/// Every function, sorted.
pub fn known(engine: &Engine) -> Vec<Known> {
    let from_tables = engine.collect_fn_metadata(
        None,
        |function| {
            let function = function.metadata;
            Some(Known {
                name: function.name.to_string(),
                parameters: function.param_types.iter().map(|id| type_name(*id)).collect(),
                returns: result_name(&function.name, &function.return_type),
                doc: doc(function.comments.first().map_or("", |comment| comment.as_str())),
            })
        },
        true,
    );
    let language = LANGUAGE.iter().map(|(name, parameters, returns, doc)| Known {
        name: (*name).to_owned(),
        parameters: parameters.to_vec(),
        returns: (*returns).to_owned(),
        doc: (*doc).to_owned(),
    });
    let all: BTreeSet<Known> = from_tables.into_iter().chain(language).collect();
    let mut all: Vec<Known> = all.into_iter().collect();
    // A function of ours that stands before one of the engine's is one function to a script.
    all.dedup_by(|other, one| other.signature() == one.signature());
    all
}

/// The first sentence of a documentation comment, without its marks.
fn doc(comment: &str) -> String {
    let line = comment.lines().next().unwrap_or("").trim_start_matches('/').trim();
    line.trim_end_matches('.').to_owned()
}

fn type_name(id: TypeId) -> &'static str {
    let names = [
        (TypeId::of::<i64>(), "int"),
        (TypeId::of::<f64>(), "float"),
        (TypeId::of::<f32>(), "f32"),
        (TypeId::of::<bool>(), "bool"),
        (TypeId::of::<char>(), "char"),
        (TypeId::of::<()>(), "()"),
        (TypeId::of::<ImmutableString>(), "string"),
        (TypeId::of::<Array>(), "array"),
        (TypeId::of::<Map>(), "map"),
        (TypeId::of::<Blob>(), "blob"),
        (TypeId::of::<FnPtr>(), "function"),
        (TypeId::of::<Comet>(), "comet"),
        (TypeId::of::<Later>(), "later"),
        (TypeId::of::<std::ops::Range<i64>>(), "range"),
        (TypeId::of::<std::ops::RangeInclusive<i64>>(), "range="),
        (TypeId::of::<Dynamic>(), "?"),
    ];
    names.into_iter().find(|(other, _)| *other == id).map_or("?", |(_, name)| name)
}

/// The script's name for a Rust result type, however the engine spells it.
fn result_name(function: &str, name: &str) -> String {
    let name = name.replace(' ', "");
    let inner = ["RhaiResultOf<", "Result<"]
        .iter()
        .find_map(|wrapper| name.split_once(wrapper))
        .map_or(&*name, |(_, rest)| rest);
    let outer = inner.split(['<', ',', '>']).next().unwrap_or(inner);
    match outer.rsplit("::").next().unwrap_or(outer) {
        // The engine's tables lack these two.
        "()" | "" if function == "to_int" => "int",
        "()" | "" if function == "to_float" => "float",
        "()" | "" => "",
        "i64" | "INT" => "int",
        "f64" | "FLOAT" => "float",
        "bool" => "bool",
        "char" => "char",
        "ImmutableString" | "String" | "string" => "string",
        "Blob" | "blob" => "blob",
        "Later" | "later" => "later",
        "Map" | "map" | "BTreeMap" => "map",
        "Array" | "array" | "Vec" => "array",
        "Steps" | "range" | "Range" => "range",
        "f32" => "f32",
        _ => "?",
    }
    .to_owned()
}

/// The text of a definition file for editors.
pub fn definitions(engine: &Engine) -> String {
    let mut out = String::from(HEADER);
    handlers(&mut out);
    let functions: Vec<Known> = known(engine).into_iter().filter(Known::is_for_authors).collect();
    let (host, others): (Vec<_>, Vec<_>) =
        functions.into_iter().partition(|known| known.parameters.first() == Some(&"comet"));
    section(&mut out, "The node: methods of the constant `comet`", &host);
    let (operators, functions): (Vec<_>, Vec<_>) = others.into_iter().partition(Known::is_operator);
    section(&mut out, "Functions", &functions);
    section(
        &mut out,
        "Operators, besides those that the language has for numbers, booleans, characters and strings",
        &operators,
    );
    out
}

const HEADER: &str = "\
// What a Comet script can use. Generated by `comet script definitions`; do not edit.
module static;

/// The node that runs this script.
const comet;
";

fn handlers(out: &mut String) {
    out.push_str("\n// Handlers: define those that the object needs, with as many of the parameters as it needs.\n");
    out.push_str("// `this` is the object's state, and `this.value` is its value.\n");
    for handler in Handler::ALL {
        let parameters = handler.parameters().iter().map(|name| format!("{name}: ?"));
        let parameters = parameters.collect::<Vec<_>>().join(", ");
        writeln!(out, "\n/// {}\nfn {}({parameters}) -> ?;", handler.doc(), handler.name()).expect("text grows");
    }
}

fn section(out: &mut String, title: &str, functions: &[Known]) {
    writeln!(out, "\n// {title}").expect("text grows");
    for known in functions {
        let keyword = if known.is_operator() { "op" } else { "fn" };
        let doc = if known.doc.is_empty() { "as the name says" } else { &known.doc };
        let parameters =
            known.parameters.iter().map(|kind| if keyword == "fn" { format!("_: {kind}") } else { (*kind).to_owned() });
        let parameters = parameters.collect::<Vec<_>>().join(", ");
        let returns = if known.returns.is_empty() { "()" } else { &known.returns };
        writeln!(out, "\n/// {doc}\n{keyword} {}({parameters}) -> {returns};", known.name).expect("text grows");
    }
}
