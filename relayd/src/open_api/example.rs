// SPDX-License-Identifier: Apache-2.0
//! A curl command for each operation, and the page of them.

use std::fmt::Write;

use super::{
    catalogue::{Entry, entries},
    guard,
    operation::Place,
};
use crate::gateway::access::Listener;

const PAGE: &str = include_str!("examples.md");

/// The page with the examples of all operations: `api-docs/examples.md`.
pub fn examples() -> String {
    let mut page = PAGE.to_owned();
    for (listener, title) in [(Listener::Local, "Local API"), (Listener::Gateway, "Gateway")] {
        let _ = write!(page, "\n## {title}\n");
        let mut tag = "";
        for entry in entries(listener) {
            if entry.operation.tag != tag {
                tag = entry.operation.tag;
                let _ = write!(page, "\n### {title}: {tag}\n");
            }
            let (summary, id, command) = (entry.operation.summary, &entry.id, command(&entry));
            let _ = write!(page, "\n`{id}`: {summary}\n\n```sh\n{command}\n```\n");
        }
    }
    page
}

/// The command. Shell variables as the page says.
pub fn command(entry: &Entry) -> String {
    let (operation, listener) = (entry.operation, entry.rule.listener);
    let mut lines = vec!["curl --silent --show-error --fail-with-body".to_owned()];
    if listener == Listener::Gateway {
        lines.push("--insecure --pinnedpubkey \"$PIN\"".to_owned());
        if !guard::lets_in_without_certificate(entry.rule) {
            lines.push("--cert \"$CERT\" --key \"$KEY\"".to_owned());
        }
    }
    if entry.method == "HEAD" {
        lines.push("--head".to_owned());
    }
    lines.extend(operation.example.options.lines().map(str::to_owned));
    let base = match listener {
        Listener::Gateway => "$GATEWAY",
        Listener::Local => "$LOCAL",
    };
    let mut url = format!("{base}{}", entry.path);
    for parameter in operation.parameters.iter().filter(|parameter| parameter.place == Place::Path) {
        url = url.replace(&format!("{{{}}}", parameter.name), parameter.sample.shell);
    }
    if !operation.example.query.is_empty() {
        url = format!("{url}?{}", operation.example.query);
    }
    lines.push(format!("\"{url}\""));
    lines.join(" \\\n    ")
}
