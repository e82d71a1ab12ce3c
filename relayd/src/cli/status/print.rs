// SPDX-License-Identifier: Apache-2.0
//! What the daemon says of itself, for people. It may be of another version: what it does not say is left out.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde_json::Value;

use crate::{
    cli::{
        finding,
        output::{bytes, short},
    },
    finding::Finding,
    spool::disposition::printable,
};

/// One JSON document.
pub fn json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// A line for each part, then the problems.
pub fn human(out: &mut impl Write, told: &Value, problems: &[Finding]) -> io::Result<()> {
    let server = &told["server"];
    writeln!(
        out,
        "{} {}, {} {}, started {}",
        if problems.is_empty() { "healthy:" } else { "degraded:" },
        text(&server["version"]),
        text(&server["role"]),
        text(&server["nodeId"]),
        text(&server["started"])
    )?;
    for spool in ["reports", "inventories", "inventory-updates"] {
        if told[spool].is_object() {
            line(out, spool, &waiting(&told[spool], &told["rates"]["spools"][spool]))?;
        }
    }
    if let Some(host) = told["uplink"]["host"].as_str() {
        line(out, "uplink", &format!("{host}: {}", state(&told["uplink"])))?;
    }
    for part in ["database", "configuration", "cache"] {
        if told[part].is_object() {
            line(out, part, state(&told[part]))?;
        }
    }
    if told["nodes"].is_object() {
        let nodes = &told["nodes"];
        let said = format!(
            "{} known, {} attached here, by {}",
            nodes["known"],
            nodes["direct"],
            text(&nodes["source"])
        );
        line(out, "nodes", &format!("{said}: {}", state(nodes)))?;
    }
    for certificate in list(&told["certificates"]["list"]) {
        let said = format!(
            "{} until {} ({} days), {}",
            text(&certificate["name"]),
            text(&certificate["notAfter"]),
            certificate["daysLeft"],
            text(&certificate["file"])
        );
        line(out, "certificate", &said)?;
    }
    for system in list(&told["disk"]["fileSystems"]) {
        line(out, "disk", &room(system))?;
    }
    if !problems.is_empty() {
        writeln!(out)?;
    }
    problems.iter().try_for_each(|problem| finding::print(out, problem))
}

fn waiting(spool: &Value, rates: &Value) -> String {
    let mut said = format!("{} waiting", spool["depth"]);
    if let Some(age @ 1..) = spool["oldestAgeSeconds"].as_u64() {
        said += &format!(", the oldest for {}", short(Duration::from_secs(age)));
    }
    said += &format!(", {} in delivery, {} failed", spool["inFlight"], spool["failed"]);
    if let Some(rate) = rates["acceptedPerSecond"].as_f64() {
        said += &format!("; {rate:.1} delivered per second");
    }
    format!("{said}: {}", state(spool))
}

fn room(system: &Value) -> String {
    let number = |member: &str| system[member].as_u64().unwrap_or_default();
    let path = list(&system["paths"]).first().map_or("-", |path| text(path));
    let inodes = match number("inodes") {
        0 => String::new(),
        all => format!(", {} % of inodes left", number("availableInodes") * 100 / all),
    };
    format!("{path}: {} % used, {} left{inodes}", number("usedPercent"), bytes(number("availableBytes")))
}

fn line(out: &mut impl Write, part: &str, said: &str) -> io::Result<()> {
    writeln!(out, "  {part:<18} {}", printable(said))
}

fn state(part: &Value) -> &'static str {
    if part["status"] == "error" { "in error" } else { "ok" }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
