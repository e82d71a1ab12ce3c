// SPDX-License-Identifier: Apache-2.0
//! Requests of version 2, and what a node is told (protocol 16.1, 16.2).

use std::{collections::HashMap, fmt, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Conditions, event::milliseconds};
use crate::node_id::NodeId;

/// Most nodes that one request names.
pub const MAX_NODES: usize = 10_000;

/// Longest time a request may wait for nodes.
pub const LONGEST_EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// The number of a run on one node: nobody can guess it, and it is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct RunRequestId(Uuid);

/// Why a text is no number of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the number of a run: 36 characters, lower-case hexadecimal digits with four dashes")]
pub struct RunRequestIdError;

/// What one node is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The number of this run.
    pub id: RunRequestId,
    /// What the run is told.
    pub conditions: Conditions,
    /// After this it must not begin any more, by the clock of the policy server.
    #[serde(serialize_with = "milliseconds")]
    pub expires: DateTime<Utc>,
    /// Whether what the run writes is wanted.
    pub output: bool,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// All nodes below the server that is asked, at any depth, or below one of its relays.
    All {
        /// The relay.
        behind: Option<NodeId>,
    },
    /// These, each once, [`MAX_NODES`] at most.
    Nodes(Vec<NodeId>),
}

/// A request of version 2, in JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOrder {
    /// Who is asked.
    pub targets: Targets,
    /// What the runs are told.
    pub conditions: Conditions,
    /// Whether what the runs write is wanted; it is, unless the request says otherwise.
    pub output: bool,
    /// How long nodes that are not there are waited for, unless the server's own setting says it. Whole
    /// seconds.
    pub expires_in: Option<Duration>,
    /// The answer does not wait for the end: it holds the first line only.
    pub asynchronous: bool,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not JSON.
    #[error("the body is not JSON: {0}")]
    Syntax(String),
    /// Something in it.
    #[error("{place}: {what}")]
    Member {
        /// Where, as `nodes[3]`.
        place: String,
        /// What is wrong.
        what: String,
    },
}

impl RunRequestId {
    /// A new one.
    pub fn new() -> Self {
        Self(Uuid::new_v4())
    }
}

impl Default for RunRequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RunRequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for RunRequestId {
    type Err = RunRequestIdError;

    fn from_str(text: &str) -> Result<Self, RunRequestIdError> {
        let id = Self(Uuid::try_parse(text).map_err(|_| RunRequestIdError)?);
        // One way to write it: it stands in paths.
        if id.to_string() == text { Ok(id) } else { Err(RunRequestIdError) }
    }
}

impl TryFrom<String> for RunRequestId {
    type Error = RunRequestIdError;

    fn try_from(text: String) -> Result<Self, RunRequestIdError> {
        text.parse()
    }
}

impl From<RunRequestId> for String {
    fn from(id: RunRequestId) -> String {
        id.to_string()
    }
}

impl RunOrder {
    /// Reads a body. Everything that is not understood is refused, with its place.
    pub fn from_json(body: &[u8]) -> Result<Self, RequestError> {
        let body: Value = serde_json::from_slice(body).map_err(|e| RequestError::Syntax(e.to_string()))?;
        let Value::Object(mut members) = body else { return Err(wrong("body", "must be an object")) };
        let conditions = match members.remove("conditions") {
            Some(value) => conditions(value)?,
            None => Conditions::default(),
        };
        let order = Self {
            targets: targets(&mut members)?,
            conditions,
            output: boolean(&mut members, "output")?.unwrap_or(true),
            expires_in: expiry(&mut members)?,
            asynchronous: boolean(&mut members, "asynchronous")?.unwrap_or(false),
        };
        match members.keys().next() {
            None => Ok(order),
            Some(unknown) => Err(wrong(&shortened(unknown), "no such member")),
        }
    }

    /// Writes it.
    pub fn to_json(&self) -> Vec<u8> {
        let mut members = Map::new();
        match &self.targets {
            Targets::All { behind } => {
                members.insert("nodes".into(), "all".into());
                if let Some(relay) = behind {
                    members.insert("behind".into(), relay.as_str().into());
                }
            }
            Targets::Nodes(nodes) => {
                let nodes: Vec<Value> = nodes.iter().map(|node| node.as_str().into()).collect();
                members.insert("nodes".into(), nodes.into());
            }
        }
        let conditions: Vec<Value> = self.conditions.iter().map(|c| c.as_str().into()).collect();
        members.insert("conditions".into(), conditions.into());
        members.insert("output".into(), self.output.into());
        members.insert("asynchronous".into(), self.asynchronous.into());
        if let Some(expiry) = self.expires_in {
            members.insert("expires_in".into(), expiry.as_secs().into());
        }
        Value::Object(members).to_string().into_bytes()
    }
}

fn targets(members: &mut Map<String, Value>) -> Result<Targets, RequestError> {
    const WANTED: &str = "must be \"all\" or an array of node ids";
    let behind = match members.remove("behind") {
        None => None,
        Some(value) => Some(node_id("behind", &value)?),
    };
    match members.remove("nodes") {
        Some(Value::String(all)) if all == "all" => Ok(Targets::All { behind }),
        Some(Value::Array(_)) if behind.is_some() => {
            Err(wrong("behind", "goes with \"nodes\": \"all\" only"))
        }
        Some(Value::Array(nodes)) => named(&nodes).map(Targets::Nodes),
        Some(_) => Err(wrong("nodes", WANTED)),
        None => Err(wrong("nodes", &format!("is missing; it {WANTED}"))),
    }
}

