// SPDX-License-Identifier: Apache-2.0
//! `/compliance/failing`: what is not as it should be, on which node, what the report says of it, and the log
//! lines attached to it.

use std::collections::{BTreeSet, HashMap};

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Page, Paging, Row, Trouble,
    by_node::{self, NodeCompliance},
    counts::Wanted,
    events::{self, LogLine, Reported},
    moment::show,
    sets::{self, ResultFilter},
    state::Moment,
};
use crate::{
    compliance::status::Status,
    db::{Connection, query::Value},
};

/// A result on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Found {
    /// The node.
    pub node_id: String,
    /// Its host name.
    pub hostname: String,
    /// Start of the run that says so; null where only its results are kept still.
    pub run: Option<String>,
    /// The rule.
    pub rule_id: String,
    /// The directive.
    pub directive_id: String,
    /// Its technique.
    pub policy: String,
    /// The component.
    pub component: String,
    /// The key value.
    pub key_value: String,
    /// What it says: `error`, `audit_noncompliant`…
    pub status: String,
    /// In words; empty where the run is kept no longer.
    pub message: String,
    /// Log lines attached to the report.
    pub logs: Vec<LogLine>,
}

impl Row for Found {
    const COLUMNS: &'static [&'static str] = &[
        "node_id",
        "hostname",
        "run",
        "rule_id",
        "directive_id",
        "policy",
        "component",
        "key_value",
        "status",
        "message",
        "logs",
    ];

    fn cells(&self) -> Vec<String> {
        let found = self.clone();
        let logs: Vec<_> =
            found.logs.iter().map(|log| format!("{} {}", log.event_type, log.message)).collect();
        vec![
            found.node_id,
            found.hostname,
            found.run.unwrap_or_default(),
            found.rule_id,
            found.directive_id,
            found.policy,
            found.component,
            found.key_value,
            found.status,
            found.message,
            logs.join("\n"),
        ]
    }
}

/// Nodes whose runs are read in one go.
const AT_A_TIME: usize = 50;
/// Messages are cut after so many characters: nodes say what they like, and the run has all of it.
const LONGEST: usize = 2000;

/// Results of nodes that answer, by node. A page ends with the node with which its limit is reached: what is
/// wrong on a node is never cut in two.
pub fn failing(c: &mut Connection, ask: &by_node::Ask, paging: &Paging) -> Result<Page<Found>, Trouble> {
    let wanted = match ask.wanted {
        None => Wanted::Failing,
        Some(Wanted::NoAnswer) => {
            return Err(Trouble::Asked(
                "status: nodes that do not answer say nothing here; see by=node".into(),
            ));
        }
        Some(wanted) => wanted,
    };
    let ask = by_node::Ask { wanted: Some(wanted), ..ask.clone() };
    let (mut items, mut after, mut at_a_time) = (Vec::new(), paging.after.clone(), AT_A_TIME);
    loop {
        let nodes = by_node::nodes(c, &ask, &Paging { after: after.clone(), limit: at_a_time })?;
        let Some(mut found) = on(c, &nodes.items, &ask, wanted)? else {
            // Their runs are uncommonly long.
            at_a_time /= 2;
            match nodes.items.first() {
                Some(node) if at_a_time == 0 => return Err(too_long(node)),
                _ => continue,
            }
        };
        if ask.moment.is_past() {
            let gone: Vec<_> = nodes.items.iter().filter(|node| !found.contains_key(&node.node_id)).collect();
            found.extend(of_sets(c, &gone, wanted, &ask.filter)?);
        }
        for (place, node) in nodes.items.iter().enumerate() {
            items.extend(found.remove(&node.node_id).unwrap_or_default());
            if items.len() >= paging.limit {
                let is_last = place + 1 == nodes.items.len() && nodes.next.is_none();
                return Ok(Page { items, next: (!is_last).then(|| Paging::node(&node.node_id)) });
            }
        }
        after = nodes.next;
        if after.is_none() {
            return Ok(Page { items, next: None });
        }
    }
}

fn too_long(node: &NodeCompliance) -> Trouble {
    let most = events::MOST;
    Trouble::Asked(format!(
        "the run of {} has more than {most} rows: ask for a rule or a component",
        node.node_id
    ))
}

