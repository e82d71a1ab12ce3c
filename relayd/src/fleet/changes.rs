// SPDX-License-Identifier: Apache-2.0
//! `/changes`: what is other at one instant than at an earlier one. What changed and changed back in between
//! is in the timelines of nodes.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
};

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Page, Paging, Row, Trouble,
    conditions::Conditions,
    differences::{self, Difference, Different, Pair},
    moment::show,
    sets::ResultFilter,
    since::{self, Within},
    state::Moment,
};
use crate::{db::Connection, packages::pages::page};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The earlier instant.
    pub from: Moment,
    /// The later one.
    pub to: Moment,
    /// On this node only.
    pub node: Option<String>,
    /// Of these results; with a filter it is not said which nodes went silent or came back.
    pub filter: ResultFilter,
}

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A result of the node.
    Result,
    /// The node: it answered, and does not any more.
    WentSilent,
    /// The node: it answers, and did not before.
    CameBack,
    /// The node: it answers, and no earlier run of it is known.
    New,
}

/// A change on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Change {
    /// The node.
    pub node_id: String,
    /// Its host name.
    pub hostname: String,
    /// What changed.
    pub kind: Kind,
    /// Since when it is so: start of the first run of those in a row that say this of the result, or that the
    /// node answers with; or of the last run before it went silent.
    pub since: Option<String>,
    /// Which result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Difference>,
}

/// The same change on some nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SameChange {
    /// What changed; its key value is left out.
    #[serde(flatten)]
    pub result: Difference,
    /// On how many nodes.
    pub nodes: i64,
    /// Host names of some of them.
    pub among: Vec<String>,
}

impl Kind {
    /// As in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Result => "result",
            Self::WentSilent => "went_silent",
            Self::CameBack => "came_back",
            Self::New => "new",
        }
    }
}

impl Row for Change {
    const COLUMNS: &'static [&'static str] = &[
        "node_id",
        "hostname",
        "kind",
        "since",
        "rule_id",
        "directive_id",
        "policy",
        "component",
        "key_value",
        "was",
        "is",
    ];

    fn cells(&self) -> Vec<String> {
        let change = self.clone();
        let mut cells = vec![
            change.node_id,
            change.hostname,
            change.kind.as_str().into(),
            change.since.unwrap_or_default(),
        ];
        cells.extend(match change.result {
            None => vec![String::new(); 7],
            Some(result) => result.cells(),
        });
        cells
    }
}

impl Row for SameChange {
    const COLUMNS: &'static [&'static str] =
        &["rule_id", "directive_id", "policy", "component", "was", "is", "nodes", "among"];

    fn cells(&self) -> Vec<String> {
        let mut cells = self.result.cells();
        cells.remove(4);
        cells.extend([self.nodes.to_string(), self.among.join(" ")]);
        cells
    }
}

impl Difference {
    fn cells(&self) -> Vec<String> {
        let one = self.clone();
        let (was, is) = (one.was.unwrap_or_default(), one.is.unwrap_or_default());
        vec![one.rule_id, one.directive_id, one.policy, one.component, one.key_value, was, is]
    }
}

#[derive(QueryableByName)]
struct ChangedRow {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Text)]
    hostname: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    was: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    is_now: Option<i64>,
    #[diesel(sql_type = BigInt)]
    answered: i64,
    #[diesel(sql_type = BigInt)]
    answers: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    since: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
}

impl ChangedRow {
    fn pair(&self) -> Pair {
        (self.was, self.is_now)
    }

    /// What changed of the node itself.
    fn kind(&self) -> Option<Kind> {
        match (self.answered, self.answers, self.was) {
            (0, 1, None) => Some(Kind::New),
            (0, 1, Some(_)) => Some(Kind::CameBack),
            (1, 0, _) => Some(Kind::WentSilent),
            _ => None,
        }
    }

    /// Since when the node has these results, and `answers`.
    fn since(
        &self,
        c: &mut Connection,
        ask: &Ask,
        results: &[Different],
        answers: bool,
    ) -> Result<Option<since::Since>, Trouble> {
        let Some(newest) = self.since.filter(|_| answers || !results.is_empty()) else { return Ok(None) };
        let (from, freshness) = (ask.from.at.timestamp(), ask.to.freshness());
        let within = Within { node: &self.nodeid, from, newest, freshness };
        let ids: Vec<i64> = results.iter().map(|one| one.result).collect();
        Ok(Some(since::since(c, within, &ids, answers)?))
    }
}

/// Nodes that are looked at in one go.
const AT_A_TIME: usize = 1000;

