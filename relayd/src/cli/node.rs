// SPDX-License-Identifier: Apache-2.0
//! `relayd node`: which nodes there are, and who of them belongs to the instance.
//!
//! Works on the registry in the database, whether the daemon runs or not; the daemon takes changes up
//! within a second.

mod print;
mod select;

use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Write},
    time::Duration,
};

use clap::Subcommand;
use protocol::{hash::KeyHash, limits::RELAY_DEPTH, node_id::NodeId};

use self::select::{AttachedTo, Chosen, FilterArgs, More, Selection};
use super::{CliError, output};
use crate::{
    config::Config,
    db::Connection,
    registry::{
        admin::{self, Accept, AdminError, Outcome, Outcomes, Purpose},
        record::{NodeDetails, NodeRecord, NodeState},
    },
    spool::disposition::printable,
};

/// Commands about nodes.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List nodes, with state, last contact and the fingerprint of their key.
    #[command(after_help = "Examples:
  relayd node list --state pending
  relayd node list --relay relay1.example.org --silent-for 2d
  relayd node list --json | jq -r 'select(.open_conflicts > 0) | .node_id'")]
    List {
        /// Which nodes.
        #[command(flatten)]
        filter: FilterArgs,
        /// Which relay.
        #[command(flatten)]
        attached_to: AttachedTo,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of a node: keys, certificates, conflicts.
    #[command(after_help = "Example:
  relayd node show web1.example.org

NODE is an id, the first 8 or more characters of one, or a host name; id:ID when other nodes have
that for a name.")]
    Show {
        /// Which one.
        #[arg(value_name = "NODE")]
        node: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Let nodes into the instance: those that wait, or that were rejected or revoked before.
    #[command(after_help = "Examples:
  relayd node accept web1.example.org --fingerprint sha256//…
  relayd node accept --name 'web*.example.org'
  relayd node accept relay1.example.org --relay

Compare the fingerprint with the one that `agent enroll` prints on the node. Filters choose
among those that wait.")]
    Accept {
        #[command(flatten)]
        selection: Selection,
        /// All that wait for a decision.
        #[arg(long, conflicts_with = "nodes")]
        all_pending: bool,
        /// As a relay, to which other nodes connect; needed for nodes that ask for it.
        #[arg(long)]
        relay: bool,
        /// Only if the node has this key.
        #[arg(long, value_name = "HASH")]
        fingerprint: Option<KeyHash>,
    },
    /// Decide against nodes that wait.
    #[command(after_help = "Examples:
  relayd node reject 4f2a9c1e
  relayd node reject --name 'test-*' --yes")]
    Reject {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        attached_to: AttachedTo,
        /// All that wait for a decision.
        #[arg(long, conflicts_with = "nodes")]
        all_pending: bool,
    },
    /// Take accepted nodes out of the instance at once; their open connections are closed.
    #[command(after_help = "Examples:
  relayd node revoke web1.example.org
  relayd node revoke --below relay1.example.org

Filters choose among the accepted ones. `relayd node accept` takes a node back.")]
    Revoke {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        attached_to: AttachedTo,
    },
    /// Forget nodes: their ids and keys are free again.
    #[command(after_help = "Examples:
  relayd node delete 4f2a9c1e
  relayd node delete --state rejected --yes")]
    Delete {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        attached_to: AttachedTo,
    },
    /// Hang nodes below another relay, or below root.
    #[command(after_help = "Examples:
  relayd node move web1.example.org web2.example.org --to relay2.example.org
  relayd node move --relay relay1.example.org --to root")]
    Move {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        attached_to: AttachedTo,
        /// The new server: an accepted relay, or root.
        #[arg(long, value_name = "RELAY")]
        to: String,
    },
    /// Say that the conflicts of nodes are settled.
    #[command(after_help = "Examples:
  relayd node list --conflicts
  relayd node resolve web1.example.org")]
    Resolve {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        attached_to: AttachedTo,
    },
}

/// What is done to nodes.
struct Action {
    /// In a question: `Accept`.
    verb: &'static str,
    /// In the closing line: `accepted`.
    done: &'static str,
    /// States that filters are about when they do not say.
    states: &'static [NodeState],
}

/// Nodes between two words about progress.
const AT_A_TIME: usize = 1000;

/// Runs a command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    let by = operator();
    match command {
        Command::List { filter, attached_to, json } => {
            list(&mut admin::open(config, Purpose::Read)?, filter, attached_to, *json)
        }
        Command::Show { node, json } => show(&mut admin::open(config, Purpose::Read)?, node, *json),
        Command::Accept { selection, all_pending, relay, fingerprint } => {
            if fingerprint.is_some() && selection.nodes.len() != 1 {
                return Err(CliError::usage("--fingerprint is for one node: name it"));
            }
            // A filter may choose more than was thought of.
            if *relay && selection.nodes.is_empty() {
                return Err(CliError::usage("--relay makes relays of the nodes that are named: name them"));
            }
            let how = Accept { as_relay: *relay, fingerprint: fingerprint.clone() };
            let action = Action { verb: "Accept", done: "accepted", states: &[NodeState::Pending] };
            let more = More { attached_to: None, all_pending: *all_pending };
            act(config, selection, more, &action, |c, ids| admin::accept(c, ids, &by, &how))
        }
        Command::Reject { selection, attached_to, all_pending } => {
            let action = Action { verb: "Reject", done: "rejected", states: &[NodeState::Pending] };
            let more = More { attached_to: Some(attached_to), all_pending: *all_pending };
            act(config, selection, more, &action, |c, ids| admin::reject(c, ids, &by))
        }
        Command::Revoke { selection, attached_to } => {
            let action = Action { verb: "Revoke", done: "revoked", states: &[NodeState::Accepted] };
            act(config, selection, attached_to.into(), &action, |c, ids| admin::revoke(c, ids, &by))
        }
        Command::Delete { selection, attached_to } => {
            let action = Action { verb: "Forget", done: "deleted", states: &[] };
            act(config, selection, attached_to.into(), &action, admin::delete)
        }
        Command::Move { selection, attached_to, to } => {
            let server = select::server(&mut admin::open(config, Purpose::Write)?, to)?;
            let action = Action { verb: "Move", done: "moved", states: &[] };
            act(config, selection, attached_to.into(), &action, |c, ids| admin::move_to(c, ids, &server))
        }
        Command::Resolve { selection, attached_to } => {
            let action = Action { verb: "Settle the conflicts of", done: "resolved", states: &[] };
            act(config, selection, attached_to.into(), &action, |c, ids| admin::resolve(c, ids, &by))
        }
    }
}

