// SPDX-License-Identifier: Apache-2.0
//! The rule table: each route of both listeners, and who may use it. What is not in it, nobody may.

mod table;

use std::fmt;

use protocol::urls::{IdentityKind, UploadKind};
use serde::Serialize;

pub use self::table::RULES;
use crate::http::ServiceKind;

/// Where a route is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Listener {
    /// `[gateway]`: HTTPS, for nodes and relays.
    Gateway,
    /// `general.listen`: loopback or a Unix socket, for operators.
    Local,
}

/// One way to be allowed to use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Nobody at all.
    Nobody,
    /// Anybody, with or without certificate.
    Anyone,
    /// Anybody while nodes are known by their keys; where they are known by an authority, whoever
    /// has a valid certificate of it (protocol 1.1).
    Visitor,
    /// Any node of the list, by its certificate.
    AnyNode,
    /// The node that the path names, by its certificate.
    NodeNamed,
    /// A policy server above the node that the path names, by its certificate.
    RelayAbove,
    /// Any node of the list, by its certificate, for a node that is not in the list: a relay
    /// passes on the inventory with which a new node introduces itself.
    NodeForNewcomer,
    /// Whoever has the password, for a node of the list.
    PasswordForListed,
    /// Whoever has the password.
    Password,
    /// The policy server to which this one is attached, by its certificate.
    Upstream,
    /// Whoever can connect to loopback or open the Unix socket.
    Loopback,
}

/// What a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To tell this server's node id.
    Uuid,
    /// To take a file.
    Upload(UploadKind),
    /// To take in a node, its new key, or its request for a certificate.
    Identity(IdentityKind),
    /// To tell which nodes are below the client.
    Tree,
    /// To tell the client who it is.
    WhoAmI,
    /// To call a service.
    Call(ServiceKind),
    /// Served by the local API, which knows what to do.
    Operate,
    /// Nothing.
    Nothing,
}

/// A row of the table.
#[derive(Debug)]
pub struct Rule {
    /// Where it applies.
    pub listener: Listener,
    /// With which methods.
    pub methods: &'static [&'static str],
    /// The path; parameters, in angle brackets, are at its end.
    pub path: &'static str,
    /// Whom it lets in: anybody to whom one of these applies.
    pub who: &'static [Who],
    /// What for.
    pub purpose: Purpose,
    /// What for, in words.
    pub meaning: &'static str,
}

/// What applies to everything that has no row.
const OTHERWISE: [Rule; 2] = [otherwise(Listener::Gateway), otherwise(Listener::Local)];

const fn otherwise(listener: Listener) -> Rule {
    Rule {
        listener,
        methods: &["*"],
        path: "*",
        who: &[Who::Nobody],
        purpose: Purpose::Nothing,
        meaning: "anything else",
    }
}

/// The rule for a request, if it has one; `path` as it stands in the request line, without query.
///
/// A doubled slash in front is read as one (protocol A1).
pub fn find(listener: Listener, method: &str, path: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| {
        rule.listener == listener && rule.methods.contains(&method) && rule.parameter_of(path).is_some()
    })
}

/// A path, a doubled slash in front as one.
pub fn single_slash(path: &str) -> &str {
    if path.starts_with("//") { &path[1..] } else { path }
}

/// The table, row by row, with the row for all that has none at the end of each listener.
pub fn table() -> Vec<Row> {
    let mut rows = Vec::new();
    for otherwise in &OTHERWISE {
        let listener = otherwise.listener;
        rows.extend(RULES.iter().filter(|rule| rule.listener == listener).chain([otherwise]).map(Row::of));
    }
    rows
}

