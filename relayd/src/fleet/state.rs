// SPDX-License-Identifier: Apache-2.0
//! The state of the accepted nodes at an instant (protocol 18): which set of results each node has, and
//! whether it answers.

use chrono::{DateTime, Utc};

use super::{Query, Settings, Trouble, moment};
use crate::db::Connection;

/// An instant, and what counts then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// When.
    pub at: DateTime<Utc>,
    /// Start of the oldest run that counts then, in Unix seconds.
    oldest: i64,
    is_past: bool,
}

impl Moment {
    /// Now.
    pub fn now(settings: &Settings) -> Self {
        let at = Utc::now();
        Self { at, oldest: settings.oldest_fresh(at), is_past: false }
    }

    /// An instant in the past, or now.
    pub fn of(settings: &Settings, at: Option<DateTime<Utc>>) -> Result<Self, Trouble> {
        match at {
            None => Ok(Self::now(settings)),
            Some(at) if at > Utc::now() => {
                Err(Trouble::Asked(format!("{} lies in the future", moment::show(at.timestamp()))))
            }
            Some(at) => Ok(Self { at, oldest: settings.oldest_fresh(at), is_past: true }),
        }
    }

    /// The instant that a member of a query names; now without it.
    pub fn read(query: &mut Query, name: &str, settings: &Settings) -> Result<Self, Trouble> {
        let at = query.take(name).map(|text| moment::parse(&text, Utc::now())).transpose()?;
        Self::of(settings, at)
    }

    /// Whether this is an instant in the past that somebody asked for.
    pub fn is_past(&self) -> bool {
        self.is_past
    }

    /// An error where the instant lies before all states that are kept: that no node answered would pass for a fact.
    pub fn must_be_known(&self, c: &mut Connection) -> Result<(), Trouble> {
        let at = self.at.timestamp();
        let is_any = |table: &str| format!("EXISTS (SELECT 1 FROM {table} WHERE since <= {at})");
        let sql = format!(
            "SELECT CAST(CASE WHEN {} OR {} THEN 1 ELSE 0 END AS bigint) AS number",
            is_any("compliance_current"),
            is_any("compliance_history")
        );
        if self.is_past && c.number(&sql, &[])? == 0 {
            let at = moment::show(at);
            return Err(Trouble::Asked(format!(
                "nothing is known of {at}: all runs that are known began later"
            )));
        }
        Ok(())
    }

    /// For how long a run counts after its start, in seconds.
    pub fn freshness(&self) -> i64 {
        self.at.timestamp().saturating_sub(self.oldest)
    }

    /// Whether the run that started then counts.
    pub fn is_fresh(&self, last: Option<i64>) -> bool {
        last.is_some_and(|last| last >= self.oldest)
    }

    /// The start of the latest run as far as it is known: of the past only segments are kept, and of one that
    /// went on, not when its runs were.
    pub fn last_run(&self, last: Option<i64>) -> Option<i64> {
        last.filter(|last| !self.is_past || *last <= self.at.timestamp())
    }

    /// SQL for a table expression called `t` with a row for each accepted node: `nodeid`, `hostname`, `since`
    /// and `last` of its segment and its `set_id`, all null where it has none, and `answers`, 1 or 0. There are
    /// no placeholders in it.
    pub fn relation(&self, c: &Connection) -> String {
        let Self { at, oldest, is_past } = self;
        let (of, joins) = match (is_past, c) {
            (false, _) => ("c.", format!("LEFT JOIN {} c ON c.nodeid = n.nodeid", present(c, *at, *oldest))),
            (true, Connection::Postgres(_)) => ("past.", in_postgres(at.timestamp())),
            (true, Connection::Sqlite(_)) => ("past.", in_sqlite(at.timestamp())),
        };
        format!(
            "(SELECT n.nodeid, n.hostname, {of}since AS since, {of}last AS last, {of}set_id AS set_id, \
             CASE WHEN {of}last >= {oldest} THEN 1 ELSE 0 END AS answers \
             FROM node n {joins} WHERE n.state = 'accepted') t"
        )
    }
}