impl From<AdminError> for CliError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NotFound(_) => Self::nothing(error),
            AdminError::NotHere(_) | AdminError::Invalid(_) => Self::usage(error),
            AdminError::Database(_) => Self::failed(error),
        }
    }
}

fn list(
    c: &mut Connection,
    filter: &FilterArgs,
    attached_to: &AttachedTo,
    json: bool,
) -> Result<(), CliError> {
    let filter = filter.resolve(c, Some(attached_to))?;
    let nodes = admin::list(c, &filter)?;
    let mut out = BufWriter::new(io::stdout().lock());
    print::list(&mut out, &nodes, json)?;
    Ok(out.flush()?)
}

fn show(c: &mut Connection, node: &str, json: bool) -> Result<(), CliError> {
    let id = admin::find(c, node)?;
    let details = admin::get(c, &id)?.ok_or_else(|| CliError::nothing(format!("there is no node {id}")))?;
    let above = above(c, &details.node)?;
    Ok(print::show(&mut io::stdout().lock(), &details, &above, json)?)
}

/// The servers on the way from a node to the root, as far as they are known.
fn above(c: &mut Connection, node: &NodeRecord) -> Result<Vec<NodeRecord>, AdminError> {
    let mut way: Vec<NodeRecord> = Vec::new();
    while way.len() < RELAY_DEPTH {
        let last = way.last().unwrap_or(node);
        if last.node_id.is_root() || last.policy_server == last.node_id {
            break;
        }
        let Some(next) = admin::get(c, &last.policy_server.clone())? else { break };
        way.push(next.node);
    }
    Ok(way)
}

