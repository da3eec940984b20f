//! Signing scripts.

use std::fs::Permissions;
use std::io::{self, Write};
use std::path::Path;

use comet_aso::sandbox::signature;
use serde_json::json;

use super::sandbox;
use crate::cli::failure::Failure;
use crate::cli::keys;
use crate::cli::output::Output;
use crate::cli::value::read_script;

/// `comet script sign`: writes the file anew with a signature line in the place of any that it has.
pub(super) fn sign(file: &Path, key: &Path, output: &mut Output) -> Result<(), Failure> {
    let key = keys::read(key)?;
    let signed = signature::sign(&read_script(file)?, &key);
    let shown = file.display();
    if let Err(error) = sandbox().compile(&signed) {
        return Err(Failure::Refused(format!(
            "{shown}:{}:{}: {}; not signed",
            error.line, error.column, error.message
        )));
    }
    replace(file, &signed)
        .map_err(|error| Failure::Unavailable(format!("cannot write {shown}: {error}; it is as it was before")))?;
    let publisher = keys::publisher(&key);
    if output.json {
        return output.json(&json!({ "file": shown.to_string(), "publisher": publisher.as_str() }));
    }
    output.line(&format!("{shown}: signed by {publisher}; every later change needs a new signature"))
}

/// Puts another text into a file, wholly or not at all. Its permissions stay.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let file = file.canonicalize()?;
    let permissions: Permissions = file.metadata()?.permissions();
    let mut unfinished = file.clone().into_os_string();
    unfinished.push(format!(".{}.new", std::process::id()));
    let written = std::fs::File::create_new(&unfinished).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.set_permissions(permissions)?;
        new.sync_all()?;
        std::fs::rename(&unfinished, &file)
    });
    if written.is_err() {
        let _not_there_or_of_no_use = std::fs::remove_file(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::printed;
    use std::os::unix::fs::PermissionsExt;

    /// A folder with a key and this script, signed; what was said of it.
    fn signed(source: &str) -> (tempfile::TempDir, String, Result<(), Failure>) {
        let folder = tempfile::tempdir().unwrap();
        let (file, key) = (folder.path().join("s.rhai"), folder.path().join("k"));
        std::fs::write(&file, source).unwrap();
        std::fs::write(&key, [5; 32]).unwrap();
        let mut outcome = Ok(());
        let text = printed(false, false, |output| outcome = sign(&file, &key, output));
        (folder, text, outcome)
    }

    #[test]
    fn a_signed_file_carries_one_signature_line_and_keeps_its_permissions() {
        let (folder, text, outcome) = signed("fn onGet() { 1 }");
        assert_eq!(outcome, Ok(()));
        assert!(text.contains("s.rhai: signed by 12D3KooW"), "{text}");
        let file = folder.path().join("s.rhai");
        let once = std::fs::read_to_string(&file).unwrap();
        assert!(matches!(signature::read(&once), signature::Signed::By(_)), "{once}");
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        printed(false, false, |output| sign(&file, &folder.path().join("k"), output).unwrap());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), once);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(folder.path().read_dir().unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn a_script_that_does_not_compile_is_not_signed() {
        let (folder, _, outcome) = signed("fn onGet() { 1 +\n");
        let error = outcome.unwrap_err();
        assert!(error.code() == 1 && error.to_string().contains("s.rhai:"), "{error}");
        assert_eq!(std::fs::read_to_string(folder.path().join("s.rhai")).unwrap(), "fn onGet() { 1 +\n");
        let (_, _, outcome) = signed(&format!("// {}\nfn onGet() {{ 1 }}", "x".repeat(8_100)));
        assert!(outcome.unwrap_err().to_string().contains("at most 8192"), "no room for the signature");
    }
}
