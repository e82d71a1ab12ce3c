// SPDX-License-Identifier: Apache-2.0
//! Sections of inventories, by which questions ask for parts of them.

use protocol::inventory::Content;

use crate::fleet::Trouble;

/// Sections that are kept apart from facts.
pub const APART: [&str; 3] = ["momentary", "packages", "software_updates"];
/// Members of an inventory of which the sections above are made.
const TAKEN: [&str; 4] = ["access_log", "environment", "processes", "software"];

/// Which sections are wanted; none: all.
#[derive(Debug, Clone, Default)]
pub struct Wanted(Vec<String>);

/// All that there are, by name.
fn known() -> Vec<&'static str> {
    let facts = Content::MEMBERS.iter().filter(|name| !TAKEN.contains(name) && !APART.contains(name));
    let mut known: Vec<_> = facts.copied().chain(APART).collect();
    known.sort_unstable();
    known
}

impl Wanted {
    /// Names with commas between them. Who misspells one must not be told that a node has nothing of it.
    pub fn read(text: Option<&str>) -> Result<Self, Trouble> {
        let names = text.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
        let names: Vec<String> = names.map(Into::into).collect();
        let known = known();
        match names.iter().find(|name| !known.contains(&name.as_str())) {
            None => Ok(Self(names)),
            Some(name) => {
                let known = known.join(", ");
                Err(Trouble::Asked(format!("section: {name:?} is none; there are {known}")))
            }
        }
    }

    /// Whether all are.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is, by its name or with all.
    pub fn is(&self, name: &str) -> bool {
        self.is_all() || self.names(name)
    }

    /// Whether it is named.
    pub fn names(&self, name: &str) -> bool {
        self.0.iter().any(|wanted| wanted == name)
    }

    /// Whether any is a fact.
    pub fn needs_facts(&self) -> bool {
        self.is_all() || self.0.iter().any(|name| !APART.contains(&&**name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_is_none_is_refused_with_those_that_are() {
        for text in ["hardware", "packages, momentary", "rudder,software_updates,", "virtual_machines"] {
            assert!(!Wanted::read(Some(text)).unwrap().is_all(), "{text}");
        }
        assert!(Wanted::read(None).unwrap().is_all());
        for text in ["bogus", "hardware,Packages", "software", "processes"] {
            let error = Wanted::read(Some(text)).unwrap_err().to_string();
            assert!(error.contains("there are antivirus, batteries, bios"), "{error}");
        }
    }
}
