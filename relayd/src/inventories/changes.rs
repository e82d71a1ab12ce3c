// SPDX-License-Identifier: Apache-2.0
//! What is different between two inventories of a node.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::{
    bucket,
    package::{Kind, Package},
    stored::{self, Held, Sections},
};
use crate::{
    db::Connection,
    fleet::{Page, Trouble},
};

/// What changed between two inventories.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// When the last inventory was made that had it as before; RFC 3339.
    pub before: String,
    /// When the first one was made that had it otherwise.
    pub at: String,
    /// Packages.
    pub packages: Vec<PackageChange>,
    /// Everything else.
    pub facts: Vec<FactChange>,
}

/// A package that came, went, or has another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// Its architecture.
    pub arch: String,
    /// What knows it.
    pub kind: Kind,
    /// Its version before; absent: it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Its version since; absent: it is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A fact that is another one.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FactChange {
    /// Where it is: names with dots between them, such as `rudder.custom_properties.site`. Of a list, what was
    /// removed or added.
    pub path: String,
    /// What it was; absent: it was not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Json>,
    /// What it is; absent: it is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Json>,
}

/// What is different in `new`.
pub fn between(
    c: &mut Connection,
    old: &Held,
    new: &Held,
) -> Result<(Vec<PackageChange>, Vec<FactChange>), Trouble> {
    // Chunks that are the same have the same packages.
    let (old_chunks, new_chunks) = (bucket::ids(&old.chunks), bucket::ids(&new.chunks));
    let (old_only, new_only): (Vec<_>, Vec<_>) = old_chunks.zip(new_chunks).filter(|(a, b)| a != b).unzip();
    let mut before = stored::package_ids(c, old_only.into_iter())?;
    let mut after = stored::package_ids(c, new_only.into_iter())?;
    let both: std::collections::HashSet<i64> = before.iter().copied().collect();
    let (kept, came): (Vec<_>, Vec<_>) = after.drain(..).partition(|id| both.contains(id));
    let kept: std::collections::HashSet<i64> = kept.into_iter().collect();
    before.retain(|id| !kept.contains(id));
    let packages = package_changes(stored::packages(c, &before)?, stored::packages(c, &came)?);
    let facts = if old.facts_id == new.facts_id {
        Vec::new()
    } else {
        fact_changes(&stored::facts(c, old.facts_id)?, &stored::facts(c, new.facts_id)?)
    };
    Ok((packages, facts))
}

/// The first of these: no more than `limit`, and no further one once there are so many bytes.
pub(super) fn page(
    changes: impl Iterator<Item = Result<Change, Trouble>>,
    limit: usize,
    most_bytes: usize,
) -> Result<Page<Change>, Trouble> {
    let mut page = Page { items: Vec::new(), next: None };
    let mut bytes = 0;
    for change in changes {
        let change = change?;
        if page.items.len() >= limit || bytes >= most_bytes {
            page.next = page.items.last().map(|last: &Change| last.at.clone());
            break;
        }
        bytes += serde_json::to_vec(&change).map_err(|e| Trouble::Internal(e.to_string()))?.len();
        page.items.push(change);
    }
    Ok(page)
}

/// A package that went and one of the same name that came are one change, as long as there is one of each.
fn package_changes(went: Vec<Package>, came: Vec<Package>) -> Vec<PackageChange> {
    type Versions = Vec<String>;
    let mut all = BTreeMap::<(String, String, Kind), (Versions, Versions)>::new();
    let key = |package: &Package| (package.name.clone(), package.arch.clone(), package.kind);
    for package in went {
        all.entry(key(&package)).or_default().0.push(package.version);
    }
    for package in came {
        all.entry(key(&package)).or_default().1.push(package.version);
    }
    let mut changes = Vec::new();
    for ((name, arch, kind), (from, to)) in all {
        let change = |from: Option<String>, to: Option<String>| PackageChange {
            name: name.clone(),
            arch: arch.clone(),
            kind,
            from,
            to,
        };
        if let ([from], [to]) = (&from[..], &to[..]) {
            changes.push(change(Some(from.clone()), Some(to.clone())));
        } else {
            changes.extend(from.into_iter().map(|from| change(Some(from), None)));
            changes.extend(to.into_iter().map(|to| change(None, Some(to))));
        }
    }
    changes
}

