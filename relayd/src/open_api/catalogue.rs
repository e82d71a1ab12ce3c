// SPDX-License-Identifier: Apache-2.0
//! All operations: each description at each path and listener where the rule table has it.

use super::operation::{ApiPath, Operation};
use crate::{
    advisories, api, fleet,
    gateway::{
        self,
        access::{Listener, Rule, find},
    },
    inventories, packages, policies, remote_run, shared_files, shared_folder, tree, triggers,
};

/// The descriptions. Whoever adds a file of them adds it here.
const DESCRIBED: &[&[Operation]] = &[
    super::described::OPERATIONS,
    api::described::OPERATIONS,
    gateway::described::OPERATIONS,
    tree::described::OPERATIONS,
    shared_folder::described::OPERATIONS,
    shared_files::described::OPERATIONS,
    remote_run::described::OPERATIONS,
    triggers::described::OPERATIONS,
    policies::described::OPERATIONS,
    fleet::described::OPERATIONS,
    inventories::described::OPERATIONS,
    packages::described::OPERATIONS,
    advisories::described::OPERATIONS,
];

/// What the paths of the API begin with.
const PREFIX: &str = "/rudder/relay-api";

/// An operation at one place.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its description.
    pub operation: &'static Operation,
    /// The rule that applies.
    pub rule: &'static Rule,
    /// Path with parameters in braces.
    pub path: String,
    /// Method; `HEAD` also of what is described as `GET`, where the rule has it: the same without body.
    pub method: &'static str,
    /// Its name, unique for the listener.
    pub id: String,
}

/// All operations of a listener, in the order of their descriptions.
pub fn entries(listener: Listener) -> Vec<Entry> {
    let operations = DESCRIBED.iter().flat_map(|some| some.iter());
    operations.flat_map(|operation| at_all_paths(listener, operation)).collect()
}

fn at_all_paths(listener: Listener, operation: &'static Operation) -> impl Iterator<Item = Entry> {
    paths(operation.path).into_iter().flat_map(move |(path, suffix)| {
        let found = move |method: &'static str| {
            find(listener, method, &path.replace(['{', '}'], "")).map(|rule| (path.clone(), rule))
        };
        let own = found(operation.method).map(|(path, rule)| Entry {
            operation,
            rule,
            path,
            method: operation.method,
            id: format!("{}{suffix}", operation.id),
        });
        let head = (operation.method == "GET").then(|| found("HEAD")).flatten();
        let head = head.filter(|(_, rule)| !has_own_head(rule)).map(|(path, rule)| Entry {
            operation,
            rule,
            path,
            method: "HEAD",
            id: format!("{}Head{suffix}", operation.id),
        });
        own.into_iter().chain(head)
    })
}

/// Whether what `HEAD` does for a rule is described by itself.
fn has_own_head(rule: &Rule) -> bool {
    let mut heads = DESCRIBED.iter().flat_map(|some| some.iter()).filter(|other| other.method == "HEAD");
    heads.any(|head| {
        paths(head.path).iter().any(|(path, _)| {
            let found = find(rule.listener, "HEAD", &path.replace(['{', '}'], ""));
            found.is_some_and(|found| found.path == rule.path)
        })
    })
}

/// Where an operation is, each with what tells its name from the others.
fn paths(path: ApiPath) -> Vec<(String, &'static str)> {
    match path {
        ApiPath::At(path) => vec![(path.to_owned(), "")],
        ApiPath::Version(1, path) => {
            vec![(format!("{PREFIX}/1{path}"), ""), (format!("{PREFIX}{path}"), "Unversioned")]
        }
        ApiPath::Version(version, path) => vec![(format!("{PREFIX}/{version}{path}"), "")],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gateway::access::RULES;

    const LISTENERS: [Listener; 2] = [Listener::Gateway, Listener::Local];

    fn is_of(entry: &Entry, rule: &Rule) -> bool {
        (entry.rule.listener, entry.rule.path) == (rule.listener, rule.path)
    }

    #[test]
    fn each_method_of_each_rule_is_described() {
        let all: Vec<Entry> = LISTENERS.into_iter().flat_map(entries).collect();
        for rule in RULES {
            for method in rule.methods {
                let described = all.iter().any(|entry| is_of(entry, rule) && entry.method == *method);
                assert!(
                    described,
                    "{} {method} {}: describe it in the described.rs beside its code (open_api/mod.rs)",
                    rule.listener, rule.path
                );
            }
        }
    }

    #[test]
    fn each_description_is_of_a_rule_and_has_a_name_of_its_own() {
        for operation in DESCRIBED.iter().flat_map(|some| some.iter()) {
            let is_somewhere =
                LISTENERS.iter().any(|listener| at_all_paths(*listener, operation).count() > 0);
            assert!(is_somewhere, "{}: no rule in the table has this path and method", operation.id);
        }
        for listener in LISTENERS {
            let entries = entries(listener);
            let names: BTreeSet<_> = entries.iter().map(|entry| &entry.id).collect();
            assert_eq!(names.len(), entries.len(), "{listener}: names are used twice");
            let places: BTreeSet<_> = entries.iter().map(|entry| (&entry.path, entry.method)).collect();
            assert_eq!(places.len(), entries.len(), "{listener}: described twice");
        }
    }

    #[test]
    fn the_parameters_of_paths_are_described() {
        for entry in LISTENERS.into_iter().flat_map(entries) {
            let in_path: BTreeSet<_> =
                entry.path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0)).collect();
            let parameters = entry.operation.parameters.iter();
            let described: BTreeSet<_> =
                parameters.filter(|p| p.place == super::super::Place::Path).map(|p| p.name).collect();
            assert_eq!(in_path, described, "{}", entry.id);
        }
    }
}