fn named(nodes: &[Value]) -> Result<Vec<NodeId>, RequestError> {
    match nodes.len() {
        0 => return Err(wrong("nodes", "names no node")),
        1..=MAX_NODES => {}
        count => {
            let what = format!("names {count} nodes; a request has at most {MAX_NODES}, or \"all\"");
            return Err(wrong("nodes", &what));
        }
    }
    let mut places = HashMap::new();
    let mut ids = Vec::with_capacity(nodes.len());
    for (index, value) in nodes.iter().enumerate() {
        let place = format!("nodes[{index}]");
        let id = node_id(&place, value)?;
        if let Some(first) = places.insert(id.clone(), index) {
            return Err(wrong(&place, &format!("{id} is in nodes[{first}] already")));
        }
        ids.push(id);
    }
    Ok(ids)
}

fn node_id(place: &str, value: &Value) -> Result<NodeId, RequestError> {
    let text = value.as_str().ok_or_else(|| wrong(place, "must be a text"))?;
    text.parse().map_err(|error: crate::node_id::NodeIdError| wrong(place, &error.to_string()))
}

fn conditions(value: Value) -> Result<Conditions, RequestError> {
    let Value::Array(values) = value else { return Err(wrong("conditions", "must be an array of texts")) };
    let mut conditions = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let place = format!("conditions[{index}]");
        let text = value.as_str().ok_or_else(|| wrong(&place, "must be a text"))?;
        let condition = text
            .parse()
            .map_err(|error: super::ConditionError| wrong(&place, &shortened(&error.to_string())))?;
        conditions.push(condition);
    }
    Conditions::try_from(conditions).map_err(|error| wrong("conditions", &error.to_string()))
}

fn boolean(members: &mut Map<String, Value>, name: &str) -> Result<Option<bool>, RequestError> {
    match members.remove(name) {
        None => Ok(None),
        Some(Value::Bool(value)) => Ok(Some(value)),
        Some(_) => Err(wrong(name, "must be true or false")),
    }
}

fn expiry(members: &mut Map<String, Value>) -> Result<Option<Duration>, RequestError> {
    let longest = LONGEST_EXPIRY.as_secs();
    match members.remove("expires_in") {
        None => Ok(None),
        Some(value) => match value.as_u64() {
            Some(seconds) if (1..=longest).contains(&seconds) => Ok(Some(Duration::from_secs(seconds))),
            _ => Err(wrong("expires_in", &format!("must be a number of seconds from 1 to {longest}"))),
        },
    }
}

fn wrong(place: &str, what: &str) -> RequestError {
    RequestError::Member { place: place.to_owned(), what: what.to_owned() }
}

/// What a client sent, short enough to be said again.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}…", super::prefix(text, LONGEST))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: Value) -> String {
        RunOrder::from_json(body.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read() {
        let nodes = Targets::Nodes(vec![NodeId::root(), "n1".parse().unwrap()]);
        for targets in [Targets::All { behind: None }, Targets::All { behind: Some(NodeId::root()) }, nodes] {
            let order = RunOrder {
                targets,
                conditions: "a,b".parse().unwrap(),
                output: false,
                expires_in: Some(Duration::from_secs(7)),
                asynchronous: true,
            };
            assert_eq!(RunOrder::from_json(&order.to_json()), Ok(order));
        }
        let least = RunOrder::from_json(br#"{"nodes":"all"}"#).unwrap();
        assert!(least.output && !least.asynchronous && least.expires_in.is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_place() {
        let cases = [
            (json!([]), "body: "),
            (json!({}), "nodes: is missing"),
            (json!({"nodes": "some"}), "nodes: must be"),
            (json!({"nodes": 1}), "nodes: must be"),
            (json!({"nodes": []}), "nodes: names no node"),
            (json!({"nodes": ["a", 1]}), "nodes[1]: must be a text"),
            (json!({"nodes": ["a", "../b"]}), "nodes[1]: a node id starts with"),
            (json!({"nodes": ["a", "b", "a"]}), "nodes[2]: a is in nodes[0] already"),
            (json!({"nodes": vec!["a"; 100_000]}), "nodes: names 100000 nodes"),
            (json!({"nodes": ["a"], "behind": "root"}), "behind: goes with"),
            (json!({"nodes": "all", "behind": "-"}), "behind: a node id"),
            (json!({"nodes": "all", "conditions": "a"}), "conditions: must be an array"),
            (json!({"nodes": "all", "conditions": ["a", "-b"]}), "conditions[1]: invalid condition: -b,"),
            (json!({"nodes": "all", "conditions": vec!["a"; 101]}), "conditions: too many"),
            (json!({"nodes": "all", "output": "yes"}), "output: must be true or false"),
            (json!({"nodes": "all", "expires_in": 0}), "expires_in: must be"),
            (json!({"nodes": "all", "expires_in": 1.5}), "expires_in: must be"),
            (json!({"nodes": "all", "expires_in": 86401}), "expires_in: must be"),
            (json!({"nodes": "all", "node": 1}), "node: no such member"),
        ];
        for (body, start) in cases {
            let said = refused(body);
            assert!(said.starts_with(start), "{said:?} should start with {start:?}");
            assert!(said.len() < 500);
        }
        let syntax = RunOrder::from_json(b"{\"nodes\":").unwrap_err().to_string();
        assert!(syntax.starts_with("the body is not JSON: ") && syntax.contains("line 1"), "{syntax}");
    }

    #[test]
    fn the_number_of_a_run_is_written_in_one_way() {
        let id = RunRequestId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in
            ["", "1", &id.to_string().to_uppercase(), &format!("{{{id}}}"), &id.to_string().replace('-', "")]
        {
            // A number without letters is the same in capitals.
            assert!(bad.parse::<RunRequestId>().is_err() || *bad == id.to_string(), "{bad}");
        }
    }
}
