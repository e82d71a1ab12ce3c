// SPDX-License-Identifier: Apache-2.0
//! Which nodes a command is about.

use std::{collections::BTreeSet, fs, io, path::PathBuf};

use clap::Args;
use protocol::{
    node_id::NodeId,
    node_list::{NodeEntry, NodeList},
};

use crate::{
    cli::CliError,
    config::{Config, NodesSource},
    nodes,
    policies::store::Store,
    registry::{
        admin::{self, Filter, Purpose},
        record::{NodeState, Role},
    },
    spool::disposition::printable,
};

/// Which nodes.
#[derive(Debug, Clone, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["node", "group", "below", "all"]))]
pub struct Targets {
    /// This node: its id, the first 8 or more characters of it, or its host name; may be repeated.
    #[arg(long, value_name = "NODE")]
    pub node: Vec<String>,
    /// The nodes of this group (a file in policies.groups); may be repeated.
    #[arg(long, value_name = "NAME")]
    pub group: Vec<String>,
    /// The nodes at any depth below this relay; may be repeated.
    #[arg(long, value_name = "RELAY")]
    pub below: Vec<String>,
    /// All nodes but the root.
    #[arg(long, conflicts_with_all = ["node", "group", "below"])]
    pub all: bool,
}

/// The nodes that belong to the instance.
pub struct Known(NodeList);

/// Shortest start of an id that stands for it, in characters.
const SHORTEST: usize = 8;
/// Largest group, in bytes.
const LARGEST_GROUP: u64 = 64 << 20;

impl Known {
    /// Reads them from where the configuration says.
    pub fn read(config: &Config) -> Result<Self, CliError> {
        if config.nodes.source != NodesSource::Database {
            return nodes::read_list(&config.general.nodes_list_file).map(Self).map_err(CliError::failed);
        }
        let filter = Filter { states: vec![NodeState::Accepted], ..Filter::default() };
        let records = admin::list(&mut admin::open(config, Purpose::Read)?, &filter)?;
        let entry = |record: crate::registry::record::NodeRecord| {
            let entry = NodeEntry {
                hostname: record.hostname,
                key_hash: None,
                other_key_hashes: Vec::new(),
                policy_server: record.policy_server,
                is_relay: record.role == Role::Relay,
            };
            (record.node_id, entry)
        };
        Ok(Self(records.into_iter().map(entry).collect()))
    }

    /// The host name of a node.
    pub fn host_name(&self, node: &NodeId) -> Option<&str> {
        self.0.get(node).map(|entry| entry.hostname.as_str())
    }

    /// The node that an operator means.
    pub fn find(&self, text: &str) -> Result<NodeId, CliError> {
        let is_meant = |id: &NodeId, entry: &NodeEntry| {
            id.as_str() == text
                || entry.hostname.eq_ignore_ascii_case(text)
                || (text.len() >= SHORTEST && id.as_str().starts_with(text))
        };
        let mut found = self.0.iter().filter(|(id, entry)| is_meant(id, entry)).map(|(id, _)| id);
        match (found.next(), found.next()) {
            (Some(node), None) => Ok(node.clone()),
            (Some(_), Some(_)) => {
                Err(CliError::usage(format!("{:?} fits several nodes; give a whole id", printable(text))))
            }
            (None, _) => Err(CliError::nothing(format!(
                "there is no node {:?} in this instance (`relayd node list` says which there are)",
                printable(text)
            ))),
        }
    }
}

impl Targets {
    /// The nodes for which something shall be published, by id. With `unknown`, ids of nodes that do not
    /// belong to the instance (yet) are taken as they are.
    pub fn to_publish_for(&self, config: &Config, unknown: bool) -> Result<Vec<NodeId>, CliError> {
        let known = Known::read(config)?;
        let find = |text: &str| match (known.find(text), text.parse()) {
            (Err(_), Ok(id)) if unknown => Ok(id),
            (found, _) => found,
        };
        let all = || known.0.iter().map(|(id, _)| id).filter(|id| !id.is_root()).cloned().collect();
        self.choose(config, &known, find, all)
    }