fn fact_changes(old: &Sections, new: &Sections) -> Vec<FactChange> {
    let mut changes = Vec::new();
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        compare(name, old.get(name), new.get(name), &mut changes);
    }
    changes
}

/// Where properties are that hooks say.
const CUSTOM_PROPERTIES: &str = "rudder.custom_properties";

fn compare(path: &str, old: Option<&Json>, new: Option<&Json>, changes: &mut Vec<FactChange>) {
    if old == new {
        return;
    }
    if let (Some(old), Some(new)) = (unlisted(path, old), unlisted(path, new)) {
        return members(path, &old, &new, changes);
    }
    match (old, new) {
        (Some(Json::Object(old)), Some(Json::Object(new))) => members(path, old, new, changes),
        (Some(Json::Array(old)), Some(Json::Array(new))) => lists(path, old, new, changes),
        (Some(Json::Array(old)), None) => lists(path, old, &[], changes),
        (None, Some(Json::Array(new))) => lists(path, &[], new, changes),
        _ => changes.push(FactChange { path: path.to_owned(), from: old.cloned(), to: new.cloned() }),
    }
}

type Members = serde_json::Map<String, Json>;

fn members(path: &str, old: &Members, new: &Members, changes: &mut Vec<FactChange>) {
    let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        compare(&format!("{path}.{name}"), old.get(name), new.get(name), changes);
    }
}

/// What is a list by its form alone, as an object: elements that a node has one of, and properties, which have
/// names, in whichever objects hooks say them.
fn unlisted(path: &str, list: Option<&Json>) -> Option<Members> {
    let elements = list.map_or(Some(&[][..]), |list| list.as_array().map(Vec::as_slice))?;
    match (path, elements) {
        ("rudder" | "rudder.agents", [Json::Object(only)]) => Some(only.clone()),
        (CUSTOM_PROPERTIES, objects) => {
            let mut all = Members::new();
            for object in objects {
                for (name, value) in object.as_object()? {
                    // One that is there twice has two values.
                    all.insert(name.clone(), value.clone()).is_none().then_some(())?;
                }
            }
            Some(all)
        }
        _ => None,
    }
}

