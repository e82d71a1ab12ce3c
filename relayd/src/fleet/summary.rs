// SPDX-License-Identifier: Apache-2.0
//! `/compliance`: how the fleet is, or all that passes a filter, in one answer.

use diesel::{QueryableByName, sql_types::BigInt};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Settings, Trouble,
    conditions::Conditions,
    counts::Counts,
    moment::show,
    sets::{self, Held, ResultFilter},
    state::Moment,
};
use crate::db::Connection;

/// How the fleet is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Summary {
    /// When.
    pub at: String,
    /// For how long a run counts after its start, in seconds.
    pub freshness: i64,
    /// Nodes.
    pub nodes: NodeCounts,
    /// Results that are as they should be, of 100; those of nodes that do not answer are not.
    pub compliance: Option<f64>,
    /// Results.
    pub results: Counts,
}

/// How many nodes are how. With a filter: nodes with such results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct NodeCounts {
    /// All of them.
    pub all: i64,
    /// All results of their last run are as they should be.
    pub compliant: i64,
    /// Some are not.
    pub failing: i64,
    /// Their last run is too old, or there is none.
    pub no_answer: i64,
}

/// How the fleet is, or one node, or what passes a filter.
pub fn summary(
    c: &mut Connection,
    settings: &Settings,
    moment: &Moment,
    node: Option<&str>,
    filter: &ResultFilter,
) -> Result<Summary, Trouble> {
    let (nodes, results) = match filter.is_all() {
        true => all(c, moment, node)?,
        false => some(c, moment, node, filter)?,
    };
    Ok(Summary {
        at: show(moment.at.timestamp()),
        freshness: settings.freshness,
        nodes,
        compliance: results.compliance(),
        results,
    })
}

#[derive(QueryableByName)]
struct HealthRow {
    #[diesel(sql_type = BigInt)]
    answers: i64,
    #[diesel(sql_type = BigInt)]
    is_failing: i64,
    #[diesel(sql_type = BigInt)]
    nodes: i64,
    #[diesel(embed)]
    results: Counts,
}

/// Everything: added up by the database.
fn all(c: &mut Connection, moment: &Moment, node: Option<&str>) -> Result<(NodeCounts, Counts), Trouble> {
    let mut which = Conditions::default();
    which.is("t.nodeid = {}", node);
    let columns = &Counts::COLUMNS[..8];
    let sums: Vec<_> = columns
        .iter()
        .map(|column| format!("coalesce(CAST(sum(s.{column}) AS bigint), 0) AS {column}"))
        .collect();
    let failing = "CASE WHEN s.error + s.audit_noncompliant + s.audit_error > 0 THEN 1 ELSE 0 END";
    let sql = format!(
        "SELECT CAST(t.answers AS bigint) AS answers, CAST({failing} AS bigint) AS is_failing, \
         count(*) AS nodes, {}, CAST(0 AS bigint) AS no_answer \
         FROM {} LEFT JOIN compliance_set s ON s.id = t.set_id WHERE {} GROUP BY 1, 2",
        sums.join(", "),
        moment.relation(c),
        which.sql()
    );
    let (mut nodes, mut results) = (NodeCounts::default(), Counts::default());
    for row in c.rows::<HealthRow>(&sql, &which.values())? {
        nodes.all += row.nodes;
        match (row.answers, row.is_failing) {
            (0, _) => nodes.no_answer += row.nodes,
            (_, 0) => nodes.compliant += row.nodes,
            _ => nodes.failing += row.nodes,
        }
        let counted = if row.answers == 0 { row.results.unanswered() } else { row.results };
        results.add(&counted, 1);
    }
    Ok((nodes, results))
}

/// What passes a filter: added up from the results in each set.
fn some(
    c: &mut Connection,
    moment: &Moment,
    node: Option<&str>,
    filter: &ResultFilter,
) -> Result<(NodeCounts, Counts), Trouble> {
    let statuses = sets::statuses(c, filter)?;
    let held = sets::held(c, moment, node)?;
    let by_set: std::collections::HashMap<i64, Held> = held.iter().map(|held| (held.set_id, *held)).collect();
    let ids: Vec<i64> = held.iter().map(|held| held.set_id).collect();
    let (mut nodes, mut results) = (NodeCounts::default(), Counts::default());
    sets::each(c, &ids, |set, ids| {
        let Some(held) = by_set.get(&set) else { return };
        let mut own = Counts::default();
        ids.iter().filter_map(|id| statuses.get(id)).for_each(|status| own.count(*status, 1));
        if own.all() == 0 {
            return;
        }
        nodes.all += held.answering + held.silent;
        nodes.no_answer += held.silent;
        match own.failing() {
            0 => nodes.compliant += held.answering,
            _ => nodes.failing += held.answering,
        }
        results.add(&own, held.answering);
        results.add(&own.unanswered(), held.silent);
    })?;
    Ok((nodes, results))
}