/// Changes, by node. A page ends with the node with which its limit is reached.
pub fn by_node(c: &mut Connection, ask: &Ask, paging: &Paging) -> Result<Page<Change>, Trouble> {
    let (mut items, mut after) = (Vec::new(), paging.after_node()?);
    loop {
        let rows = changed(c, ask, after.as_deref(), AT_A_TIME)?;
        let is_end = rows.len() < AT_A_TIME;
        after = rows.last().map(|row| row.nodeid.clone());
        let found = differences::between(c, &pairs(&rows), &ask.filter)?;
        for row in rows {
            let node = row.nodeid.clone();
            items.extend(of_node(c, ask, row, &found)?);
            if items.len() >= paging.limit {
                let is_last = is_end && Some(&node) == after.as_ref();
                return Ok(Page { items, next: (!is_last).then(|| Paging::node(&node)) });
            }
        }
        if is_end {
            return Ok(Page { items, next: None });
        }
    }
}

fn of_node(
    c: &mut Connection,
    ask: &Ask,
    row: ChangedRow,
    found: &HashMap<Pair, Vec<Different>>,
) -> Result<Vec<Change>, Trouble> {
    let kind = row.kind().filter(|_| ask.filter.is_all());
    let results = found.get(&row.pair()).map_or(&[][..], Vec::as_slice);
    let answers = matches!(kind, Some(Kind::New | Kind::CameBack));
    let since = row.since(c, ask, results, answers)?;
    let change = |kind, since: Option<i64>, result| Change {
        node_id: row.nodeid.clone(),
        hostname: row.hostname.clone(),
        kind,
        since: since.map(show),
        result,
    };
    let node = kind.map(|kind| match kind {
        Kind::WentSilent => change(kind, row.last, None),
        _ => change(kind, since.as_ref().map(|since| since.answers), None),
    });
    let results = results.iter().map(|one| {
        let since = since.as_ref().and_then(|since| since.results.get(&one.result)).copied();
        change(Kind::Result, since, Some(one.difference.clone()))
    });
    Ok(node.into_iter().chain(results).collect())
}

/// Host names that are named of each change.
const NAMED: usize = 5;
/// Nodes that are compared in one go.
const MANY: usize = 2000;

/// Changes of results, put together over nodes, those of most nodes first.
pub fn by_component(c: &mut Connection, ask: &Ask, paging: &Paging) -> Result<Page<SameChange>, Trouble> {
    let mut same: HashMap<Difference, (i64, Vec<String>)> = HashMap::new();
    let mut after = None;
    loop {
        let rows = changed(c, ask, after.as_deref(), MANY)?;
        let is_end = rows.len() < MANY;
        after = rows.last().map(|row| row.nodeid.clone());
        let found = differences::between(c, &pairs(&rows), &ask.filter)?;
        for row in rows {
            let of_node = found.get(&row.pair()).into_iter().flatten();
            // A node counts once, however many key values of the component changed.
            let of_node: BTreeSet<Difference> = of_node
                .map(|one| Difference { key_value: String::new(), ..one.difference.clone() })
                .collect();
            for one in of_node {
                let (nodes, among) = same.entry(one).or_default();
                *nodes += 1;
                if among.len() < NAMED {
                    among.push(row.hostname.clone());
                }
            }
        }
        if is_end {
            break;
        }
    }
    let items = same.into_iter().map(|(result, (nodes, among))| SameChange { result, nodes, among });
    page(items.collect(), paging, |one| (Reverse(one.nodes), one.result.clone()))
}

fn pairs(rows: &[ChangedRow]) -> Vec<Pair> {
    let pairs: std::collections::HashSet<Pair> =
        rows.iter().map(ChangedRow::pair).filter(|(was, is)| was != is).collect();
    pairs.into_iter().collect()
}

/// Nodes that are other than they were.
fn changed(
    c: &mut Connection,
    ask: &Ask,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<ChangedRow>, Trouble> {
    let mut which = Conditions::default();
    which.is("a.nodeid = {}", ask.node.as_deref());
    which.is("a.nodeid > {}", after);
    let sql = format!(
        "SELECT a.nodeid, a.hostname, a.set_id AS was, b.set_id AS is_now, CAST(a.answers AS bigint) AS answered, \
         CAST(b.answers AS bigint) AS answers, b.since, b.last \
         FROM (SELECT * FROM {}) a JOIN (SELECT * FROM {}) b ON b.nodeid = a.nodeid \
         WHERE (coalesce(a.set_id, 0) <> coalesce(b.set_id, 0) OR a.answers <> b.answers) AND {} \
         ORDER BY a.nodeid LIMIT {limit}",
        ask.from.relation(c),
        ask.to.relation(c),
        which.sql()
    );
    Ok(c.rows(&sql, &which.values())?)
}
