// SPDX-License-Identifier: Apache-2.0
//! `/compliance?by=node`: how each accepted node is.

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Page, Paging, Row, Trouble,
    conditions::Conditions,
    counts::{Counts, OF_SET, Wanted, percent},
    moment::show,
    nodes::NodeStatus,
    sets::{self, ResultFilter},
    state::Moment,
};
use crate::db::Connection;

/// How a node is, or was.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct NodeCompliance {
    /// The node.
    pub node_id: String,
    /// Its host name.
    pub hostname: String,
    /// How it is.
    pub status: NodeStatus,
    /// Start of the last run of the segment.
    #[serde(skip)]
    pub last: Option<i64>,
    /// Start of its first run.
    #[serde(skip)]
    pub began: Option<i64>,
    /// What all its runs said.
    #[serde(skip)]
    pub set_id: Option<i64>,
    /// Start of its latest run; of the past it is not always known.
    pub last_run: Option<String>,
    /// Since when its results are what they are.
    pub since: Option<String>,
    /// Results that are as they should be, of 100.
    pub compliance: Option<f64>,
    /// Its results.
    pub results: Counts,
}

impl Row for NodeCompliance {
    const COLUMNS: &'static [&'static str] = &[
        "node_id",
        "hostname",
        "status",
        "last_run",
        "since",
        "compliance",
        "success",
        "repaired",
        "error",
        "na",
        "audit_compliant",
        "audit_noncompliant",
        "audit_error",
        "audit_na",
        "no_answer",
    ];

    fn cells(&self) -> Vec<String> {
        let node = self.clone();
        let mut cells = vec![
            node.node_id,
            node.hostname,
            node.status.as_str().into(),
            node.last_run.unwrap_or_default(),
            node.since.unwrap_or_default(),
            percent(node.compliance),
        ];
        cells.extend(node.results.numbers().map(|number| number.to_string()));
        cells
    }
}

/// Which nodes, in which state.
#[derive(Debug, Clone)]
pub struct Ask {
    /// When.
    pub moment: Moment,
    /// This node only.
    pub node: Option<String>,
    /// These results only; nodes without any of them are left out.
    pub filter: ResultFilter,
    /// Only nodes that have such results.
    pub wanted: Option<Wanted>,
}

#[derive(QueryableByName)]
struct StateRow {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Text)]
    hostname: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    since: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    set_id: Option<i64>,
    #[diesel(embed)]
    results: Counts,
}

/// Nodes that are looked at in one go: most of them may be left out by a filter.
const AT_A_TIME: usize = 1000;

/// Nodes, by id.
pub fn nodes(c: &mut Connection, ask: &Ask, paging: &Paging) -> Result<Page<NodeCompliance>, Trouble> {
    let statuses = match ask.filter.is_all() {
        true => None,
        false => Some(sets::statuses(c, &ask.filter)?),
    };
    let (mut found, mut after) = (Vec::new(), paging.after_node()?);
    loop {
        let at_a_time = AT_A_TIME.max(paging.limit + 1);
        let mut rows = rows(c, ask, after.as_deref(), at_a_time)?;
        let is_end = rows.len() < at_a_time;
        after = rows.last().map(|row| row.nodeid.clone());
        if let Some(statuses) = &statuses {
            let mut ids: Vec<i64> = rows.iter().filter_map(|row| row.set_id).collect();
            ids.sort_unstable();
            ids.dedup();
            let mut by_set = std::collections::HashMap::new();
            sets::each(c, &ids, |set, results| {
                let mut counts = Counts::default();
                results.iter().filter_map(|id| statuses.get(id)).for_each(|status| counts.count(*status, 1));
                by_set.insert(set, counts);
            })?;
            for row in &mut rows {
                row.results = row.set_id.and_then(|set| by_set.get(&set)).copied().unwrap_or_default();
            }
            rows.retain(|row| row.results.all() > 0);
        }
        let nodes = rows.into_iter().map(|row| row.node(&ask.moment));
        found.extend(nodes.filter(|node| match ask.wanted {
            None => true,
            // Also those that never had results.
            Some(Wanted::NoAnswer) => node.status == NodeStatus::NoAnswer,
            Some(wanted) => wanted.of(&node.results) > 0,
        }));
        if is_end || found.len() > paging.limit {
            return Ok(Page::cut(found, paging.limit, |node: &NodeCompliance| Paging::node(&node.node_id)));
        }
    }
}

fn rows(c: &mut Connection, ask: &Ask, after: Option<&str>, limit: usize) -> Result<Vec<StateRow>, Trouble> {
    let mut which = Conditions::default();
    which.is("t.nodeid = {}", ask.node.as_deref());
    which.is("t.nodeid > {}", after);
    let sql = format!(
        "SELECT t.nodeid, t.hostname, t.since, t.last, t.set_id, {OF_SET} FROM {} \
         LEFT JOIN compliance_set s ON s.id = t.set_id WHERE {} ORDER BY t.nodeid LIMIT {limit}",
        ask.moment.relation(c),
        which.sql()
    );
    Ok(c.rows(&sql, &which.values())?)
}

impl StateRow {
    fn node(self, moment: &Moment) -> NodeCompliance {
        let (status, results) = NodeStatus::of(moment.is_fresh(self.last), self.results);
        NodeCompliance {
            node_id: self.nodeid,
            hostname: self.hostname,
            status,
            last: self.last,
            began: self.since,
            set_id: self.set_id,
            last_run: moment.last_run(self.last).map(show),
            since: self.since.map(show),
            compliance: results.compliance(),
            results,
        }
    }
}