/// SQL for the present segments: `nodeid`, `since`, `last`, `configid` and `set_id`. A node whose clock was far
/// ahead has its latest run in the future; until then what it said before counts.
pub(super) fn present(c: &Connection, at: DateTime<Utc>, oldest: i64) -> String {
    // Clocks may be ahead by as much as runs may be old.
    let latest = at.timestamp().saturating_mul(2).saturating_sub(oldest);
    // Only runs say what version an earlier segment had.
    let configid = format!(
        "(SELECT r.nodeconfigid FROM reportsexecution r WHERE r.nodeid = h.nodeid AND r.date = {})",
        c.timestamp("h.last")
    );
    format!(
        "(SELECT nodeid, since, last, configid, set_id FROM compliance_current WHERE since <= {latest} \
         UNION ALL SELECT h.nodeid, h.since, h.last, {configid} AS configid, h.set_id FROM compliance_current f \
         JOIN compliance_history h ON h.nodeid = f.nodeid AND h.last = (\
           SELECT max(x.last) FROM compliance_history x \
           WHERE x.nodeid = f.nodeid AND x.since <= {latest}) \
         WHERE f.since > {latest})"
    )
}

/// Segments are first looked for in partitions near the instant: a look into each of a year takes its time.
const NEAR: i64 = 40 * 24 * 3600;

/// `past`: the segment of each node `n` at an instant. The present one where it had begun; else the earlier one
/// that spans the instant, which is the first that ends after it; or the last one before it. Each look is one
/// into an index, and made only when the one before found nothing.
fn in_postgres(at: i64) -> String {
    let look = |name: &str, only_if: &str, range: String, order: &str| {
        format!(
            "LEFT JOIN LATERAL (SELECT x.since, x.last, x.set_id FROM compliance_history x \
             WHERE {only_if} AND x.nodeid = n.nodeid AND {range} ORDER BY x.last {order} LIMIT 1) {name} ON TRUE "
        )
    };
    let (soon, lately) = (at.saturating_add(NEAR), at.saturating_sub(NEAR));
    let none_after = "c.nodeid IS NULL AND a.since IS NULL";
    // One that has begun later spans nothing: the node was silent.
    let none_spans = "c.nodeid IS NULL AND coalesce(a.since, z.since, {at} + 1) > {at}";
    let none_spans = none_spans.replace("{at}", &at.to_string());
    let none_lately = format!("{none_spans} AND b.since IS NULL");
    let looks = [
        look("a", "c.nodeid IS NULL", format!("x.last >= {at} AND x.last < {soon}"), ""),
        look("z", none_after, format!("x.last >= {soon}"), ""),
        look("b", &none_spans, format!("x.last < {at} AND x.last >= {lately}"), "DESC"),
        look("y", &none_lately, format!("x.last < {lately}"), "DESC"),
    ];
    let pick = |column: &str| {
        let spans = |name: &str| format!("CASE WHEN {name}.since <= {at} THEN {name}.{column} END");
        let (a, z) = (spans("a"), spans("z"));
        format!("coalesce(c.{column}, {a}, {z}, b.{column}, y.{column}) AS {column}")
    };
    format!(
        "LEFT JOIN compliance_current c ON c.nodeid = n.nodeid AND c.since <= {at} {}\
         CROSS JOIN LATERAL (SELECT {}, {}, {}) past",
        looks.concat(),
        pick("since"),
        pick("last"),
        pick("set_id")
    )
}

/// The same without LATERAL, which SQLite does not have.
fn in_sqlite(at: i64) -> String {
    format!(
        "LEFT JOIN (SELECT nodeid, since, last, set_id FROM compliance_current WHERE since <= {at} \
         UNION ALL SELECT h.nodeid, h.since, h.last, h.set_id FROM compliance_current c \
         JOIN compliance_history h ON h.nodeid = c.nodeid AND h.last = coalesce(\
           (SELECT CASE WHEN x.since <= {at} THEN x.last END FROM compliance_history x \
            WHERE x.nodeid = c.nodeid AND x.last >= {at} ORDER BY x.last LIMIT 1), \
           (SELECT x.last FROM compliance_history x \
            WHERE x.nodeid = c.nodeid AND x.last < {at} ORDER BY x.last DESC LIMIT 1)) \
         WHERE c.since > {at}) past ON past.nodeid = n.nodeid"
    )
}