impl Rule {
    /// What stands in a path for the parameter of this rule's, or nothing when it has none; `None`
    /// for a path that is not this rule's.
    pub fn parameter_of<'a>(&self, path: &'a str) -> Option<&'a str> {
        let path = single_slash(path);
        match self.path.split_once('<') {
            None => (path == self.path).then_some(""),
            Some((directory, _)) => path.strip_prefix(directory).or_else(|| {
                // Existing relays leave this out (protocol A2).
                let shared =
                    directory.strip_prefix("/rudder").filter(|rest| rest.ends_with("/shared-files/"));
                path.strip_prefix(shared?)
            }),
        }
    }

    /// Whether the first parameter is the node that the request is about.
    pub fn names_node(&self) -> bool {
        self.path.split_once('<').is_some_and(|(_, parameters)| parameters.starts_with("node id>/<"))
    }

    /// The first segment of the path that says what is asked for: what requests are counted by.
    pub fn label(&self) -> &'static str {
        let mut segments = self.path.split('/').skip(1);
        segments.find(|part| !matches!(*part, "rudder" | "relay-api" | "1" | "2")).unwrap_or(self.path)
    }
}

/// A row of the table, for people and scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Where.
    pub listener: Listener,
    /// Methods; `*` is any.
    pub methods: &'static [&'static str],
    /// Path.
    pub path: &'static str,
    /// Whom it lets in: any of these.
    pub who: &'static [Who],
    /// What for, in words.
    pub meaning: &'static str,
}

impl Row {
    fn of(rule: &Rule) -> Self {
        let Rule { listener, methods, path, who, purpose: _, meaning } = *rule;
        Self { listener, methods, path, who, meaning }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gateway => "gateway",
            Self::Local => "local",
        })
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nobody => "nobody",
            Self::Anyone => "anyone",
            Self::Visitor => "anyone (certified by an authority, where nodes are known by one)",
            Self::AnyNode => "any node",
            Self::NodeNamed => "the node named in the path",
            Self::RelayAbove => "a relay above that node",
            Self::NodeForNewcomer => "any node, for a node that is not known",
            Self::PasswordForListed => "the password, for a known node",
            Self::Password => "the password",
            Self::Upstream => "the upstream server",
            Self::Loopback => "loopback",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_rule_and_a_rule_is_found_by_its_path() {
        for rule in RULES {
            assert!(!rule.who.is_empty() && !rule.methods.is_empty(), "{}", rule.path);
            let path = rule.path.replace(['<', '>', ' '], "");
            for method in rule.methods {
                for path in [path.clone(), format!("/{path}")] {
                    let found = find(rule.listener, method, &path).expect(rule.path);
                    assert_eq!(found.path, rule.path, "{method} {path}");
                }
            }
            assert!(find(rule.listener, "PATCH", &path).is_none(), "{path}");
            assert!(find(rule.listener, rule.methods[0], &format!("/x{path}")).is_none(), "{path}");
            let elsewhere = match rule.listener {
                Listener::Gateway => Listener::Local,
                Listener::Local => Listener::Gateway,
            };
            let of_both = matches!(rule.purpose, Purpose::Call(_));
            assert!(of_both || find(elsewhere, rule.methods[0], &path).is_none(), "{path}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_has_no_rule() {
        for (method, path) in [
            ("GET", "/"),
            ("GET", ""),
            ("PUT", "*"),
            ("PUT", "/reports"),
            ("PUT", "/Reports/x"),
            ("GET", "/uuid/"),
            ("GET", "/uuid?"),
            ("get", "/uuid"),
            ("GET", "///uuid"),
            ("GET", "/metrics"),
        ] {
            assert!(find(Listener::Gateway, method, path).is_none(), "{method} {path}");
        }
    }

    #[test]
    fn the_printed_table_ends_in_denials() {
        let rows = table();
        assert_eq!(rows.len(), RULES.len() + 2);
        let denials: Vec<_> = rows.iter().filter(|row| row.who == [Who::Nobody]).collect();
        assert_eq!(denials.len(), 2);
        assert!(denials.iter().all(|row| row.path == "*" && row.methods == ["*"]), "{denials:?}");
        assert_eq!(rows.last().map(|row| (row.listener, row.path)), Some((Listener::Local, "*")));
        let json = serde_json::to_value(&rows[0]).unwrap();
        assert_eq!(json["listener"], "gateway");
        assert_eq!(json["who"][0], "visitor");
    }
}
