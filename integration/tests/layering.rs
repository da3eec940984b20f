//! Who may import whom, asked of cargo: `integration → ops → actors/* → kernel`, dev-dependencies included, and one door
//! each for the heavy dependencies.

#![allow(clippy::unwrap_used, reason = "a test that unwraps in vain fails, as it should")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value as Json;

/// The crates that may name a heavy dependency. Its parts count as well: `libp2p-kad` is libp2p.
const DOORS: [(&str, &str); 3] = [("rhai", "comet-aso"), ("fjall", "comet-storage"), ("libp2p", "comet-routing")];

/// Every crate of the workspace: its folder, and what it depends on in any way.
fn crates() -> BTreeMap<String, (String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = Command::new(cargo).args(words).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Json = serde_json::from_slice(&output.stdout).unwrap();
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let manifest = text(&package["manifest_path"]);
            let folder = Path::new(&manifest).parent().unwrap().strip_prefix(root).unwrap().display().to_string();
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            (text(&package["name"]), (folder, dependencies.map(|it| text(&it["name"])).collect()))
        })
        .collect()
}

/// How far up a crate stands; a crate may depend on what stands lower only.
fn storey(folder: &str) -> usize {
    match folder {
        "kernel" => 0,
        "ops" => 2,
        "integration" => 3,
        actor if actor.starts_with("actors/") => 1,
        other => panic!("{other} stands nowhere: the house has kernel, actors, ops and integration"),
    }
}

#[test]
fn every_crate_depends_on_lower_ones_only_and_no_actor_on_another() {
    let crates = crates();
    assert!(crates.len() >= 9, "{} crates", crates.len());
    for (name, (folder, dependencies)) in &crates {
        for dependency in dependencies {
            let Some((other, _)) = crates.get(dependency) else { continue };
            assert!(storey(folder) > storey(other), "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn each_heavy_dependency_has_one_door() {
    for (name, (_, dependencies)) in crates() {
        for dependency in dependencies {
            for (heavy, door) in DOORS {
                let is_part = dependency == heavy || dependency.starts_with(&format!("{heavy}-"));
                assert!(!is_part || name == door, "{name} depends on {dependency}, whose one door is {door}");
            }
        }
    }
}

#[test]
fn each_heavy_dependency_that_is_there_goes_through_its_door() {
    let crates = crates();
    for (heavy, door) in DOORS {
        if let Some((_, dependencies)) = crates.get(door) {
            assert!(dependencies.iter().any(|it| it == heavy), "{door} is the door of {heavy} and does not use it");
        }
    }
}
