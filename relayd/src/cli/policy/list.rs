// SPDX-License-Identifier: Apache-2.0
//! `relayd policy list`.

use std::{
    collections::BTreeSet,
    io::{self, BufWriter, Write},
};

use chrono::{DateTime, Utc};
use protocol::{node_id::NodeId, policy_manifest::Manifest};
use serde_json::json;

use super::{
    store,
    targets::{Known, find_published},
};
use crate::{
    cli::{
        CliError,
        output::{bytes, counted, date},
    },
    config::Config,
    policies::store::{Edition, Store},
    spool::disposition::printable,
};

/// Which versions.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// All versions of these nodes: ids, the first 8 or more characters of them, or host names.
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
}

/// A version of a node.
struct Row {
    node: NodeId,
    /// Its host name; `None` when it does not belong to the instance.
    name: Option<String>,
    edition: Edition,
    state: State,
    /// Without the files; what is wrong when it cannot be read.
    head: Result<Manifest, String>,
    files: usize,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Served.
    Active,
    /// Newer than that.
    Staged,
    /// Older.
    Former,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Staged => "staged",
            Self::Former => "former",
        }
    }
}

pub fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let store = store(config);
    let there: BTreeSet<NodeId> = store.nodes()?.into_iter().collect();
    let known = Known::read(config)?;
    let nodes = match args.nodes.is_empty() {
        true => there.into_iter().collect(),
        false => {
            let find = |text: &String| find_published(&known, &there, text);
            args.nodes.iter().map(find).collect::<Result<Vec<_>, _>>()?
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    if !args.json {
        print_header(&mut out)?;
    }
    let (mut versions, now) = (0, Utc::now());
    for node in &nodes {
        for mut row in rows(&store, node, !args.nodes.is_empty())? {
            versions += 1;
            row.name = known.host_name(node).map(str::to_owned);
            if args.json { print_json(&mut out, &row)? } else { print_row(&mut out, &row, now)? }
        }
    }
    if !args.json {
        writeln!(out, "{} of {}", counted(versions, "version"), counted(nodes.len(), "node"))?;
    }
    out.flush()?;
    match versions {
        0 if !args.nodes.is_empty() => Err(CliError::nothing("nothing is published for these nodes")),
        _ => Ok(()),
    }
}

/// Newest first. A version that goes while it is read is left out.
fn rows(store: &Store, node: &NodeId, former: bool) -> io::Result<Vec<Row>> {
    let active = store.active_edition(node)?;
    let mut rows = Vec::new();
    for edition in store.editions(node)?.into_iter().rev() {
        let state = match active {
            Some(active) if active == edition => State::Active,
            Some(active) if active.version > edition.version => State::Former,
            _ => State::Staged,
        };
        if state == State::Former && !former {
            break;
        }
        let published = store.published(node, edition);
        let head = match published.head() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            head => head.map_err(|error| error.to_string()),
        };
        let files = published.files();
        let (number, bytes) = files.as_ref().map_or((0, 0), |files| (files.len(), files.total_size()));
        let head = head.and_then(|head| files.map(|_| head).map_err(|error| error.to_string()));
        rows.push(Row { node: node.clone(), name: None, edition, state, head, files: number, bytes });
    }
    Ok(rows)
}

fn print_header(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<36}  {:<16}  {:<6}  {:>6}  {:>9}  {:<20}  {:<20}  {:<20}  NOTE",
        "NODE", "VERSION", "STATE", "FILES", "SIZE", "PUBLISHED", "EXPIRES", "NAME"
    )
}

fn print_row(out: &mut impl Write, row: &Row, now: DateTime<Utc>) -> io::Result<()> {
    let Row { node, edition, state, head, .. } = row;
    write!(out, "{:<36}  {:<16}  {:<6}  ", node.as_str(), edition.version, state.as_str())?;
    let head = match head {
        Ok(head) => head,
        Err(why) => return writeln!(out, "cannot be read: {}", printable(why)),
    };
    let expires = match head.expires() {
        None => "never".into(),
        Some(time) if time <= now => format!("{} (over)", date(time)),
        Some(time) => date(time),
    };
    let note = head.note().map(printable).unwrap_or_default();
    let (files, size, created) = (row.files, bytes(row.bytes), date(head.created()));
    let name = row.name.as_deref().map_or("-".into(), printable);
    let line = format!("{files:>6}  {size:>9}  {created:<20}  {expires:<20}  {name:<20}  {note}");
    writeln!(out, "{}", line.trim_end())
}

fn print_json(out: &mut impl Write, row: &Row) -> io::Result<()> {
    let head = row.head.as_ref().ok();
    let object = json!({
        "node_id": row.node,
        "hostname": row.name,
        "version": row.edition.version,
        "state": row.state.as_str(),
        "files": row.files,
        "bytes": row.bytes,
        "created": head.map(|head| date(head.created())),
        "expires": head.and_then(Manifest::expires).map(date),
        "note": head.and_then(Manifest::note),
        "error": row.head.as_ref().err(),
    });
    writeln!(out, "{object}")
}
