// SPDX-License-Identifier: Apache-2.0
//! Runs into the segments of their nodes: `compliance_current` and `compliance_history`.
//!
//! Each node's row in `compliance_current` is locked before anything is read of the node, in the order of
//! node ids; who comes second reads what the first has committed. A node that has none gets one first.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use diesel::{
    QueryResult,
    result::Error,
    sql_types::{BigInt, Nullable, Text},
};

use super::segments::{Neighbours, Segment, Segments};
use crate::db::query::{MOST_VALUES, Session, Value, placeholders};

/// A complete run whose results have an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeRun<'a> {
    pub(super) node: &'a str,
    /// Unix time in seconds.
    pub(super) start: i64,
    pub(super) config_id: Option<&'a str>,
    pub(super) set: i64,
}

/// The row of a node in `compliance_current`.
#[derive(Debug, Clone, PartialEq, Eq, diesel::QueryableByName)]
struct Current {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = Nullable<Text>)]
    configid: Option<String>,
    #[diesel(sql_type = BigInt)]
    set_id: i64,
}

/// A row of `compliance_history`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, diesel::QueryableByName)]
struct Past {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = BigInt)]
    set_id: i64,
}

/// Most rows in one statement.
const ROWS: usize = MOST_VALUES / 5;

/// Runs of one node that go in together, by start.
type NodeRuns<'a> = BTreeMap<i64, NodeRun<'a>>;

/// Takes in runs. Their rows in `reportsexecution` may be there already or not.
pub(super) fn add(session: &mut Session<'_>, runs: &[NodeRun<'_>], freshness: i64) -> QueryResult<()> {
    let mut nodes: BTreeMap<&str, NodeRuns<'_>> = BTreeMap::new();
    for run in runs {
        nodes.entry(run.node).or_default().entry(run.start).or_insert(*run);
    }
    let current = lock(session, &nodes)?;
    let late: Vec<NodeRun<'_>> = nodes
        .iter()
        .filter_map(|(node, runs)| Some((current.get(*node)?, runs)))
        .flat_map(|(current, runs)| runs.range(..current.last).map(|(_, run)| *run))
        .collect();
    let past = touched(session, &late)?;
    let mut near = near(session, &late, &nodes, freshness)?;

    let mut changes = Changes::default();
    for (node, runs) in &nodes {
        let Some(current) = current.get(*node) else { continue };
        let past = past.get(*node).map_or(&[][..], Vec::as_slice);
        let mut known = near.remove(*node).unwrap_or_default();
        let rows = past.iter().map(Segment::from).chain([Segment::from(current)]);
        let mut segments = Segments::new(rows.collect());
        for run in runs.values() {
            let neighbours = Neighbours {
                before: known.range(..run.start).next_back().copied(),
                after: known.range(run.start..).next().copied(),
            };
            segments.add(run.start, run.set, freshness, neighbours);
            known.insert(run.start);
        }
        let newest = runs.values().next_back().filter(|run| run.start > current.last);
        changes.note(current, past, &segments, newest);
    }
    changes.write(session)
}

/// The current segments of these nodes, locked; nodes that have none get that of their first run.
fn lock(
    session: &mut Session<'_>,
    nodes: &BTreeMap<&str, NodeRuns<'_>>,
) -> QueryResult<BTreeMap<String, Current>> {
    let mut current = select_locked(session, nodes.keys().copied())?;
    let new: Vec<&NodeRun<'_>> = nodes
        .iter()
        .filter(|(node, _)| !current.contains_key(**node))
        .filter_map(|(_, runs)| runs.values().next())
        .collect();
    if new.is_empty() {
        return Ok(current);
    }
    let values: Vec<Value<'_>> = new
        .iter()
        .flat_map(|run| {
            let config_id = Value::MaybeText(run.config_id);
            let (start, set) = (Value::Int(run.start), Value::Int(run.set));
            [Value::Text(run.node), start, start, config_id, set]
        })
        .collect();
    session.run(
        &format!(
            "INSERT INTO compliance_current (nodeid, since, last, configid, set_id) VALUES {} \
             ON CONFLICT DO NOTHING",
            placeholders(new.len(), 5)
        ),
        &values,
    )?;
    current.extend(select_locked(session, new.iter().map(|run| run.node))?);
    if current.len() == nodes.len() { Ok(current) } else { Err(Error::NotFound) }
}

