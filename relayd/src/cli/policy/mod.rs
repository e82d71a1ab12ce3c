// SPDX-License-Identifier: Apache-2.0
//! `relayd policy`: what policies nodes get, signed by a key that relays do not have.
//!
//! Works on the store of published policies, whether the daemon runs or not; the daemon serves what is active
//! from the next request on.

mod change;
mod diff;
mod key;
mod list;
mod publish;
mod targets;

use std::{io, path::Path, sync::Arc};

use chrono::{DateTime, Utc};
use clap::Subcommand;
use protocol::{
    node_id::NodeId,
    policy_manifest::{MAX_NOTE, ManifestError},
};

use self::targets::Targets;
use super::CliError;
use crate::{
    config::Config,
    policies::{
        key::PolicyKeyError,
        publish::{SignError, Terms, Tree, sign_all},
        source::SourceError,
        store::{Before, Signed, Store, Writer},
    },
};

/// What it is like, and how it ends.
pub const EXAMPLES: &str = "\
Examples, from the first day on:
  relayd policy key init
  relayd policy publish /srv/policies/web --group web
  relayd policy diff web1.example.org
  relayd policy activate --group web
  relayd policy rollback --group web

Exit codes:
  0  done
  1  failed
  2  wrong form of a configuration file or of the command line
  4  there is nothing of what was asked for: no such node, group, version or key";

/// Commands about policies.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look after the key that signs policies.
    #[command(subcommand)]
    Key(key::Command),
    /// Sign a directory as the next version of the policies of nodes. It is served after `activate`.
    #[command(after_help = "Examples:
  relayd policy publish /srv/policies/web --group web
  relayd policy publish /srv/policies/web1 --node web1.example.org --activate
  relayd policy publish /srv/policies/all --all --expires 30d --note 'ticket 4711'

What is in the directory becomes the directory of policies of the node. Contents that the store has
already are not copied, and all nodes share them. Paths and executable bits are kept, nothing else
of files; directories without files are left out.

A group is a file in policies.groups, or any file when its name has a slash in it; each line is a
node id or a pattern of host names such as web*.example.org. # begins a comment.")]
    Publish(publish::Args),
    /// Say which versions there are of which nodes, and which one is served.
    #[command(after_help = "Examples:
  relayd policy list
  relayd policy list web1.example.org
  relayd policy list --json | jq -r 'select(.state == \"active\" and .expires < \"2027\") | .node_id'

Without nodes: of each node the active version and those that wait for activation.")]
    List(list::Args),
    /// Say what differs between two versions of a node.
    #[command(after_help = "Examples:
  relayd policy diff web1.example.org
  relayd policy diff web1.example.org 20261122140159
  relayd policy diff web1.example.org 20261101090000 20261122140159 | less

Without versions: from the active one to the newest that waits for activation; when none waits, from
the one before the active one to that. Where there is none before, all files are new.")]
    Diff(diff::Args),
    /// Serve a version that was published: the newest one, or the given one.
    #[command(after_help = "Examples:
  relayd policy activate --group web
  relayd policy activate --node web1.example.org --version 20261122140159

Signatures and contents are checked before. Older versions than the active one are refused by nodes:
to go back there is `relayd policy rollback`.")]
    Activate(change::Activate),
    /// Go back: sign the files of an older version as a new one, and serve it.
    #[command(after_help = "Examples:
  relayd policy rollback --node web1.example.org
  relayd policy rollback --all --to 20261101090000

Without --to each node gets the files that were served to it before those that are served now; after
that only with --to.")]
    Rollback(change::Rollback),
    /// Sign what is served once more, so that it is valid for longer or under another key.
    #[command(after_help = "Examples:
  relayd policy renew --all
  relayd policy renew --group web --expires never")]
    Renew(change::Renew),
    /// Forget all published policies of nodes: they get those of policies.directory again.
    #[command(after_help = "Example:
  relayd policy remove --node web1.example.org")]
    Remove(change::Remove),
}

/// Runs a command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    refuse_relay(config)?;
    match command {
        Command::Key(command) => key::run(command, &config.policies.key_directory),
        Command::Publish(args) => publish::run(args, config),
        Command::List(args) => list::run(args, config),
        Command::Diff(args) => diff::run(args, config),
        Command::Activate(args) => change::activate(args, config),
        Command::Rollback(args) => change::rollback(args, config),
        Command::Renew(args) => change::renew(args, config),
        Command::Remove(args) => change::remove(args, config),
    }
}

