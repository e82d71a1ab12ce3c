// SPDX-License-Identifier: Apache-2.0
//! `/compliance/nodes/{node}/timeline`: how a node was, from run to run that differed.

use diesel::{QueryableByName, sql_types::BigInt};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    Page, Paging, Row, Settings, Trouble,
    conditions::Conditions,
    counts::{Counts, OF_SET, percent},
    differences::{self, Difference},
    moment::show,
    sets::ResultFilter,
};
use crate::db::Connection;

/// Runs of a node, one after the other without a gap, that all had the same results.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Segment {
    /// Start of the first of them.
    pub since: String,
    /// Start of the last of them.
    pub last: String,
    /// When the node did not answer any more, if the next run came too late or has not come.
    pub silent_from: Option<String>,
    /// Results that are as they should be, of 100.
    pub compliance: Option<f64>,
    /// The results.
    pub results: Counts,
    /// What is other than in the segment before; empty in the first one that is kept.
    pub changes: Vec<Difference>,
}

impl Row for Segment {
    const COLUMNS: &'static [&'static str] = &[
        "since",
        "last",
        "silent_from",
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
        "changes",
    ];

    fn cells(&self) -> Vec<String> {
        let one = self.clone();
        let mut cells =
            vec![one.since, one.last, one.silent_from.unwrap_or_default(), percent(one.compliance)];
        cells.extend(one.results.numbers().map(|number| number.to_string()));
        cells.push(one.changes.len().to_string());
        cells
    }
}

/// Which part of a timeline, in Unix seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// Segments that end then or later.
    pub from: Option<i64>,
    /// Segments that begin then or earlier.
    pub to: Option<i64>,
}

#[derive(QueryableByName)]
struct SegmentRow {
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = BigInt)]
    set_id: i64,
    #[diesel(embed)]
    results: Counts,
}

/// Segments of a node, the newest first. `now` in Unix seconds.
pub fn timeline(
    c: &mut Connection,
    settings: &Settings,
    now: i64,
    node: &str,
    span: Span,
    paging: &Paging,
) -> Result<Page<Segment>, Trouble> {
    let after: Option<i64> = match &paging.after {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| Paging::unreadable(text))?),
    };
    // One more before the page: what it is compared with; and one after it: when the node went on.
    let rows = rows(c, node, span, after, paging.limit + 1)?;
    let mut later = match rows.first() {
        Some(first) if after.is_some() || span.to.is_some() => next_since(c, node, first.last)?,
        _ => None,
    };
    let pairs: Vec<_> = rows.windows(2).map(|two| (Some(two[1].set_id), Some(two[0].set_id))).collect();
    let found = differences::between(c, &pairs, &ResultFilter::default())?;
    let is_more = rows.len() > paging.limit;
    let mut items = Vec::new();
    for (place, row) in rows.iter().enumerate().take(paging.limit) {
        let end = row.last.saturating_add(settings.freshness);
        let silent = later.map_or(now > end, |since| since > end);
        let before = rows.get(place + 1).map(|before| (Some(before.set_id), Some(row.set_id)));
        let changes = before.and_then(|pair| found.get(&pair)).into_iter().flatten();
        later = Some(row.since);
        items.push(Segment {
            since: show(row.since),
            last: show(row.last),
            silent_from: silent.then(|| show(end)),
            compliance: row.results.compliance(),
            results: row.results,
            changes: changes.map(|one| one.difference.clone()).collect(),
        });
    }
    let next = rows.get(items.len().saturating_sub(1)).filter(|_| is_more).map(|row| row.last.to_string());
    Ok(Page { items, next })
}

/// All segments, as `t`.
pub(super) const SEGMENTS: &str = "(SELECT nodeid, since, last, set_id FROM compliance_current \
    UNION ALL SELECT nodeid, since, last, set_id FROM compliance_history) t";

fn rows(
    c: &mut Connection,
    node: &str,
    span: Span,
    after: Option<i64>,
    limit: usize,
) -> Result<Vec<SegmentRow>, Trouble> {
    let mut which = Conditions::default();
    which.is("t.nodeid = {}", Some(node));
    which.compares("t.last >= {}", span.from);
    which.compares("t.since <= {}", span.to);
    which.compares("t.last < {}", after);
    let sql = format!(
        "SELECT t.since, t.last, t.set_id, {OF_SET} FROM {SEGMENTS} JOIN compliance_set s ON s.id = t.set_id \
         WHERE {} ORDER BY t.last DESC LIMIT {limit}",
        which.sql()
    );
    Ok(c.rows(&sql, &which.values())?)
}

/// When the segment begins that follows the one with this last run.
fn next_since(c: &mut Connection, node: &str, last: i64) -> Result<Option<i64>, Trouble> {
    let mut which = Conditions::default();
    which.is("t.nodeid = {}", Some(node));
    which.compares("t.last > {}", Some(last));
    let sql = format!("SELECT coalesce(min(t.since), -1) AS number FROM {SEGMENTS} WHERE {}", which.sql());
    let since = c.number(&sql, &which.values())?;
    Ok((since >= 0).then_some(since))
}