fn select_locked<'a>(
    session: &mut Session<'_>,
    nodes: impl Iterator<Item = &'a str>,
) -> QueryResult<BTreeMap<String, Current>> {
    let values: Vec<Value<'_>> = nodes.map(Value::Text).collect();
    let places = (1..=values.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    // SQLite: the transaction has the lock on all.
    let lock = if matches!(session, Session::Postgres(_)) { "FOR UPDATE" } else { "" };
    let sql = format!(
        "SELECT nodeid, since, last, configid, set_id FROM compliance_current \
         WHERE nodeid IN ({places}) ORDER BY nodeid {lock}"
    );
    let rows: Vec<Current> = session.rows(&sql, &values)?;
    Ok(rows.into_iter().map(|row| (row.nodeid.clone(), row)).collect())
}

/// The earlier segments that late runs fall into or between, by node.
fn touched(session: &mut Session<'_>, late: &[NodeRun<'_>]) -> QueryResult<BTreeMap<String, Vec<Past>>> {
    let mut by_node: BTreeMap<String, Vec<Past>> = BTreeMap::new();
    if late.is_empty() {
        return Ok(by_node);
    }
    let values: Vec<Value<'_>> =
        late.iter().flat_map(|run| [Value::Text(run.node), Value::Int(run.start)]).collect();
    let sql = format!(
        "WITH late (nodeid, start) AS (VALUES {}), found (nodeid, last) AS ( \
             SELECT nodeid, (SELECT min(h.last) FROM compliance_history h \
                 WHERE h.nodeid = late.nodeid AND h.last >= late.start) FROM late \
             UNION SELECT nodeid, (SELECT max(h.last) FROM compliance_history h \
                 WHERE h.nodeid = late.nodeid AND h.last < late.start) FROM late) \
         SELECT h.nodeid, h.since, h.last, h.set_id FROM found \
         JOIN compliance_history h ON h.nodeid = found.nodeid AND h.last = found.last",
        placeholders(late.len(), 2)
    );
    for past in session.rows::<Past>(&sql, &values)? {
        by_node.entry(past.nodeid.clone()).or_default().push(past);
    }
    Ok(by_node)
}

