// SPDX-License-Identifier: Apache-2.0
//! What `relayd node` prints: a table for people, JSON for programs.

use std::{
    io::{self, Write},
    time::Duration,
};

use chrono::{DateTime, Utc};

use crate::{
    cli::output::{counted, date, short},
    registry::record::{CertificateRecord, ConflictRecord, KeyRecord, NodeDetails, NodeRecord},
    spool::disposition::printable,
};

/// Prints a table, or one JSON object per line.
pub fn list(out: &mut impl Write, nodes: &[NodeRecord], json: bool) -> io::Result<()> {
    if json {
        for node in nodes {
            serde_json::to_writer(&mut *out, node)?;
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    let now = Utc::now();
    if !nodes.is_empty() {
        writeln!(
            out,
            "{:<36}  {:<8}  {:<5}  {:>4}  {:<52}  NAME",
            "ID", "STATE", "ROLE", "SEEN", "FINGERPRINT"
        )?;
    }
    for node in nodes {
        let seen = node.last_contact.map_or_else(|| "-".into(), |time| age(now, time));
        let key = node.key_hash.as_ref().map_or_else(|| "-".into(), ToString::to_string);
        let (id, state, role) = (node.node_id.as_str(), node.state.as_str(), role(node));
        write!(out, "{id:<36}  {state:<8}  {role:<5}  {seen:>4}  {key:<52}  {}", printable(&node.hostname))?;
        match node.open_conflicts {
            0 => writeln!(out)?,
            1 => writeln!(out, "  (1 conflict)")?,
            several => writeln!(out, "  ({several} conflicts)")?,
        }
    }
    writeln!(out, "{}", counted(nodes.len(), "node"))
}

/// Prints all about one node; `above` are the servers between it and the root, its own one first.
pub fn show(out: &mut impl Write, details: &NodeDetails, above: &[NodeRecord], json: bool) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, details)?;
        return out.write_all(b"\n");
    }
    let NodeDetails { node, keys, certificates, conflicts } = details;
    writeln!(out, "node         {}", node.node_id)?;
    writeln!(out, "host name    {}", printable(&node.hostname))?;
    writeln!(out, "state        {}{}", node.state, decided(node))?;
    writeln!(out, "role         {}", role(node))?;
    writeln!(out, "connects to  {}{}", node.policy_server, place(above))?;
    let from = node.address.as_deref().map(|address| format!(" from {}", printable(address)));
    writeln!(out, "first asked  {}{}", date(node.requested), from.unwrap_or_default())?;
    writeln!(out, "last seen    {}", node.last_contact.map_or_else(|| "never".into(), date))?;
    keys.iter().try_for_each(|key| show_key(out, key))?;
    certificates.iter().try_for_each(|certificate| show_certificate(out, certificate))?;
    conflicts.iter().try_for_each(|conflict| show_conflict(out, conflict))
}

/// What a node is for others, for people.
fn role(node: &NodeRecord) -> &'static str {
    if node.node_id.is_root() { "root" } else { node.role.as_str() }
}

/// The way to the root, by host names.
fn place(above: &[NodeRecord]) -> String {
    let names: Vec<_> = above.iter().map(|server| printable(&server.hostname)).collect();
    if names.is_empty() { String::new() } else { format!("  ({})", names.join(", then ")) }
}

fn decided(node: &NodeRecord) -> String {
    match (node.decided, &node.decided_by) {
        (None, _) => String::new(),
        (Some(at), None) => format!(" since {}", date(at)),
        (Some(at), Some(by)) => format!(" since {}, by {}", date(at), printable(by)),
    }
}

fn show_key(out: &mut impl Write, key: &KeyRecord) -> io::Result<()> {
    let since = date(key.added);
    match key.valid_until {
        None => writeln!(out, "fingerprint  {}  since {since}", key.key_hash),
        Some(end) if end > Utc::now() => {
            writeln!(out, "replaced     {}  since {since}, still valid until {}", key.key_hash, date(end))
        }
        Some(end) => writeln!(out, "retired      {}  since {since}, valid until {}", key.key_hash, date(end)),
    }
}

fn show_certificate(out: &mut impl Write, certificate: &CertificateRecord) -> io::Result<()> {
    let (begin, end) = (date(certificate.not_before), date(certificate.not_after));
    let (fingerprint, source) = (printable(&certificate.fingerprint), printable(&certificate.source));
    writeln!(out, "certificate  {fingerprint}  from the {source}, valid {begin} to {end}")
}

fn show_conflict(out: &mut impl Write, conflict: &ConflictRecord) -> io::Result<()> {
    let (first, last) = (date(conflict.first_seen), date(conflict.last_seen));
    writeln!(out, "conflict     {}: {}", conflict.kind.as_str(), printable(&conflict.detail))?;
    if let Some(key) = &conflict.key_hash {
        writeln!(out, "             key {key}")?;
    }
    if let Some(address) = &conflict.address {
        writeln!(out, "             from {}", printable(address))?;
    }
    let settled = match (conflict.resolved, &conflict.resolved_by) {
        (None, _) => "open".to_owned(),
        (Some(at), None) => format!("settled {}", date(at)),
        (Some(at), Some(by)) => format!("settled {} by {}", date(at), printable(by)),
    };
    writeln!(out, "             {} times, {first} to {last}; {settled}", conflict.count)
}

fn age(now: DateTime<Utc>, then: DateTime<Utc>) -> String {
    // From the future by a little: another root's clock.
    short((now - then).to_std().unwrap_or(Duration::ZERO))
}