/// Chooses, asks, does it part by part, and says how it went.
fn act(
    config: &Config,
    selection: &Selection,
    more: More<'_>,
    action: &Action,
    mut work: impl FnMut(&mut Connection, &[NodeId]) -> Result<Outcomes, AdminError>,
) -> Result<(), CliError> {
    let mut c = admin::open(config, Purpose::Write)?;
    let ids = match selection.choose(&mut c, more, action.states)? {
        Chosen::Named(ids) => ids,
        Chosen::Filtered(nodes) => {
            if !selection.yes && !ask(action, &nodes)? {
                println!("nothing done");
                return Ok(());
            }
            nodes.into_iter().map(|node| node.node_id).collect()
        }
    };
    let few = described(&mut c, &ids)?;
    let mut tally = Tally::default();
    for part in ids.chunks(AT_A_TIME) {
        for (id, outcome) in work(&mut c, part).inspect_err(|_| tally.print(action))? {
            tally.add(&id, &outcome);
            if let (Outcome::Done, Some(what)) = (&outcome, few.get(&id)) {
                println!("{}  {what}", action.done);
            }
        }
        if ids.len() > AT_A_TIME {
            eprintln!("{} of {}", tally.sum(), ids.len());
        }
    }
    tally.print(action);
    tally.verdict()
}

/// Nodes of which each is printed, by id and fingerprint: what a host name says may be a lie.
const FEW: usize = 10;

fn described(c: &mut Connection, ids: &[NodeId]) -> Result<BTreeMap<NodeId, String>, AdminError> {
    let mut all = BTreeMap::new();
    for id in ids.iter().filter(|_| ids.len() <= FEW) {
        let Some(NodeDetails { node, .. }) = admin::get(c, id)? else { continue };
        let key = node.key_hash.map_or_else(|| "no key".into(), |hash| hash.to_string());
        all.insert(id.clone(), format!("{id}  {key}  {}", printable(&node.hostname)));
    }
    Ok(all)
}

fn ask(action: &Action, nodes: &[NodeRecord]) -> Result<bool, CliError> {
    const SHOWN: usize = 5;
    let names: Vec<_> = nodes.iter().take(SHOWN).map(|node| printable(&node.hostname)).collect();
    let more = if nodes.len() > SHOWN { ", …" } else { "" };
    let number = output::counted(nodes.len(), "node");
    let question = format!("{} {number} ({}{more})?", action.verb, names.join(", "));
    output::confirm(&question)?.ok_or_else(|| {
        CliError::usage(format!(
            "{number} chosen; when nobody can be asked, say --yes (first look with `relayd node list` and the \
             same filters)"
        ))
    })
}

/// How it went.
#[derive(Default)]
struct Tally {
    done: usize,
    unchanged: usize,
    refused: usize,
    missing: usize,
}

impl Tally {
    fn add(&mut self, id: &NodeId, outcome: &Outcome) {
        match outcome {
            Outcome::Done => self.done += 1,
            Outcome::Unchanged => self.unchanged += 1,
            Outcome::NotFound => {
                self.missing += 1;
                eprintln!("error: {id}: there is no such node any more");
            }
            Outcome::Refused(why) => {
                self.refused += 1;
                eprintln!("error: {id}: {why}");
            }
        }
    }

    fn sum(&self) -> usize {
        self.done + self.unchanged + self.refused + self.missing
    }

    fn print(&self, action: &Action) {
        let mut text = format!("{} {}", self.done, action.done);
        for (number, what) in
            [(self.unchanged, "were so already"), (self.refused, "refused"), (self.missing, "not found")]
        {
            if number > 0 {
                text.push_str(&format!(", {number} {what}"));
            }
        }
        println!("{text}");
    }

    fn verdict(&self) -> Result<(), CliError> {
        match (self.refused, self.missing) {
            (0, 0) => Ok(()),
            (0, _) => {
                Err(CliError::nothing(format!("{} of {} nodes are not there", self.missing, self.sum())))
            }
            (refused, _) => {
                Err(CliError::failed(format!("refused for {refused} of {} nodes, see above", self.sum())))
            }
        }
    }
}

/// Who gives the command, for the registry.
pub(super) fn operator() -> String {
    let user = |name| std::env::var(name).ok().filter(|user: &String| !user.is_empty());
    let name = user("SUDO_USER").or_else(|| user("USER")).or_else(|| user("LOGNAME"));
    let name = name.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()));
    printable(&name).chars().take(64).collect()
}

/// Reads a duration that is more than nothing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than 0".into()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("{error}; write a duration such as 90s, 2h or 7d")),
    }
}
