// SPDX-License-Identifier: Apache-2.0
//! Counts of what is in the registry, for metrics.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Text},
};

use super::{
    metrics::Metrics,
    record::{ConflictKind, NodeState},
};
use crate::db::{Connection, query::Value};

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = Text)]
    label: String,
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Counts, and sets the metrics.
pub(super) fn read(c: &mut Connection, now: i64, metrics: &Metrics) -> QueryResult<()> {
    let nodes: Vec<Count> =
        c.rows("SELECT state AS label, count(*) AS number FROM node GROUP BY state", &[])?;
    for state in NodeState::ALL.map(NodeState::as_str) {
        metrics.nodes.with_label_values(&[state]).set(number(&nodes, state));
    }
    let sql = "SELECT kind AS label, count(*) AS number FROM node_conflict \
               WHERE resolved IS NULL GROUP BY kind";
    let conflicts: Vec<Count> = c.rows(sql, &[])?;
    for kind in ConflictKind::ALL.map(ConflictKind::as_str) {
        metrics.conflicts.with_label_values(&[kind]).set(number(&conflicts, kind));
    }
    let sql = "SELECT count(*) AS number FROM enrolment_token \
               WHERE used IS NULL AND revoked IS NULL AND expires > $1";
    metrics.tokens.set(c.number(sql, &[Value::Int(now)])?);
    Ok(())
}

fn number(counts: &[Count], label: &str) -> i64 {
    counts.iter().find(|count| count.label == label).map_or(0, |count| count.number)
}
