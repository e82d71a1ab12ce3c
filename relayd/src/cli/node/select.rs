// SPDX-License-Identifier: Apache-2.0
//! Which nodes an operator means: named one by one, or by what they have in common.

use std::time::Duration;

use clap::{Args, ValueEnum};
use protocol::node_id::NodeId;

use super::duration;
use crate::{
    cli::CliError,
    db::Connection,
    registry::{
        admin::{self, AdminError, Filter},
        record::{NodeRecord, NodeState},
    },
};

/// What nodes have in common.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Only nodes in this state; may be repeated.
    #[arg(long, value_enum)]
    state: Vec<StateArg>,
    /// Only nodes at any depth below this server.
    #[arg(long, value_name = "NODE")]
    below: Option<String>,
    /// Only nodes with a host name like this; * is any text, ? one character.
    #[arg(long, value_name = "GLOB")]
    name: Option<String>,
    /// Only nodes that were not heard of for this long, such as 2h or 7d.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    silent_for: Option<Duration>,
    /// Only nodes with conflicts that nobody has resolved.
    #[arg(long)]
    conflicts: bool,
}

/// The server that nodes connect to; apart, because `accept --relay` is something else.
#[derive(Debug, Clone, Default, Args)]
pub struct AttachedTo {
    /// Only nodes that connect to this server.
    #[arg(long, value_name = "NODE")]
    pub relay: Option<String>,
}

/// A state, on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum StateArg {
    /// Waits for a decision.
    Pending,
    /// Belongs to the instance.
    Accepted,
    /// Was not taken in.
    Rejected,
    /// Was taken out.
    Revoked,
}

impl From<StateArg> for NodeState {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Pending => Self::Pending,
            StateArg::Accepted => Self::Accepted,
            StateArg::Rejected => Self::Rejected,
            StateArg::Revoked => Self::Revoked,
        }
    }
}

/// Nodes, named or filtered.
#[derive(Debug, Clone, Args)]
pub struct Selection {
    /// Ids, the first 8 or more characters of them, or host names; id:ID is an id and nothing else.
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
    #[command(flatten)]
    filter: FilterArgs,
    /// Do not ask when filters choose.
    #[arg(long, short)]
    pub yes: bool,
}

/// What else says which nodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct More<'a> {
    /// The server that they connect to.
    pub attached_to: Option<&'a AttachedTo>,
    /// Whether it is all those that wait for a decision.
    pub all_pending: bool,
}

impl<'a> From<&'a AttachedTo> for More<'a> {
    fn from(attached_to: &'a AttachedTo) -> Self {
        Self { attached_to: Some(attached_to), all_pending: false }
    }
}

/// The nodes that were chosen.
pub enum Chosen {
    /// Named one by one.
    Named(Vec<NodeId>),
    /// Chosen by filters; at least one.
    Filtered(Vec<NodeRecord>),
}

impl FilterArgs {
    /// With the ids of the servers that it names.
    pub fn resolve(
        &self,
        c: &mut Connection,
        attached_to: Option<&AttachedTo>,
    ) -> Result<Filter, AdminError> {
        let relay = attached_to.and_then(|attached| attached.relay.as_deref());
        Ok(Filter {
            states: self.state.iter().copied().map(NodeState::from).collect(),
            relay: relay.map(|text| server(c, text)).transpose()?,
            below: self.below.as_deref().map(|text| server(c, text)).transpose()?,
            name: self.name.clone(),
            silent_for: self.silent_for,
            conflicts: self.conflicts,
        })
    }

    fn is_empty(&self) -> bool {
        let Self { state, below, name, silent_for, conflicts } = self;
        state.is_empty() && below.is_none() && name.is_none() && silent_for.is_none() && !conflicts
    }
}

impl Selection {
    /// Finds the nodes. All names are looked up before anything is done. Filters that name no state are
    /// about `states`.
    pub fn choose(
        &self,
        c: &mut Connection,
        more: More<'_>,
        states: &[NodeState],
    ) -> Result<Chosen, CliError> {
        let attached_to = more.attached_to.filter(|attached| attached.relay.is_some());
        let filtered = more.all_pending || attached_to.is_some() || !self.filter.is_empty();
        if self.nodes.is_empty() && !filtered {
            return Err(CliError::usage(
                "which nodes? Give ids or host names, or a filter such as --state, --name or --below",
            ));
        }
        if !self.nodes.is_empty() {
            if filtered {
                return Err(CliError::usage("give nodes or filters, not both"));
            }
            let mut ids = Vec::with_capacity(self.nodes.len());
            for text in &self.nodes {
                let id = admin::find(c, text)?;
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            return Ok(Chosen::Named(ids));
        }
        let mut filter = self.filter.resolve(c, attached_to)?;
        if filter.states.is_empty() {
            filter.states = states.to_vec();
        }
        if more.all_pending {
            filter.states = vec![NodeState::Pending];
        }
        let mut nodes = admin::list(c, &filter)?;
        // It is not up to itself.
        nodes.retain(|node| !node.node_id.is_root());
        match nodes.is_empty() {
            true => Err(CliError::nothing("no such nodes")),
            false => Ok(Chosen::Filtered(nodes)),
        }
    }
}

/// A server that nodes connect to. The root need not be in the registry.
pub fn server(c: &mut Connection, text: &str) -> Result<NodeId, AdminError> {
    if text == NodeId::root().as_str() { Ok(NodeId::root()) } else { admin::find(c, text) }
}
