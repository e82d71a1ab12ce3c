// SPDX-License-Identifier: Apache-2.0
//! `relayd spool`, as its users call it.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use relayd::spool::reason_file::{ReasonFile, path_of};
use tempfile::TempDir;

const NAME: &str = "2024-05-01T02:03:04+00:00@root.log.gz";

struct Server(TempDir);

impl Server {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let server = Self(root);
        for directory in [
            "reports/incoming",
            "reports/failed",
            "inventories/incoming",
            "inventories/failed",
            "inventories/accepted-nodes-updates",
            "etc",
        ] {
            fs::create_dir_all(server.at(directory)).unwrap();
        }
        let directory = |name| server.at(name).display().to_string();
        let config = format!(
            "[general]\nnode_id = \"root\"\n[processing.reporting]\ndirectory = {:?}\n[processing.inventory]\ndirectory = {:?}\n",
            directory("reports"),
            directory("inventories"),
        );
        fs::write(server.at("etc/main.conf"), config).unwrap();
        server
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn fail(&self, path: &str, spool: &str, reason: &str) {
        let file = self.at(path);
        fs::write(&file, "content").unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        let reason = ReasonFile {
            reason: reason.into(),
            detail: "why\u{1b}[31m".into(),
            time: "2024-05-01T02:03:05Z".into(),
            queue_id: "0".into(),
            node_id: None,
            spool: spool.into(),
            name: name.split('~').next().unwrap().into(),
        };
        reason.write(&file).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_relayd"))
            .arg("--config")
            .arg(self.at("etc"))
            .arg("spool")
            .args(arguments)
            .output()
            .unwrap()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn lists_what_waits_and_what_failed() {
    let server = Server::new();
    fs::write(server.at("reports/incoming").join(NAME), "x").unwrap();
    fs::write(server.at("reports/incoming/.part-x.log"), "x").unwrap();
    server.fail("reports/failed/bad.log", "reports", "bad_name");
    server.fail("inventories/failed/n.ocs", "inventory-updates", "upstream_refused");
    let all = server.ok(&["list"]);
    assert!(all.ends_with("1 queued, 2 failed\n"), "{all}");
    let listed = |arguments: &[&str]| -> Vec<String> {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--json", "list"]);
        arguments.rotate_right(1);
        let lines = server.ok(&arguments);
        let values = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        values.map(|value| value["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(listed(&["--queued"]), [NAME]);
    assert_eq!(listed(&["--node", "root"]), [NAME]);
    assert_eq!(listed(&["--reason", "bad_name"]), ["bad.log"]);
    assert_eq!(listed(&["--spool", "inventory-updates"]), ["n.ocs"]);
    assert!(listed(&["--spool", "inventories"]).is_empty());
    assert!(listed(&["--older-than", "1h"]).is_empty());
    assert_eq!(server.refused(&["list", "--reason", "nonsense"]).0, 2);
}

#[test]
fn shows_one_file_and_why_it_failed() {
    let server = Server::new();
    server.fail(&format!("reports/failed/{NAME}"), "reports", "bad_signature");
    let shown = server.ok(&["show", NAME]);
    assert!(shown.contains("reason    bad_signature") && shown.contains("node      root"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
    let (code, text) = server.refused(&["show", "other.log"]);
    assert!(code == 1 && text.contains("relayd spool list"), "{text}");
}

#[test]
fn retry_puts_back_and_twice_is_harmless() {
    let server = Server::new();
    let (failed, waiting) =
        (server.at("reports/failed").join(NAME), server.at("reports/incoming").join(NAME));
    server.fail(&format!("reports/failed/{NAME}"), "reports", "unknown_node");
    server.fail(&format!("reports/failed/{NAME}~2"), "reports", "unknown_node");
    assert_eq!(server.ok(&["retry", NAME]), "1 put back for delivery\n");
    assert!(waiting.exists() && !failed.exists() && !path_of(&failed).exists());
    assert_eq!(server.ok(&["retry", NAME]), "0 put back for delivery\n");
    // Nothing is overwritten: its namesake waits until the first one is delivered.
    let (code, text) = server.refused(&["retry", "--all"]);
    assert!(code == 1 && text.contains("waits already"), "{text}");
    fs::remove_file(&waiting).unwrap();
    assert_eq!(server.ok(&["retry", "--reason", "unknown_node"]), "1 put back for delivery\n");
    assert!(waiting.exists());
    assert_eq!(fs::read_dir(server.at("reports/failed")).unwrap().count(), 0);
}

#[test]
fn inventories_go_back_to_the_spool_they_came_from() {
    let server = Server::new();
    server.fail("inventories/failed/a.ocs", "inventory-updates", "upstream_refused");
    server.fail("inventories/failed/b.ocs", "inventories", "upstream_refused");
    fs::write(server.at("inventories/failed/c.ocs"), "no reason").unwrap();
    assert_eq!(server.ok(&["retry", "--all"]), "3 put back for delivery\n");
    assert!(server.at("inventories/accepted-nodes-updates/a.ocs").exists());
    assert!(server.at("inventories/incoming/b.ocs").exists());
    assert!(server.at("inventories/incoming/c.ocs").exists());
}

#[test]
fn drop_deletes_failed_files_only_and_only_when_meant() {
    let server = Server::new();
    fs::write(server.at("reports/incoming").join(NAME), "x").unwrap();
    server.fail(&format!("reports/failed/{NAME}"), "reports", "bad_signature");
    assert_eq!(server.refused(&["drop", "--yes"]).0, 1);
    let (code, text) = server.refused(&["drop", "--all"]);
    assert!(code == 1 && text.contains("--yes"), "{text}");
    assert_eq!(server.ok(&["drop", "--reason", "bad_name", "--yes"]), "0 deleted\n");
    assert_eq!(server.ok(&["drop", NAME, "--yes"]), "1 deleted\n");
    assert_eq!(fs::read_dir(server.at("reports/failed")).unwrap().count(), 0);
    assert!(server.at("reports/incoming").join(NAME).exists());
}

#[test]
fn a_name_is_never_a_path() {
    let server = Server::new();
    fs::write(server.at("secret.log"), "x").unwrap();
    for name in ["../secret.log", "../../secret.log", "/etc/passwd", "..", ".", "a/b.log", "a\nb"] {
        for command in [&["show"][..], &["retry"], &["drop", "--yes"]] {
            let (code, text) = server.refused(&[command, &["--", name]].concat());
            assert!(code == 1 && text.contains("is not a file name"), "{name:?} {text}");
        }
    }
    assert!(server.at("secret.log").exists());
}
