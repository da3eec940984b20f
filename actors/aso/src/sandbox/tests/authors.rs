//! What helps authors: the check, the definition file, the list of functions.

use super::super::Severity;
use super::*;

/// The findings of a check as `line:column text`.
fn findings(source: &str) -> Vec<String> {
    let report = Bench::new().sandbox.check(source);
    report.findings.iter().map(|finding| format!("{}:{} {}", finding.line, finding.column, finding.message)).collect()
}

#[test]
fn a_good_script_has_no_findings() {
    let source = "// Counts.\nconst MAX = 9;\nlet n = 0;\n\n/* two\n lines */\nfn helper(x) { x + MAX }\nfn onGet(caller, payload) {\n    try { this.n = helper(this.n); } catch (e) { comet.log(e.message); }\n    let f = |x| x * 2;\n    let near = [3, 1].map(f); near.sort(|a, b| a - b);\n    let m = #{ f: f }; m.f(1);\n    for i in 0..2 { this.n += i; }\n    switch this.n { 1 => helper(1), _ => this.value.len() } // \"no /* comment\"\n}\n";
    let report = Bench::new().sandbox.check(source);
    assert_eq!(findings(source), Vec::<String>::new());
    assert_eq!((report.code_lines, report.functions, report.bytes), (11, 2, source.len()));
    assert_eq!(report.handlers, ["onGet"]);
    assert!(!report.has_errors());
}

#[test]
fn unknown_functions_variables_and_wrong_numbers_of_arguments_are_errors() {
    let found = findings(
        "fn onGet() {\n  comet.getSytemTime();\n  nothing(1);\n  this.value.len(1, 2);\n  helper();\n  unknown + 1;\n}\nfn helper(a) { a }",
    );
    assert_eq!(found.len(), 5, "{found:#?}");
    assert!(found[0].contains("2:9 there is no function `getSytemTime`; did you mean `getSystemTime`?"), "{found:#?}");
    assert!(found[1].starts_with("3:3 there is no function `nothing`"), "{found:#?}");
    assert!(found[2].starts_with("4:14 `len` takes 0 arguments, not 2"), "{found:#?}");
    assert!(found[3].starts_with("5:3 `helper` takes 1 arguments, not 0"), "{found:#?}");
    assert!(found[4].starts_with("6:3 there is no variable `unknown`"), "{found:#?}");
}

#[test]
fn an_anonymous_function_that_captures_is_an_error() {
    let found = findings("fn onGet() {\n  let factor = 2;\n  [1].map(|x| x * factor)\n}");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("there is no variable `factor`"));
}

#[test]
fn misspelt_handlers_are_warned_of() {
    for name in ["onget", "on_get", "onPutt", "OnTimer", "onUpdat", "onremove", "onGte", "onTiemr"] {
        let report = Bench::new().sandbox.check(&format!("fn {name}() {{ }}"));
        assert!(
            report
                .findings
                .iter()
                .any(|finding| finding.severity == Severity::Warning && finding.message.contains("did you mean")),
            "{name}"
        );
    }
    assert_eq!(findings("fn only() { } fn onGet() { only() }"), Vec::<String>::new());
}

#[test]
fn sources_that_do_not_load_are_errors_with_a_place() {
    let report = |source: &str| Bench::new().sandbox.check(source);
    assert!(report("fn onGet( {").has_errors());
    assert!(report("fn onTimer(a) {}").has_errors());
    assert!(report(&"// ".repeat(4_000)).has_errors());
    assert!(report("let a = 1;\n\0").has_errors());
    assert_eq!(report("\n\nprint(1)").findings[0].line, 3);
    let nothing = report("const A = 1;");
    assert!(!nothing.has_errors() && nothing.findings[0].message.contains("no handler"));
}

#[test]
fn the_list_of_functions_holds_what_is_allowed_and_nothing_else() {
    let functions = Bench::new().sandbox.functions();
    let names: Vec<&str> = functions.iter().map(|signature| signature.split('(').next().unwrap()).collect();
    for forbidden in [
        "eval",
        "import",
        "sleep",
        "timestamp",
        "print",
        "debug",
        "curry",
        "exit",
        "parse_json",
        "to_json",
        "open",
        "tag",
        "set_tag",
        "to_debug",
    ] {
        assert!(!names.contains(&forbidden), "{forbidden}");
    }
    for wanted in [
        "getSystemTime(comet) -> int",
        "verify(comet, ?, ?, ?) -> bool",
        "len(array) -> int",
        "push(array, ?)",
        "+(array, array) -> array",
        "map(array, function) -> array",
    ] {
        assert!(functions.iter().any(|signature| signature == wanted), "{wanted} in {functions:#?}");
    }
    assert!(functions.is_sorted());
}

#[test]
fn the_definition_file_names_every_function_with_a_line_of_text() {
    let bench = Bench::new();
    let text = bench.sandbox.definitions();
    for handler in Handler::ALL {
        assert!(text.contains(&format!("fn {}(", handler.name())));
    }
    for signature in bench.sandbox.functions() {
        let name = signature.split('(').next().unwrap();
        assert!(name.contains('$') || signature.contains("f32") || text.contains(&format!(" {name}(")), "{name}");
    }
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        if pair[1].starts_with("fn ") || pair[1].starts_with("op ") {
            assert!(pair[0].starts_with("/// ") && pair[0].len() > 8, "{pair:?}");
        }
    }
}
