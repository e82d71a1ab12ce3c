// SPDX-License-Identifier: Apache-2.0
//! `agent update`, against a server that a test plays.

mod archives;
mod manifests;
mod trials;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;

use crate::{
    node::{Node, text},
    server::Server,
    shelf::{Files, Shelf},
};

struct Machine {
    node: Node,
    shelf: Shelf,
    server: Server,
}

impl Machine {
    fn new() -> Self {
        let node = Node::new();
        let shelf = Shelf::new(&node.identity.node_id);
        let server = shelf.serve();
        node.server(server.port);
        Self { node, shelf, server }
    }

    fn publish(&self, version: u64, files: &Files) {
        self.shelf.publish(&self.node.identity.node_id, version, files);
    }

    fn update(&self) -> Output {
        self.node.agent(&["update"])
    }

    fn is_updated(&self) {
        let output = self.update();
        assert!(output.status.success() && text(&output.stdout).contains("in use"), "{output:?}");
    }

    fn fails(&self, status: i32, why: &str) {
        let output = self.update();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(text(&output.stderr).contains(why), "{why}: {output:?}");
    }

    /// What was asked for since the last look.
    fn asked(&self, seen: &mut usize) -> Vec<String> {
        let all = self.server.requests();
        let of_policies = |target: &&str| !target.contains("/triggers");
        let targets = all[*seen..].iter().map(|request| request.target()).filter(of_policies);
        let new = targets.map(str::to_owned).collect();
        *seen = all.len();
        new
    }

    fn policies(&self) -> Files {
        read(&self.node.paths.policies)
    }

    fn previous(&self) -> PathBuf {
        self.node.paths.policies.with_file_name("inputs.previous")
    }

    fn status(&self) -> Value {
        serde_json::from_slice::<Value>(&self.node.agent(&["status", "--json"]).stdout).unwrap()["policies"]
            .clone()
    }

    /// Names beside the policies.
    fn beside(&self) -> Vec<String> {
        let directory = self.node.paths.policies.parent().unwrap();
        let names = fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("inputs")).collect();
        names.sort();
        names
    }
}

/// All files below a directory, by path.
fn read(directory: &Path) -> Files {
    let mut files = vec![];
    let mut directories = vec![directory.to_owned()];
    while let Some(one) = directories.pop() {
        for entry in fs::read_dir(one).into_iter().flatten() {
            let path = entry.unwrap().path();
            match fs::symlink_metadata(&path).unwrap().is_dir() {
                true => directories.push(path),
                false => {
                    let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                    files.push((name, fs::read(&path).unwrap()));
                }
            }
        }
    }
    files.sort();
    files
}

fn files(of: &[(&str, &str)]) -> Files {
    let mut files: Files = of.iter().map(|(path, content)| ((*path).into(), (*content).into())).collect();
    files.sort();
    files
}
