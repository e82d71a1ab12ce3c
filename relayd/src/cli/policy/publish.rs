// SPDX-License-Identifier: Apache-2.0
//! `relayd policy publish`.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use chrono::Utc;
use protocol::node_id::NodeId;
use serde_json::json;

use super::{Expires, Targets, expires, failed_at, lock, note, prune, serve, sign_and_put, store};
use crate::{
    cli::{
        CliError,
        output::{bytes, counted, date},
    },
    config::Config,
    policies::{
        key::PolicyKey,
        publish::{Terms, Tree},
        source::Source,
        store::{Before, Store, next_version},
    },
};

/// What to publish, for whom, and how.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    targets: Targets,
    /// Serve it at once.
    #[arg(long)]
    activate: bool,
    /// From when on nodes refuse it: a duration from now, a date, or `never`. By default policies.lifetime.
    #[arg(long, value_name = "WHEN", value_parser = expires)]
    expires: Option<Expires>,
    /// A line about it, for `list`; the nodes can read it.
    #[arg(long, value_name = "TEXT", value_parser = note)]
    note: Option<String>,
    /// Leave out nodes whose newest version has the same files already.
    #[arg(long)]
    if_changed: bool,
    /// Take ids given with --node that no node of the instance has (yet).
    #[arg(long)]
    unknown: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    // Everything that may be wrong first: nothing is changed then.
    PolicyKey::load(&config.policies.key_directory)?;
    let mut nodes = args.targets.to_publish_for(config, args.unknown)?;
    let now = Utc::now();
    let expires = args.expires.unwrap_or(Expires::After(config.policies.lifetime)).from(now)?;
    let source = Source::read(&args.directory)?;
    let tree = Arc::new(Tree::new(source.files().clone()).map_err(CliError::failed)?);

    let store = store(config);
    let writer = lock(config, &store)?;
    let chosen = nodes.len();
    if args.if_changed {
        nodes = changed(&store, nodes, &tree)?;
    }
    let version = next_version(largest(&store, &nodes)?, now);
    let terms = Terms { version, created: now, expires, note: args.note.clone() };
    if !nodes.is_empty() {
        writer.put_tree(tree.files(), tree.lines(), |content| source.open(content)).map_err(|error| {
            match error.kind() {
                io::ErrorKind::ResourceBusy => CliError::failed(format!(
                    "{}: files change while they are read; publish a copy",
                    args.directory.display()
                )),
                _ => failed_at(&config.policies.published, &error),
            }
        })?;
        let nodes_and_trees: Vec<_> = nodes.iter().map(|node| (node.clone(), tree.clone())).collect();
        let signed = sign_and_put(config, &writer, &terms, &nodes_and_trees)?;
        if args.activate {
            serve(config, &writer, &signed, Before::Noted)?;
        }
        prune(config, &writer, &nodes);
    }
    Ok(report(args, &terms, &tree, &nodes, chosen - nodes.len())?)
}

/// The nodes whose newest version has other files.
fn changed(store: &Store, nodes: Vec<NodeId>, tree: &Tree) -> Result<Vec<NodeId>, CliError> {
    let list = tree.lines().digest();
    let mut changed = Vec::new();
    for node in nodes {
        if store.editions(&node)?.last().is_none_or(|newest| newest.list != list) {
            changed.push(node);
        }
    }
    Ok(changed)
}

/// The largest version of any of these nodes.
pub(super) fn largest(store: &Store, nodes: &[NodeId]) -> io::Result<Option<u64>> {
    let mut largest = None;
    for node in nodes {
        largest = largest.max(store.editions(node)?.last().map(|edition| edition.version));
    }
    Ok(largest)
}

fn report(args: &Args, terms: &Terms, tree: &Tree, nodes: &[NodeId], unchanged: usize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let files = tree.files();
    if args.json {
        let version = if nodes.is_empty() { None } else { Some(terms.version) };
        return writeln!(
            out,
            "{}",
            json!({
                "version": version,
                "state": if args.activate { "active" } else { "staged" },
                "files": files.len(),
                "bytes": files.total_size(),
                "created": date(terms.created),
                "expires": terms.expires.map(date),
                "note": terms.note,
                "node_ids": nodes,
                "unchanged": unchanged,
            })
        );
    }
    let size = format!("{}, {}", counted(files.len(), "file"), bytes(files.total_size()));
    if unchanged > 0 {
        writeln!(out, "{} left out: the newest version has these files already", counted(unchanged, "node"))?;
    }
    if nodes.is_empty() {
        return Ok(());
    }
    let (version, number) = (terms.version, counted(nodes.len(), "node"));
    let until = terms.expires.map_or_else(|| "for ever".into(), |time| format!("until {}", date(time)));
    match args.activate {
        true => writeln!(out, "version {version} ({size}) is served to {number}, valid {until}"),
        false => writeln!(
            out,
            "version {version} ({size}) waits for {number}, valid {until}\n\
             look at it with `relayd policy diff NODE`, serve it with `relayd policy activate`"
        ),
    }
}
