// SPDX-License-Identifier: Apache-2.0
//! Questions about inventories: of one node, how it changed, and of all nodes for other programs.

use chrono::Utc;
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary, Nullable, Text},
};
use schemars::JsonSchema;
use serde::Serialize;

pub use super::sections::Wanted;
use super::{
    bucket,
    changes::{self, Change},
    stored::{self, Besides, Sections},
};
use crate::{
    db::{Connection, query::Value},
    fleet::{Page, Paging, Row, Trouble, conditions::Conditions, moment::show, node},
};

/// What a node says of itself.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NodeInventory {
    /// The node.
    pub node_id: String,
    /// When the first inventory in a row was made that says so; RFC 3339.
    pub since: String,
    /// When the last one was.
    pub made: String,
    /// When that came; absent for the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<String>,
    /// SHA-256 of the document, hexadecimal; absent for the past.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What it says, by section: facts such as `hardware` and `networks`, `packages`, and for the present
    /// `software_updates` and `momentary`.
    pub sections: Sections,
}

/// What a node says of itself, now or at an instant (Unix time).
pub fn inventory(
    c: &mut Connection,
    node: &str,
    at: Option<i64>,
    wanted: &Wanted,
) -> Result<NodeInventory, Trouble> {
    let Some(held) = stored::held_at(c, node, at.unwrap_or(i64::MAX))? else {
        return Err(missing(c, node, at)?);
    };
    let besides = match at {
        None => stored::besides(c, node)?,
        Some(_) => None,
    };
    let mut sections = if wanted.needs_facts() { stored::facts(c, held.facts_id)? } else { Sections::new() };
    if let Some(besides) = &besides {
        besides.add_to(&mut sections)?;
    }
    if wanted.is("packages") {
        let ids = stored::package_ids(c, bucket::ids(&held.chunks))?;
        let packages = serde_json::to_value(stored::packages(c, &ids)?);
        sections.insert("packages".into(), packages.map_err(|e| Trouble::Internal(e.to_string()))?);
    }
    sections.retain(|name, _| wanted.is(name));
    Ok(NodeInventory {
        node_id: node.to_owned(),
        since: show(held.since),
        made: show(held.last),
        received: besides.as_ref().map(|besides| show(besides.received)),
        digest: besides.as_ref().map(|besides: &Besides| hex::encode(&besides.digest)),
        sections,
    })
}

/// Why there is no inventory of a node, or none of an instant.
fn missing(c: &mut Connection, node: &str, at: Option<i64>) -> Result<Trouble, Trouble> {
    node::must_be_named(c, Some(node))?;
    let is_any = stored::held_at(c, node, i64::MAX)?.is_some();
    Ok(Trouble::Missing(match at.filter(|_| is_any) {
        Some(at) => format!("no inventory of {node:?} is as old as {}", show(at)),
        None => format!("no inventory of {node:?} is stored"),
    }))
}

/// How a node changed, the last change first. `after`: the time of a change, RFC 3339 or Unix.
pub fn changes(c: &mut Connection, node: &str, paging: &Paging) -> Result<Page<Change>, Trouble> {
    let before = match &paging.after {
        None => i64::MAX,
        Some(after) => crate::fleet::moment::parse(after, Utc::now())?.timestamp(),
    };
    // A change has a state before and one after it: one more than changes, and one to know of a next page.
    let states = stored::timeline(c, node, before, paging.limit + 2)?;
    if states.is_empty() && paging.after.is_none() {
        return Err(missing(c, node, None)?);
    }
    let changes = states.windows(2).map(|pair| {
        let (new, old) = (&pair[0], &pair[1]);
        let (packages, facts) = changes::between(c, old, new)?;
        Ok(Change { before: show(old.last), at: show(new.since), packages, facts })
    });
    changes::page(changes, paging.limit, MOST_BYTES)
}

/// The newest inventory of a node, in short.
#[derive(Debug, Clone, Serialize, JsonSchema, QueryableByName)]
pub struct Summary {
    /// The node.
    #[diesel(sql_type = Text)]
    pub node_id: String,
    /// What it calls itself.
    #[diesel(sql_type = Text)]
    pub hostname: String,
    /// Operating system in words.
    #[diesel(sql_type = Text)]
    pub os: String,
    /// Its name.
    #[diesel(sql_type = Text)]
    pub os_name: String,
    /// Its version.
    #[diesel(sql_type = Text)]
    pub os_version: String,
    /// Architecture.
    #[diesel(sql_type = Text)]
    pub arch: String,
    /// Release of the kernel.
    #[diesel(sql_type = Text)]
    pub kernel: String,
    /// Kind of agent.
    #[diesel(sql_type = Text)]
    pub agent: String,
    /// Its version.
    #[diesel(sql_type = Text)]
    pub agent_version: String,
    /// When the inventory was made; RFC 3339.
    #[diesel(embed)]
    #[serde(flatten)]
    pub times: Times,
}

/// Times of an inventory.
#[derive(Debug, Clone, Serialize, JsonSchema, QueryableByName)]
pub struct Times {
    /// When it was made; RFC 3339.
    #[diesel(sql_type = BigInt)]
    #[serde(serialize_with = "as_date")]
    #[schemars(with = "String")]
    pub made: i64,
    /// When it came.
    #[diesel(sql_type = BigInt)]
    #[serde(serialize_with = "as_date")]
    #[schemars(with = "String")]
    pub received: i64,
    /// Since when it says what it says, but for what changes each time.
    #[diesel(sql_type = BigInt)]
    #[serde(serialize_with = "as_date")]
    #[schemars(with = "String")]
    pub since: i64,
}

fn as_date<S: serde::Serializer>(time: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&show(*time))
}