/// What is wrong on these nodes; `None` when their runs have more rows than are read.
fn on(
    c: &mut Connection,
    nodes: &[NodeCompliance],
    ask: &by_node::Ask,
    wanted: Wanted,
) -> Result<Option<HashMap<String, Vec<Found>>>, Trouble> {
    let runs = runs_at(c, nodes, &ask.moment)?;
    let types: Vec<_> = Status::ALL.into_iter().filter(|status| wanted.is(*status)).collect();
    let types: Vec<_> = types.into_iter().map(|status| format!("'{}'", status.event_type())).collect();
    let msg = format!(
        "CASE WHEN e.eventtype IN ({}) OR e.eventtype LIKE 'log!_%' ESCAPE '!' \
         THEN substr(e.msg, 1, {LONGEST}) END",
        types.join(", ")
    );
    let Some(rows) = events::of_runs(c, &runs, &ask.filter, &msg)? else { return Ok(None) };
    let starts: HashMap<String, i64> = runs.into_iter().collect();
    let hostnames: HashMap<&str, &str> =
        nodes.iter().map(|node| (node.node_id.as_str(), node.hostname.as_str())).collect();
    let mut found: HashMap<String, Vec<Found>> = HashMap::new();
    for Reported { row, logs } in events::attach(rows) {
        let Some(status) = Status::of(row.event_type()).filter(|status| wanted.is(*status)) else { continue };
        let node = row.nodeid;
        let one = Found {
            hostname: hostnames.get(node.as_str()).copied().unwrap_or_default().to_owned(),
            run: starts.get(&node).copied().map(show),
            node_id: node.clone(),
            rule_id: row.ruleid,
            directive_id: row.directiveid,
            policy: row.policy.unwrap_or_default(),
            component: row.component,
            key_value: row.keyvalue.unwrap_or_default(),
            status: status.column().to_owned(),
            message: row.msg.unwrap_or_default(),
            logs,
        };
        found.entry(node).or_default().push(one);
    }
    Ok(Some(found))
}

/// What was wrong on nodes whose runs are kept no longer, from the state, which is kept for longer than these.
fn of_sets(
    c: &mut Connection,
    nodes: &[&NodeCompliance],
    wanted: Wanted,
    filter: &ResultFilter,
) -> Result<HashMap<String, Vec<Found>>, Trouble> {
    let ids: BTreeSet<i64> = nodes.iter().filter_map(|node| node.set_id).collect();
    let mut by_set = HashMap::new();
    sets::each(c, &Vec::from_iter(ids), |set, results| drop(by_set.insert(set, results)))?;
    let ids: BTreeSet<i64> = by_set.values().flatten().copied().collect();
    let results = sets::results(c, &Vec::from_iter(ids), filter)?;
    let found = nodes.iter().map(|node| {
        let ids = node.set_id.and_then(|set| by_set.get(&set)).into_iter().flatten();
        let wrong = ids.filter_map(|id| {
            let result = results.get(id)?;
            let status = Status::of(&result.eventtype).filter(|status| wanted.is(*status))?;
            Some(Found {
                node_id: node.node_id.clone(),
                hostname: node.hostname.clone(),
                run: None,
                rule_id: result.ruleid.clone(),
                directive_id: result.directiveid.clone(),
                policy: result.policy.clone(),
                component: result.component.clone(),
                key_value: result.keyvalue.clone(),
                status: status.column().to_owned(),
                message: String::new(),
                logs: Vec::new(),
            })
        });
        (node.node_id.clone(), wrong.collect())
    });
    Ok(found.collect())
}

#[derive(QueryableByName)]
struct RunRow {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    start: Option<i64>,
}

/// The start of the latest complete run of each node, at an instant.
fn runs_at(
    c: &mut Connection,
    nodes: &[NodeCompliance],
    moment: &Moment,
) -> Result<Vec<(String, i64)>, Trouble> {
    if !moment.is_past() {
        return Ok(nodes.iter().filter_map(|node| Some((node.node_id.clone(), node.last?))).collect());
    }
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<_> = (1..=nodes.len()).map(|place| format!("${place}")).collect();
    let ids: Vec<_> = nodes.iter().map(|node| Value::Text(&node.node_id)).collect();
    let sql = format!(
        "SELECT n.nodeid, (SELECT {} FROM reportsexecution r WHERE r.nodeid = n.nodeid AND r.date <= {} \
         ORDER BY r.date DESC LIMIT 1) AS start FROM node n WHERE n.nodeid IN ({})",
        c.unix_time("r.date"),
        c.timestamp(&moment.at.timestamp().to_string()),
        places.join(", ")
    );
    let rows: Vec<RunRow> = c.rows(&sql, &ids)?;
    let began: HashMap<&str, Option<i64>> =
        nodes.iter().map(|node| (node.node_id.as_str(), node.began)).collect();
    // One before its segment said something else: the runs of the segment are not kept any more.
    let is_of_segment = |row: &RunRow| row.start >= began.get(row.nodeid.as_str()).copied().flatten();
    let rows = rows.into_iter().filter(is_of_segment);
    Ok(rows.filter_map(|row| Some((row.nodeid, row.start?))).collect())
}
