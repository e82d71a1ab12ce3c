// SPDX-License-Identifier: Apache-2.0
//! Since when a node is as it is: how far back its segments say the same. A segment begins when any result is
//! another one, so its beginning says little of the others.

use std::collections::{HashMap, HashSet};

use diesel::{QueryResult, QueryableByName, sql_types::BigInt};

use super::{conditions::Conditions, sets, timeline::SEGMENTS};
use crate::db::Connection;

/// Segments that are read in one go.
const AT_A_TIME: usize = 64;

/// Which segments of a node are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Within<'n> {
    /// The node.
    pub node: &'n str,
    /// Those that begin after this instant, in Unix seconds.
    pub from: i64,
    /// Beginning of the newest one.
    pub newest: i64,
    /// For how long a run counts after its start.
    pub freshness: i64,
}

/// Since when, in Unix seconds: the start of the first run of those in a row that say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Since {
    /// Since when the node answers without a gap, if that was asked for.
    pub answers: i64,
    /// Since when it has, or has not, each of the results that were asked for.
    pub results: HashMap<i64, i64>,
}

#[derive(QueryableByName)]
struct SegmentRow {
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = BigInt)]
    set_id: i64,
}

/// Goes back through the segments of a node, no further than it has to: `answers` says whether it matters since when
/// the node answers.
pub fn since(c: &mut Connection, within: Within<'_>, results: &[i64], answers: bool) -> QueryResult<Since> {
    let mut found = Since {
        answers: within.newest,
        results: results.iter().map(|result| (*result, within.newest)).collect(),
    };
    let (mut unsettled, mut is_gapless) = (HashSet::<i64>::from_iter(results.iter().copied()), answers);
    let mut newest = None;
    let mut upto = within.newest;
    loop {
        let rows = segments(c, within, upto)?;
        let is_end = rows.len() < AT_A_TIME;
        // Where there is one segment alone, it says all of it.
        let is_one = rows.len() == 1 && newest.is_none();
        let contents = if is_one { HashMap::new() } else { contents(c, &rows)? };
        for row in &rows {
            let counts = counted(contents.get(&row.set_id), results);
            let counts_now = newest.get_or_insert_with(|| counts.clone());
            unsettled.retain(|result| counts.get(result) == counts_now.get(result));
            for result in &unsettled {
                found.results.insert(*result, row.since);
            }
            is_gapless &= found.answers.saturating_sub(row.last) <= within.freshness;
            if is_gapless {
                found.answers = row.since;
            }
            upto = row.since - 1;
        }
        if is_end || (unsettled.is_empty() && !is_gapless) {
            return Ok(found);
        }
    }
}

fn segments(c: &mut Connection, within: Within<'_>, upto: i64) -> QueryResult<Vec<SegmentRow>> {
    let mut which = Conditions::default();
    which.is("t.nodeid = {}", Some(within.node));
    which.compares("t.since > {}", Some(within.from));
    // The same of their ends: history is kept by those.
    which.compares("t.last > {}", Some(within.from));
    which.compares("t.since <= {}", Some(upto));
    let sql = format!(
        "SELECT t.since, t.last, t.set_id FROM {SEGMENTS} WHERE {} ORDER BY t.since DESC LIMIT {AT_A_TIME}",
        which.sql()
    );
    c.rows(&sql, &which.values())
}

fn contents(c: &mut Connection, rows: &[SegmentRow]) -> QueryResult<HashMap<i64, Vec<i64>>> {
    let mut ids: Vec<i64> = rows.iter().map(|row| row.set_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut contents = HashMap::new();
    sets::each(c, &ids, |set, results| drop(contents.insert(set, results)))?;
    Ok(contents)
}

/// How often each result is in a set.
fn counted(set: Option<&Vec<i64>>, results: &[i64]) -> HashMap<i64, usize> {
    let all = set.map_or(&[][..], Vec::as_slice);
    let count = |result: &i64| {
        let (begin, end) =
            (all.partition_point(|one| one < result), all.partition_point(|one| one <= result));
        (*result, end - begin)
    };
    results.iter().map(count).collect()
}
