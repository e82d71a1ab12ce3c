// SPDX-License-Identifier: Apache-2.0
//! What is linked and what the sources look like: licences, origins, bans, directions of dependencies,
//! licence lines, sizes of files. The rules about dependencies are those of `deny.toml`.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Source files that may be longer than 400 lines, with the reason.
const LONG_FILES: &[(&str, &str)] = &[
    ("protocol/tests/smime_refusals.rs", "one table of refusals, and the forger that makes them"),
    ("relayd/tests/forward.rs", "all behaviours of one sink, against one false upstream"),
    ("relayd/tests/spool.rs", "all behaviours of one service, against one false sink"),
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform"])
        .arg(format!("{}-unknown-linux-gnu", std::env::consts::ARCH))
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn rules() -> toml::Table {
    fs::read_to_string(workspace().join("deny.toml")).unwrap().parse().unwrap()
}

fn texts(value: &toml::Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn packages(metadata: &Value) -> &Vec<Value> {
    metadata["packages"].as_array().unwrap()
}

fn text<'a>(package: &'a Value, member: &str) -> &'a str {
    package[member].as_str().unwrap_or_default()
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let allowed = texts(&rules()["licenses"]["allow"]);
    let refused: Vec<_> = packages(&metadata())
        .iter()
        .filter(|package| !is_allowed(text(package, "license"), &allowed))
        .map(|package| format!("{} ({:?})", text(package, "name"), text(package, "license")))
        .collect();
    assert!(refused.is_empty(), "not in deny.toml: {}", refused.join(", "));
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT".to_owned(), "Unicode-3.0".to_owned()];
    for good in
        ["MIT", "GPL-3.0 OR MIT", "MIT/GPL-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0", "GPL-2.0 / MIT"]
    {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR X) AND GPL-3.0", "Apache-2.0 WITH LLVM-exception"]
    {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}

#[test]
fn every_dependency_comes_from_crates_io() {
    let origins = texts(&rules()["sources"]["allow-registry"]);
    for package in packages(&metadata()) {
        if let Some(source) = package["source"].as_str() {
            let known = source.strip_prefix("registry+").is_some_and(|url| origins.iter().any(|o| o == url));
            assert!(known, "{} comes from {source}", text(package, "name"));
        }
    }
}

#[test]
fn nothing_banned_is_linked() {
    let rules = rules();
    let banned: HashSet<_> =
        rules["bans"]["deny"].as_array().unwrap().iter().map(|ban| ban["crate"].as_str().unwrap()).collect();
    assert!(!banned.is_empty());
    let metadata = metadata();
    let found: Vec<_> =
        packages(&metadata).iter().map(|p| text(p, "name")).filter(|n| banned.contains(n)).collect();
    assert!(found.is_empty(), "banned in deny.toml: {found:?}");
}

/// agent → protocol ← relayd, and the protocol opens no socket, no database and needs no runtime.
#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let packages: HashMap<_, _> = packages(&metadata).iter().map(|p| (text(p, "name"), p)).collect();
    let names = |package: &str| -> HashSet<String> {
        let dependencies = packages[package]["dependencies"].as_array().unwrap();
        dependencies.iter().filter(|d| d["kind"].is_null()).map(|d| text(d, "name").to_owned()).collect()
    };
    for (package, forbidden) in [
        ("protocol", &["relayd", "agent", "tests", "tokio", "hyper", "warp", "diesel", "notify"][..]),
        ("relayd", &["agent", "tests"]),
        ("agent", &["relayd", "tests", "diesel", "warp"]),
        ("logging", &["protocol", "relayd", "agent", "tests", "tokio", "hyper"]),
        ("tests", &["relayd", "agent"]),
    ] {
        let names = names(package);
        let wrong: Vec<_> = forbidden.iter().filter(|name| names.contains(**name)).collect();
        assert!(wrong.is_empty(), "{package} must not depend on {wrong:?}");
    }
}

#[test]
fn every_source_file_names_its_licence() {
    let missing: Vec<_> = source_files(&["rs", "toml", "sql", "sh"])
        .into_iter()
        .filter(|file| {
            let start: String = fs::read_to_string(file).unwrap().lines().take(3).collect();
            !start.contains("SPDX-License-Identifier: Apache-2.0")
        })
        .collect();
    assert!(missing.is_empty(), "without licence line: {missing:#?}");
}

#[test]
fn source_files_are_small() {
    let root = workspace();
    for file in source_files(&["rs"]) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        let excused = LONG_FILES.iter().any(|(long, _)| *long == name);
        assert!(
            lines <= 400 || excused,
            "{name} has {lines} lines: cut it, or list it in LONG_FILES with the reason"
        );
        assert!(lines > 400 || !excused, "{name} is short enough: remove it from LONG_FILES");
    }
}

/// All files with these extensions, but for what is built or generated.
fn source_files(extensions: &[&str]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![workspace()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "corpus" && name != "artifacts" {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 10, "the workspace is not where it is looked for");
    files
}

/// Whether an SPDX expression can be met with the allowed licences: a conjunction of alternatives.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    expression.split(" AND ").all(|part| {
        part.trim_matches(['(', ')', ' '])
            .replace('/', " OR ")
            .split(" OR ")
            .any(|licence| allowed.iter().any(|a| a == licence.trim()))
    })
}
