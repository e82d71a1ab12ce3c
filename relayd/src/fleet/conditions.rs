// SPDX-License-Identifier: Apache-2.0
//! Conditions of a query that are there only when somebody asks for them, with their values.

use crate::db::query::Value;

/// Conditions, all of which must hold.
#[derive(Debug, Default)]
pub struct Conditions {
    conditions: Vec<String>,
    values: Vec<Owned>,
}

/// Rows of `inventory` of nodes that belong to the fleet. Those that wait for a decision, or were turned away,
/// say what they like: whoever counts nodes leaves them out. Nodes of a node list are in no registry.
const OF_THE_FLEET: &str =
    "NOT EXISTS (SELECT 1 FROM node n WHERE n.nodeid = inventory.nodeid AND n.state <> 'accepted')";

#[derive(Debug)]
enum Owned {
    Text(String),
    Int(i64),
}

impl Conditions {
    /// A placeholder for a text. Placeholders have to stand in the SQL in the order in which they are made.
    pub fn text(&mut self, value: impl Into<String>) -> String {
        self.values.push(Owned::Text(value.into()));
        format!("${}", self.values.len())
    }

    /// A placeholder for a number.
    pub fn int(&mut self, value: i64) -> String {
        self.values.push(Owned::Int(value));
        format!("${}", self.values.len())
    }

    /// A condition without value.
    pub fn holds(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    /// A condition such as `nodeid = {}`, if there is a value for it.
    pub fn is(&mut self, condition: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            let place = self.text(value);
            self.conditions.push(condition.replace("{}", &place));
        }
    }

    /// A condition such as `last > {}` about a number, if there is one.
    pub fn compares(&mut self, condition: &str, value: Option<i64>) {
        if let Some(value) = value {
            let place = self.int(value);
            self.conditions.push(condition.replace("{}", &place));
        }
    }

    /// A condition such as `hostname LIKE {} ESCAPE '!'` for a pattern in which `*` is any text and `?` any
    /// character, without case.
    pub fn is_like(&mut self, expression: &str, pattern: Option<&str>) {
        let like = pattern.map(|pattern| {
            let mut like = String::with_capacity(pattern.len());
            for character in pattern.to_lowercase().chars() {
                match character {
                    '*' => like.push('%'),
                    '?' => like.push('_'),
                    '%' | '_' | '!' => like.extend(['!', character]),
                    other => like.push(other),
                }
            }
            like
        });
        self.is(&format!("lower({expression}) LIKE {{}} ESCAPE '!'"), like);
    }

    /// Inventories of one node, by its id or host name; or those of the fleet. What does not belong to it can give
    /// itself any host name.
    pub fn inventories_of(&mut self, node: Option<&str>) {
        match node {
            Some(node) => {
                let (id, name) = (self.text(node), self.text(node));
                self.holds(format!("(nodeid = {id} OR (hostname = {name} AND {OF_THE_FLEET}))"));
            }
            None => self.holds(OF_THE_FLEET),
        }
    }

    /// `TRUE`, or all conditions.
    pub fn sql(&self) -> String {
        if self.conditions.is_empty() { "TRUE".into() } else { self.conditions.join(" AND ") }
    }

    /// Values of all placeholders.
    pub fn values(&self) -> Vec<Value<'_>> {
        let values = self.values.iter();
        values
            .map(|value| match value {
                Owned::Text(text) => Value::Text(text),
                Owned::Int(number) => Value::Int(*number),
            })
            .collect()
    }
}
