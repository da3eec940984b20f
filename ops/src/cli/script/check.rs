//! Checking scripts without a node.

use std::path::{Path, PathBuf};

use comet_aso::sandbox::{Report, Severity};
use comet_kernel::limits;
use serde_json::{Value as Json, json};

use super::sandbox;
use crate::cli::failure::Failure;
use crate::cli::output::Output;
use crate::cli::value::read_script;

/// `comet script check`.
pub(super) fn check(files: &[PathBuf], output: &mut Output) -> Result<(), Failure> {
    let (sandbox, mut wrong) = (sandbox(), 0);
    for file in files {
        // A file that cannot be read, or is too long to be a script, is wrong like one that does not compile.
        let report = read_script(file).map(|source| sandbox.check(&source));
        wrong += usize::from(!report.as_ref().is_ok_and(|report| !report.has_errors()));
        if output.json {
            output.json(&document(file, &report))?;
        } else {
            lines(file, &report).iter().try_for_each(|line| output.line(line))?;
        }
    }
    match wrong {
        0 => Ok(()),
        _ => Err(Failure::Refused(format!("errors in {wrong} of {} scripts", files.len()))),
    }
}

fn lines(file: &Path, report: &Result<Report, Failure>) -> Vec<String> {
    let file = file.display();
    match report {
        Err(failure) => vec![format!("{file}: error: {failure}")],
        Ok(report) => {
            let findings = report.findings.iter().map(|finding| {
                let word = word(finding.severity);
                format!("{file}:{}:{}: {word}: {}", finding.line, finding.column, finding.message)
            });
            let verdict = if report.has_errors() { "does not load" } else { "is right" };
            let handlers = if report.handlers.is_empty() { "none".to_owned() } else { report.handlers.join(", ") };
            let publisher = report.publisher.as_ref().map_or(String::new(), |name| format!(", signed by {name}"));
            let summary = format!(
                "{file}: {verdict}: {} lines of code, {} of {} bytes, {} functions, handlers: {handlers}{publisher}",
                report.code_lines,
                report.bytes,
                limits::SCRIPT_BYTES,
                report.functions
            );
            findings.chain([summary]).collect()
        }
    }
}

fn document(file: &Path, report: &Result<Report, Failure>) -> Json {
    let file = file.display().to_string();
    match report {
        Err(failure) => json!({ "file": file, "ok": false, "error": failure.to_string() }),
        Ok(report) => {
            let findings = report.findings.iter().map(|finding| {
                json!({
                    "severity": word(finding.severity),
                    "line": finding.line,
                    "column": finding.column,
                    "message": finding.message,
                })
            });
            json!({
                "file": file,
                "ok": !report.has_errors(),
                "findings": findings.collect::<Vec<_>>(),
                "handlers": report.handlers,
                "bytes": report.bytes,
                "functions": report.functions,
                "code_lines": report.code_lines,
                "publisher": report.publisher,
            })
        }
    }
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::printed;

    fn checked(json: bool, source: &str) -> (String, Result<(), Failure>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.rhai");
        std::fs::write(&path, source).unwrap();
        let mut outcome = Ok(());
        let text = printed(json, false, |output| outcome = check(&[path], output));
        (text, outcome)
    }

    #[test]
    fn a_script_that_is_right_is_summed_up() {
        let (text, outcome) = checked(false, "let n = 0;\nfn onGet() { this.n += 1; this.n }\n");
        assert_eq!(outcome, Ok(()));
        assert!(text.contains("s.rhai: is right: 2 lines of code") && text.contains("handlers: onGet"), "{text}");
    }

    #[test]
    fn an_error_has_file_line_and_column_and_code_1() {
        let (text, outcome) = checked(false, "fn onGet() {\n    1 +\n}\n");
        assert_eq!(outcome.unwrap_err().code(), 1);
        assert!(text.contains("s.rhai:3:1: error: "), "{text}");
        let (json, _) = checked(true, "fn onGet() {\n    1 +\n}\n");
        let document: Json = serde_json::from_str(&json).unwrap();
        assert_eq!((&document["ok"], &document["findings"][0]["line"]), (&json!(false), &json!(3)));
    }

    #[test]
    fn a_signature_is_told_and_a_wrong_one_is_an_error() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
        let signed = comet_aso::sandbox::signature::sign("fn onGet() { 1 }\n", &key);
        let (text, outcome) = checked(false, &signed);
        assert_eq!(outcome, Ok(()));
        assert!(text.contains("handlers: onGet, signed by 12D3KooW"), "{text}");
        let (text, outcome) = checked(false, &signed.replace('1', "2"));
        assert!(outcome.is_err() && text.contains("s.rhai:2:1: error: "), "{text}");
    }

    #[test]
    fn a_file_that_is_missing_is_an_error_among_others() {
        let missing = [PathBuf::from("/nowhere/s.rhai")];
        let text = printed(false, false, |output| assert!(check(&missing, output).is_err()));
        assert!(text.starts_with("/nowhere/s.rhai: error: cannot read"), "{text}");
    }
}
