// SPDX-License-Identifier: Apache-2.0
//! What several tests of this crate need.
#![allow(dead_code)] // not every test uses all of it

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

/// Compares with a checked-in file. `UPDATE_GOLDEN=1 cargo test -p relayd` rewrites it.
pub fn assert_golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, text).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        golden == text,
        "{} is not what the program prints now.\nIf the change is wanted: UPDATE_GOLDEN=1 cargo test -p relayd\n\
         --- the program prints:\n{text}",
        path.display()
    );
}

/// A shared test file; `None`, said once per file, where there is none.
pub fn fixture(name: &str) -> Option<PathBuf> {
    let base = std::env::var_os("RELAYD_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/fixtures"), PathBuf::from);
    let path = base.join(name);
    if !path.exists() {
        eprintln!("skipped: no {name} (set RELAYD_FIXTURES)");
        return None;
    }
    Some(path)
}

/// Runs the program.
pub fn relayd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relayd")).args(args).output().unwrap()
}

/// Standard output of a run that must succeed.
pub fn stdout(args: &[&str]) -> String {
    let output = relayd(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Waits until `condition` holds; panics after 20 s.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A configuration directory for a server that does nothing, with the API on a Unix socket.
pub fn idle_server(more: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().display();
    fs::write(
        directory.path().join("nodeslist.json"),
        r#"{"root":{"hostname":"root","policy-server":"root"}}"#,
    )
    .unwrap();
    fs::write(directory.path().join("nodescerts.pem"), "").unwrap();
    let main = format!(
        "[general]\nnode_id = \"root\"\nlisten = \"unix:{path}/api.sock\"\n\
         nodes_list_file = \"{path}/nodeslist.json\"\nnodes_certs_file = \"{path}/nodescerts.pem\"\n{more}"
    );
    fs::write(directory.path().join("main.conf"), main).unwrap();
    directory
}