/// Starts of runs near late ones, by node; not of those that go in now, which are no neighbours before
/// they are in. Within a segment no run is further from the next than the freshness.
fn near(
    session: &mut Session<'_>,
    late: &[NodeRun<'_>],
    nodes: &BTreeMap<&str, NodeRuns<'_>>,
    freshness: i64,
) -> QueryResult<BTreeMap<String, BTreeSet<i64>>> {
    #[derive(diesel::QueryableByName)]
    struct Near {
        #[diesel(sql_type = Text)]
        nodeid: String,
        #[diesel(sql_type = BigInt)]
        start: i64,
    }
    let mut by_node: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    if late.is_empty() {
        return Ok(by_node);
    }
    let values: Vec<Value<'_>> = late
        .iter()
        .flat_map(|run| {
            let (from, to) = (run.start.saturating_sub(freshness), run.start.saturating_add(freshness));
            [Value::Text(run.node), Value::Int(from), Value::Int(to)]
        })
        .collect();
    let (start, from, to) = match session {
        Session::Postgres(_) => {
            ("floor(extract(epoch FROM r.date))::bigint", "to_timestamp(late.f)", "to_timestamp(late.t)")
        }
        Session::Sqlite(_) => (
            "CAST(strftime('%s', r.date) AS integer)",
            "strftime('%Y-%m-%d %H:%M:%S', late.f, 'unixepoch')",
            "strftime('%Y-%m-%d %H:%M:%S', late.t + 1, 'unixepoch')",
        ),
    };
    let sql = format!(
        "WITH late (nodeid, f, t) AS (VALUES {}) SELECT r.nodeid, {start} AS start FROM late \
         JOIN reportsexecution r ON r.nodeid = late.nodeid AND r.date BETWEEN {from} AND {to}",
        placeholders(late.len(), 3),
    );
    for run in session.rows::<Near>(&sql, &values)? {
        if nodes.get(run.nodeid.as_str()).is_none_or(|runs| !runs.contains_key(&run.start)) {
            by_node.entry(run.nodeid).or_default().insert(run.start);
        }
    }
    Ok(by_node)
}

/// A node whose state is made anew.
pub(super) struct LockedNode(Current);

impl LockedNode {
    /// Locks a node; `first` (start and set) is the state of one that has none.
    pub(super) fn lock(session: &mut Session<'_>, node: &str, first: (i64, i64)) -> QueryResult<Self> {
        let run = NodeRun { node, start: first.0, config_id: None, set: first.1 };
        let nodes = BTreeMap::from([(node, NodeRuns::from([(run.start, run)]))]);
        lock(session, &nodes)?.into_values().next().map(Self).ok_or(Error::NotFound)
    }

    /// Its id.
    pub(super) fn id(&self) -> &str {
        &self.0.nodeid
    }

    /// Puts the segments of these runs, by start, in the place of what is known since the first of them.
    pub(super) fn replace(
        &self,
        session: &mut Session<'_>,
        runs: &[(i64, i64)],
        config_id: Option<&str>,
        freshness: i64,
    ) -> QueryResult<()> {
        let (Some((first, _)), Some((last, set))) = (runs.first(), runs.last()) else { return Ok(()) };
        let sql = "SELECT nodeid, since, last, set_id FROM compliance_history \
             WHERE nodeid = $1 AND since < $2 ORDER BY last DESC LIMIT 1";
        let values = [Value::Text(self.id()), Value::Int(*first)];
        let before: Option<Past> = session.rows(sql, &values)?.into_iter().next();
        let gone_from = before.as_ref().map_or(i64::MIN, |before| before.last.min(*first));
        let sql = "DELETE FROM compliance_history WHERE nodeid = $1 AND last >= $2";
        session.run(sql, &[Value::Text(self.id()), Value::Int(gone_from)])?;

        // What is older stays, up to the first run: these say what came then.
        let current = Some(Segment::from(&self.0)).filter(|current| current.since < *first);
        let older = before.as_ref().map(Segment::from).into_iter().chain(current);
        let older = older.map(|segment| Segment { last: segment.last.min(first - 1), ..segment });
        let mut segments = Segments::new(older.collect());
        for (start, set) in runs {
            segments.add(*start, *set, freshness, Neighbours::default());
        }
        let newest = NodeRun { node: self.id(), start: *last, config_id, set: *set };
        let mut changes = Changes::default();
        changes.note(&self.0, &[], &segments, Some(&newest));
        changes.write(session)
    }
}

/// What becomes of the rows of all nodes of a batch.
#[derive(Default)]
struct Changes {
    current: Vec<Current>,
    gone: Vec<Past>,
    new: Vec<Past>,
}

impl Changes {
    /// Of one node: from what was read of it to `segments`. `newest`: its run that is now the latest.
    fn note(&mut self, current: &Current, past: &[Past], segments: &Segments, newest: Option<&NodeRun<'_>>) {
        let Some((open, closed)) = segments.as_slice().split_last() else { return };
        let as_rows = closed.iter().map(|segment| Past {
            nodeid: current.nodeid.clone(),
            since: segment.since,
            last: segment.last,
            set_id: segment.set,
        });
        let closed: HashSet<Past> = as_rows.collect();
        self.gone.extend(past.iter().filter(|row| !closed.contains(row)).cloned());
        self.new.extend(closed.into_iter().filter(|row| !past.contains(row)));
        let configid = newest.map_or(current.configid.as_deref(), |run| run.config_id);
        let row = Current {
            nodeid: current.nodeid.clone(),
            since: open.since,
            last: open.last,
            configid: configid.map(str::to_owned),
            set_id: open.set,
        };
        if row != *current {
            self.current.push(row);
        }
    }

    fn write(&self, session: &mut Session<'_>) -> QueryResult<()> {
        for rows in self.gone.chunks(ROWS) {
            let values: Vec<Value<'_>> =
                rows.iter().flat_map(|row| [Value::Text(&row.nodeid), Value::Int(row.last)]).collect();
            let places = placeholders(rows.len(), 2);
            let sql = format!("DELETE FROM compliance_history WHERE (nodeid, last) IN (VALUES {places})");
            session.run(&sql, &values)?;
        }
        for rows in self.new.chunks(ROWS) {
            let values: Vec<Value<'_>> = rows
                .iter()
                .flat_map(|row| {
                    let numbers = [row.since, row.last, row.set_id].map(Value::Int);
                    std::iter::once(Value::Text(&row.nodeid)).chain(numbers)
                })
                .collect();
            let places = placeholders(rows.len(), 4);
            // Nothing that is left of former times may keep a run from being stored.
            let sql = format!(
                "INSERT INTO compliance_history (nodeid, since, last, set_id) VALUES {places} \
                 ON CONFLICT (nodeid, last) DO UPDATE SET since = excluded.since, set_id = excluded.set_id"
            );
            session.run(&sql, &values)?;
        }
        for rows in self.current.chunks(ROWS) {
            let values: Vec<Value<'_>> = rows
                .iter()
                .flat_map(|row| {
                    let (since, last) = (Value::Int(row.since), Value::Int(row.last));
                    let config_id = Value::MaybeText(row.configid.as_deref());
                    [Value::Text(&row.nodeid), since, last, config_id, Value::Int(row.set_id)]
                })
                .collect();
            let sql = format!(
                "WITH new (nodeid, since, last, configid, set_id) AS (VALUES {}) \
                 UPDATE compliance_current SET since = new.since, last = new.last, \
                     configid = new.configid, set_id = new.set_id \
                 FROM new WHERE compliance_current.nodeid = new.nodeid",
                placeholders(rows.len(), 5)
            );
            session.run(&sql, &values)?;
        }
        Ok(())
    }
}

impl From<&Current> for Segment {
    fn from(row: &Current) -> Self {
        Self { since: row.since, last: row.last, set: row.set_id }
    }
}

impl From<&Past> for Segment {
    fn from(row: &Past) -> Self {
        Self { since: row.since, last: row.last, set: row.set_id }
    }
}
