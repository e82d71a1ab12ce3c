// SPDX-License-Identifier: Apache-2.0
//! Requests that nobody repeats lapse. Nodes that wait ask again every few minutes: one that has not
//! for days is gone, and must not take the place of others nor the time of operators.

use diesel::QueryResult;
use tracing::info;

use super::{
    change::{Change, change},
    enrol::TextRow,
    metrics::Metrics,
    row::NodeRow,
};
use crate::db::{Connection, query::Value};

/// How long a request stands that is not repeated, in seconds: 7 days.
const STANDS: i64 = 7 * 86_400;
/// How exactly it is known when a node asked last, in seconds: not each time is worth writing.
const EXACT: i64 = 3600;
/// Nodes in one transaction.
const AT_A_TIME: i64 = 500;

/// Notes that a node that waits has asked again.
pub(super) fn asked_again(change: &mut Change<'_>, node: &NodeRow) -> QueryResult<()> {
    if node.last_contact.unwrap_or(node.requested) > change.now - EXACT {
        return Ok(());
    }
    let values = [Value::Int(change.now), Value::Text(&node.nodeid)];
    change.connection.run("UPDATE node SET last_contact = $1 WHERE nodeid = $2", &values).map(drop)
}

/// Forgets the nodes whose requests have lapsed.
pub(super) fn forget(c: &mut Connection, now: i64, metrics: &Metrics) -> QueryResult<()> {
    let sql = "SELECT nodeid AS text FROM node \
               WHERE state = 'pending' AND coalesce(last_contact, requested) < $1 LIMIT $2";
    let values = [Value::Int(now - STANDS), Value::Int(AT_A_TIME)];
    loop {
        // Looked for twice, so that nobody waits when there are none.
        if c.rows::<TextRow>(sql, &values)?.is_empty() {
            return Ok(());
        }
        let forgotten = change::<_, diesel::result::Error>(c, now, |change| {
            let lapsed: Vec<TextRow> = change.connection.rows(sql, &values)?;
            lapsed.iter().try_for_each(|row| change.forget(&row.text))?;
            Ok(lapsed.len())
        })?;
        metrics.lapsed.inc_by(forgotten as u64);
        info!("{forgotten} nodes waited for a decision and have not asked for 7 days: they are forgotten");
    }
}