/// Elements have no order that means anything.
fn lists(path: &str, old: &[Json], new: &[Json], changes: &mut Vec<FactChange>) {
    let mut counts: BTreeMap<String, (i64, &Json)> = BTreeMap::new();
    for element in new {
        counts.entry(element.to_string()).or_insert((0, element)).0 += 1;
    }
    for element in old {
        counts.entry(element.to_string()).or_insert((0, element)).0 -= 1;
    }
    let change = |from, to| FactChange { path: path.to_owned(), from, to };
    for (count, element) in counts.into_values() {
        let element = element.clone();
        let one = if count < 0 { change(Some(element), None) } else { change(None, Some(element)) };
        changes.extend(std::iter::repeat_n(one, count.unsigned_abs() as usize));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sections(json: Json) -> Sections {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn facts_are_compared_by_their_place_and_lists_by_their_elements() {
        let old = sections(json!({
            "hardware": {"memory": 457, "name": "a"}, "cpus": [{"c": 1}, {"c": 1}], "videos": [1]
        }));
        let new = sections(json!({
            "hardware": {"memory": 512, "name": "a", "swap": 1}, "cpus": [{"c": 1}, {"c": 2}], "client": "x"
        }));
        let changes = fact_changes(&old, &new);
        let changes: Vec<Json> = changes.iter().map(|change| serde_json::to_value(change).unwrap()).collect();
        assert_eq!(
            changes,
            [
                json!({"path": "client", "to": "x"}),
                json!({"path": "cpus", "from": {"c": 1}}),
                json!({"path": "cpus", "to": {"c": 2}}),
                json!({"path": "hardware.memory", "from": 457, "to": 512}),
                json!({"path": "hardware.swap", "to": 1}),
                json!({"path": "videos", "from": 1}),
            ]
        );
        assert_eq!(fact_changes(&new, &new), []);
    }

    #[test]
    fn a_property_that_changed_is_said_by_its_name() {
        let of = |properties: Json| {
            let agents = json!([{"name": "a", "policy_server": "root"}]);
            sections(json!({"rudder": [{"agents": agents, "custom_properties": properties}]}))
        };
        let said = |old: &Sections, new: &Sections| {
            let changes = fact_changes(old, new);
            changes.iter().map(|change| serde_json::to_value(change).unwrap()).collect::<Vec<_>>()
        };
        let old = of(json!([{"site": "Lyon", "rack": 4}, {"old": true}]));
        let new = of(json!([{"new": 1}, {"site": "Paris", "rack": 4}]));
        let path = |name: &str| format!("rudder.custom_properties.{name}");
        let expected = [
            json!({"path": path("new"), "to": 1}),
            json!({"path": path("old"), "from": true}),
            json!({"path": path("site"), "from": "Lyon", "to": "Paris"}),
        ];
        assert_eq!(said(&old, &new), expected);
        assert!(said(&of(json!([{"a": 1}, {"b": 2}])), &of(json!([{"b": 2}, {"a": 1}]))).is_empty());
        let none = sections(json!({"rudder": [{"agents": [{"name": "a", "policy_server": "relay"}]}]}));
        let expected = [
            json!({"path": "rudder.agents.policy_server", "from": "root", "to": "relay"}),
            json!({"path": path("site"), "from": "Lyon"}),
        ];
        assert_eq!(said(&of(json!([{"site": "Lyon"}])), &none), expected);
        // What has no names is a list.
        let path = "rudder.custom_properties";
        let twice = of(json!([{"a": 1}, {"a": 2}]));
        assert_eq!(said(&of(json!([{"a": 1}])), &twice), [json!({"path": path, "to": {"a": 2}})]);
    }

    #[test]
    fn a_page_ends_where_its_changes_are_large_or_many() {
        let change = |at: usize| {
            let fact = FactChange { path: "x".repeat(1000), from: None, to: None };
            Change { before: String::new(), at: at.to_string(), packages: Vec::new(), facts: vec![fact] }
        };
        let page = |changes: usize, limit, most_bytes| {
            let page = page((0..changes).map(|at| Ok(change(at))), limit, most_bytes).unwrap();
            (page.items.len(), page.next)
        };
        assert_eq!(page(3, 10, 1_000_000), (3, None));
        assert_eq!(page(3, 3, 1_000_000), (3, None));
        assert_eq!(page(3, 2, 1_000_000), (2, Some("1".into())));
        assert_eq!(page(3, 10, 1), (1, Some("0".into())), "one is there in any case");
        assert_eq!(page(3, 10, 1500), (2, Some("1".into())));
        assert_eq!(page(2, 10, 1500), (2, None));
    }

    #[test]
    fn another_version_is_one_change_and_several_versions_are_several() {
        let package = |name: &str, version: &str| Package {
            name: name.into(),
            version: version.into(),
            arch: "amd64".into(),
            kind: Kind::Dpkg,
            publisher: String::new(),
            source: None,
            source_version: None,
        };
        let went = vec![package("bash", "1"), package("gone", "1"), package("kernel", "1")];
        let came =
            vec![package("bash", "2"), package("new", "1"), package("kernel", "2"), package("kernel", "3")];
        let changes = package_changes(went, came);
        let said: Vec<String> = changes
            .iter()
            .map(|c| {
                format!(
                    "{} {:?} {:?}",
                    c.name,
                    c.from.as_deref().unwrap_or("-"),
                    c.to.as_deref().unwrap_or("-")
                )
            })
            .collect();
        assert_eq!(
            said,
            [
                "bash \"1\" \"2\"",
                "gone \"1\" \"-\"",
                "kernel \"1\" \"-\"",
                "kernel \"-\" \"2\"",
                "kernel \"-\" \"3\"",
                "new \"-\" \"1\"",
            ]
        );
    }
}
