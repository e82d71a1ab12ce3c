// SPDX-License-Identifier: Apache-2.0
//! Every command of `README.md` and `docs/*.md` is run, in order, on machines of its own. The convention is in
//! CONTRIBUTING.md, "Documents".
//!
//! | file | what |
//! |---|---|
//! | `document` | a document as steps |
//! | `machine`, `machine.sh` | a machine: Debian with systemd over a layer that goes with it |
//! | `installed.sh`, `site.md` | what is on each machine; how machines become a site |
//! | `world`, `shell` | the steps, on the machines |
//! | `settings`, `compare` | settings in files; what is printed against what is shown |
//! | `mentions` | commands in running text: they must exist |
//! | `generated` | the reference of the settings |
//! | `not_run.txt` | the commands that are not run, and why |

mod compare;
mod document;
mod generated;
mod machine;
mod mentions;
mod settings;
mod shell;
mod world;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use document::Document;
use tests::{Result, programs};
use world::World;

/// A test for each document, so that they run side by side and can be named.
macro_rules! documents {
    ($($test:ident: $path:literal,)*) => {
        /// The documents that have a test.
        const DOCUMENTS: &[&str] = &[$($path),*];
        $(#[test]
        fn $test() {
            if let Err(why) = walk(stringify!($test), $path) {
                panic!("{why}");
            }
        })*
    };
}

documents! {
    api_versions: "docs/api-versions.md",
    backup: "docs/backup.md",
    compliance: "docs/compliance.md",
    configuration: "docs/configuration.md",
    connected_agents: "docs/connected-agents.md",
    containers: "docs/containers.md",
    identity: "docs/identity.md",
    index: "docs/README.md",
    install: "docs/install.md",
    inventories: "docs/inventories.md",
    logs: "docs/logs.md",
    migration: "docs/migration.md",
    monitoring: "docs/monitoring.md",
    packages: "docs/packages.md",
    policies: "docs/policies.md",
    protocol: "docs/protocol.md",
    proxies: "docs/proxies.md",
    readme: "README.md",
    remote_run: "docs/remote-run.md",
    run_by_hand: "docs/run-by-hand.md",
    security: "docs/security.md",
    sharing: "docs/sharing.md",
    storage: "docs/storage.md",
    systemd: "docs/systemd.md",
    troubleshooting: "docs/troubleshooting.md",
    upgrade: "docs/upgrade.md",
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<Document> {
    let source = fs::read_to_string(workspace().join(path))?;
    document::parse(&source).map_err(|e| format!("{path}: {e}").into())
}

fn walk(title: &str, path: &str) -> Result<()> {
    let document = read(path)?;
    mentions::check(&document).map_err(|e| format!("{path}:{e}"))?;
    if document.steps.is_empty() {
        return Ok(());
    }
    if let Err(why) = possible() {
        if std::env::var_os("CI").is_some() {
            return Err(why);
        }
        eprintln!("skipped {path}: {why}");
        return Ok(());
    }
    let mut world = World::start(&title.replace('_', "-"), &document)?;
    world.walk(&document).map_err(|e| format!("{path}:{e}\n{}", world.journals()).into())
}

/// Whether machines can be booted here.
fn possible() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err("only root can boot machines".into());
    }
    for program in
        ["systemd-nspawn", "unshare", "nsenter", "ip", "sudo", "jq", "curl", "openssl", "pg_createcluster"]
    {
        programs::of_system(program)?;
    }
    Ok(())
}

/// A document without a test would promise what nobody tries.
#[test]
fn every_document_has_a_test() -> Result<()> {
    let mut there = BTreeSet::from(["README.md".to_owned()]);
    for entry in fs::read_dir(workspace().join("docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") {
            there.insert(format!("docs/{name}"));
        }
    }
    let tested: BTreeSet<_> = DOCUMENTS.iter().map(|&path| path.to_owned()).collect();
    assert_eq!(there, tested, "documents, and those with a test in tests/tests/docs/main.rs");
    Ok(())
}

/// What is not run is known, with its reason.
#[test]
fn few_commands_are_not_run() -> Result<()> {
    let mut text = String::new();
    for path in DOCUMENTS {
        for (command, reason) in read(path)?.not_run {
            text += &format!("{path}: {command}\n    {reason}\n");
        }
    }
    let golden = workspace().join("tests/tests/docs/not_run.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &text)?;
    }
    assert_eq!(
        fs::read_to_string(&golden).unwrap_or_default(),
        text,
        "if that is wanted: UPDATE_GOLDEN=1 cargo test -p tests --test docs few_commands"
    );
    eprint!("{text}");
    Ok(())
}