/// A relay only passes on what the root signed; a key on it would be one that its nodes need not trust.
fn refuse_relay(config: &Config) -> Result<(), CliError> {
    if config.general.node_id.is_root() && config.upstream.is_none() {
        return Ok(());
    }
    Err(CliError::usage(
        "this is the configuration of a relay (general.node_id is not \"root\", or output.upstream.host is \
         set): policies are signed and published on the root, and relays pass them on",
    ))
}

fn store(config: &Config) -> Store {
    Store::new(&config.policies.published)
}

fn lock(config: &Config, store: &Store) -> Result<Writer, CliError> {
    let waiting = || eprintln!("another `relayd policy` is at work; waiting for it to end");
    Writer::lock(store, waiting).map_err(|error| failed_at(&config.policies.published, &error))
}

fn failed_at(path: &Path, error: &io::Error) -> CliError {
    CliError::failed(match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("{}: {error}; run this as the user of the daemon or as root", path.display())
        }
        // Such an error says it all.
        io::ErrorKind::InvalidData => error.to_string(),
        _ => format!("{}: {error}", path.display()),
    })
}

/// Signs a version for each node and puts it into the store.
fn sign_and_put(
    config: &Config,
    writer: &Writer,
    terms: &Terms,
    nodes: &[(NodeId, Arc<Tree>)],
) -> Result<Vec<Signed>, CliError> {
    let key = crate::policies::key::PolicyKey::load(&config.policies.key_directory)?;
    let progress = |done| eprintln!("signed for {done} of {} nodes", nodes.len());
    let signed = sign_all(&key, terms, nodes, &progress)?;
    writer.put_manifests(&signed).map_err(|error| failed_at(&config.policies.published, &error))?;
    Ok(signed)
}

/// Serves what was signed.
fn serve(config: &Config, writer: &Writer, signed: &[Signed], before: Before) -> Result<(), CliError> {
    let editions: Vec<_> = signed.iter().map(|one| (one.node.clone(), one.edition)).collect();
    writer.activate(&editions, before).map_err(|error| failed_at(&config.policies.published, &error))
}

/// Removes versions beyond those that are kept. What was asked for is done already: a failure is only said.
fn prune(config: &Config, writer: &Writer, nodes: &[NodeId]) {
    if let Err(error) = writer.prune(nodes, config.policies.keep_versions) {
        eprintln!("warning: old versions could not be removed: {error}");
    }
}

/// Until when a version is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expires {
    After(std::time::Duration),
    At(DateTime<Utc>),
    Never,
}

impl Expires {
    fn from(self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, CliError> {
        let time = match self {
            Self::Never => return Ok(None),
            Self::At(time) => Some(time),
            Self::After(life) => {
                chrono::TimeDelta::from_std(life).ok().and_then(|life| now.checked_add_signed(life))
            }
        };
        match time {
            Some(time) if time > now => Ok(Some(time)),
            Some(time) => Err(CliError::usage(format!("{time} is over: no node would take such policies"))),
            None => Err(CliError::usage("that is too far away; write `never`")),
        }
    }
}

fn expires(text: &str) -> Result<Expires, String> {
    if text == "never" {
        return Ok(Expires::Never);
    }
    let day = || text.parse::<chrono::NaiveDate>().ok()?.and_hms_opt(0, 0, 0).map(|time| time.and_utc());
    let time = || DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc());
    match day().or_else(time) {
        Some(time) => Ok(Expires::At(time)),
        None => match super::node::duration(text) {
            Ok(life) => Ok(Expires::After(life)),
            Err(_) => Err("write a duration such as 90d, a date such as 2027-01-31, or `never`".into()),
        },
    }
}

fn note(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_NOTE || text.contains(char::is_control) {
        return Err(ManifestError::Note.to_string());
    }
    Ok(text.to_owned())
}

impl From<PolicyKeyError> for CliError {
    fn from(error: PolicyKeyError) -> Self {
        match error {
            PolicyKeyError::Missing(_) | PolicyKeyError::NoNext(_) => Self::nothing(error),
            error => Self::failed(error),
        }
    }
}

impl From<SourceError> for CliError {
    fn from(error: SourceError) -> Self {
        Self::failed(error)
    }
}

impl From<SignError> for CliError {
    fn from(error: SignError) -> Self {
        Self::failed(error)
    }
}