impl Row for Summary {
    const COLUMNS: &'static [&'static str] = &[
        "node_id",
        "hostname",
        "os",
        "os_name",
        "os_version",
        "arch",
        "kernel",
        "agent",
        "agent_version",
        "made",
        "received",
        "since",
    ];

    fn cells(&self) -> Vec<String> {
        let Self { node_id, hostname, os, os_name, os_version, arch, kernel, agent, agent_version, times } =
            self;
        let texts = [node_id, hostname, os, os_name, os_version, arch, kernel, agent, agent_version];
        let times = [times.made, times.received, times.since];
        texts.into_iter().cloned().chain(times.into_iter().map(show)).collect()
    }
}

/// Which nodes.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Whose host name is like this: `*` is any text, `?` any character.
    pub name: Option<String>,
    /// Whose operating system is like this, in words.
    pub os: Option<String>,
}

impl Filter {
    fn conditions(&self, after: Option<&str>) -> Conditions {
        let mut which = Conditions::default();
        which.inventories_of(None);
        which.is("nodeid > {}", after);
        which.is_like("hostname", self.name.as_deref());
        which.is_like("os_full_name", self.os.as_deref());
        which
    }
}

const SUMMARY: &str = "nodeid AS node_id, hostname, os_full_name AS os, os_name, os_version, arch, kernel, agent, \
                       agent_version, made, received, since";

/// The newest inventories in short, by node.
pub fn summaries(c: &mut Connection, filter: &Filter, paging: &Paging) -> Result<Page<Summary>, Trouble> {
    let which = filter.conditions(paging.after_node()?.as_deref());
    let sql = format!(
        "SELECT {SUMMARY} FROM inventory WHERE {} ORDER BY nodeid LIMIT {}",
        which.sql(),
        paging.limit + 1
    );
    let rows: Vec<Summary> = c.rows(&sql, &which.values())?;
    Ok(Page::cut(rows, paging.limit, |one| Paging::node(&one.node_id)))
}

#[derive(QueryableByName)]
struct FactsRow {
    #[diesel(embed)]
    summary: Summary,
    #[diesel(sql_type = Text)]
    chunks: String,
    #[diesel(sql_type = Binary)]
    facts: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    updates: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    volatile: Option<Vec<u8>>,
}

/// A node for other programs: what is known of it in short, and its sections.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Line {
    #[serde(flatten)]
    summary: Summary,
    /// What it says, by section.
    sections: Sections,
}

/// Most bytes of one answer: what is larger comes in more pages.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Nodes that are read at a time.
const AT_A_TIME: usize = 100;
/// Sections that other programs get when they do not say which they want: all but those that are large.
const LEFT_OUT: [&str; 2] = ["packages", "momentary"];

/// Nodes for other programs, one JSON object in each line; and what asks for more.
pub fn lines(
    c: &mut Connection,
    filter: &Filter,
    wanted: &Wanted,
    paging: &Paging,
) -> Result<(Vec<u8>, Option<String>), Trouble> {
    let (mut out, mut count) = (Vec::new(), 0);
    let mut after = paging.after_node()?;
    let next = |after: Option<String>| after.as_deref().map(Paging::node);
    loop {
        let limit = AT_A_TIME.min(paging.limit - count);
        let which = filter.conditions(after.as_deref());
        let sql = format!(
            "SELECT {SUMMARY}, chunks, f.content AS facts, u.content AS updates, {} AS volatile \
             FROM (SELECT * FROM inventory WHERE {} ORDER BY nodeid LIMIT {}) AS i \
             JOIN inventory_facts f ON f.id = i.facts_id \
             LEFT JOIN inventory_updates u ON u.id = i.updates_id ORDER BY nodeid",
            // Large, and seldom wanted.
            if wanted.names("momentary") { "volatile" } else { "NULL" },
            which.sql(),
            limit
        );
        let rows: Vec<FactsRow> = c.rows(&sql, &which.values())?;
        let is_last = rows.len() < limit;
        for row in rows {
            let id = row.summary.node_id.clone();
            serde_json::to_writer(&mut out, &line(c, row, wanted)?)
                .map_err(|e| Trouble::Internal(e.to_string()))?;
            out.push(b'\n');
            after = Some(id);
            count += 1;
            if out.len() >= MOST_BYTES {
                return Ok((out, next(after)));
            }
        }
        if is_last {
            return Ok((out, None));
        }
        if count >= paging.limit {
            return Ok((out, next(after)));
        }
    }
}

fn line(c: &mut Connection, row: FactsRow, wanted: &Wanted) -> Result<Line, Trouble> {
    let mut sections: Sections = match stored::unpack(&row.facts)? {
        serde_json::Value::Object(members) => members.into_iter().collect(),
        _ => Sections::new(),
    };
    if let Some(updates) = &row.updates {
        sections.insert("software_updates".into(), stored::unpack(updates)?);
    }
    if let Some(momentary) = &row.volatile {
        sections.insert("momentary".into(), stored::unpack(momentary)?);
    }
    let is_wanted = |name: &str| wanted.names(name) || (wanted.is_all() && !LEFT_OUT.contains(&name));
    if is_wanted("packages") {
        let ids = stored::package_ids(c, bucket::ids(&row.chunks))?;
        let packages = serde_json::to_value(stored::packages(c, &ids)?);
        sections.insert("packages".into(), packages.map_err(|e| Trouble::Internal(e.to_string()))?);
    }
    sections.retain(|name, _| is_wanted(name));
    Ok(Line { summary: row.summary, sections })
}

/// Whether there is an inventory of a node.
pub fn is_there(c: &mut Connection, node: &str) -> Result<bool, Trouble> {
    let sql = "SELECT count(*) AS number FROM inventory WHERE nodeid = $1";
    Ok(c.number(sql, &[Value::Text(node)])? > 0)
}