    /// The nodes for which something is published, by id. Also such that do not belong to the instance any
    /// more.
    pub fn published(&self, config: &Config, store: &Store) -> Result<Vec<NodeId>, CliError> {
        let known = Known::read(config)?;
        let there: BTreeSet<NodeId> = store.nodes()?.into_iter().collect();
        let find = |text: &str| find_published(&known, &there, text);
        let all = || there.clone();
        let mut nodes = self.choose(config, &known, find, all)?;
        nodes.retain(|node| there.contains(node));
        match nodes.is_empty() {
            true => Err(CliError::nothing("nothing is published for these nodes")),
            false => Ok(nodes),
        }
    }

    fn choose(
        &self,
        config: &Config,
        known: &Known,
        find: impl Fn(&str) -> Result<NodeId, CliError>,
        all: impl FnOnce() -> BTreeSet<NodeId>,
    ) -> Result<Vec<NodeId>, CliError> {
        let mut chosen = BTreeSet::new();
        for text in &self.node {
            chosen.insert(find(text)?);
        }
        for name in &self.group {
            chosen.extend(Group::read(config, name)?.members(known));
        }
        for relay in &self.below {
            let relay = known.find(relay)?;
            let below = known.0.below(&relay);
            chosen
                .extend(below.iter().map(|(id, _)| id).filter(|id| **id != relay && !id.is_root()).cloned());
        }
        if self.all {
            chosen.extend(all());
        }
        match chosen.is_empty() {
            true => Err(CliError::nothing("there are no such nodes")),
            false => Ok(chosen.into_iter().collect()),
        }
    }
}

/// A node for which something is published, also when it does not belong to the instance any more.
pub fn find_published(known: &Known, there: &BTreeSet<NodeId>, text: &str) -> Result<NodeId, CliError> {
    match there.get(text) {
        Some(id) => Ok(id.clone()),
        None => known.find(text),
    }
}

/// Node ids and patterns of host names.
struct Group {
    path: PathBuf,
    lines: Vec<String>,
}

impl Group {
    fn read(config: &Config, name: &str) -> Result<Self, CliError> {
        let path = match name.contains('/') {
            true => PathBuf::from(name),
            false => config.policies.groups.join(name),
        };
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => CliError::nothing(format!(
                "there is no group {:?}: write node ids and patterns of host names, one a line, into {}",
                printable(name),
                path.display()
            )),
            _ => CliError::failed(format!("{}: {error}", path.display())),
        };
        let size = fs::metadata(&path).map_err(unreadable)?.len();
        if size > LARGEST_GROUP {
            return Err(CliError::failed(format!("{}: too large for a group", path.display())));
        }
        let text = fs::read_to_string(&path).map_err(unreadable)?;
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        let lines: Vec<String> = lines.filter(|line| !line.is_empty()).map(str::to_owned).collect();
        match lines.iter().find(|line| line.contains(char::is_whitespace)) {
            Some(line) => Err(CliError::failed(format!(
                "{}: {:?} is neither a node id nor a pattern of host names; write one a line",
                path.display(),
                printable(line)
            ))),
            None => Ok(Self { path, lines }),
        }
    }

    /// Says which lines fit no node: that may be a slip of the pen, or a node that is gone.
    fn members(&self, known: &Known) -> BTreeSet<NodeId> {
        let mut members = BTreeSet::new();
        for line in &self.lines {
            let fits = |id: &NodeId, entry: &NodeEntry| {
                id.as_str() == line || (!id.is_root() && admin::is_like(line, &entry.hostname))
            };
            let mut found = known.0.iter().filter(|(id, entry)| fits(id, entry)).map(|(id, _)| id).peekable();
            if found.peek().is_none() {
                eprintln!("warning: {}: {} fits no node", self.path.display(), printable(line));
            }
            members.extend(found.cloned());
        }
        members
    }
}
