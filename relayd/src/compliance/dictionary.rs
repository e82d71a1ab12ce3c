// SPDX-License-Identifier: Apache-2.0
//! The dictionary of results and of sets of results: ids for what is there, rows for what is new.
//!
//! Rows are inserted in the order of their digests, results before sets: two writers that bring the same
//! new results wait for each other, never in a circle. What another one has inserted meanwhile is looked up
//! again, in a statement of its own, which sees it.

use std::collections::{BTreeMap, HashMap};

use diesel::{
    QueryResult,
    result::Error,
    sql_types::{BigInt, Binary},
};

use super::{
    known::{Known, Learnt},
    results::{CountedResult, Digest, Reported, RunResults},
    status::Status,
};
use crate::db::query::{MOST_VALUES, Session, Value, placeholders};

/// The results of a run, and the reports that they are in.
pub(super) type Wanted<'a, R> = (&'a RunResults, &'a [R]);

/// The ids of all these sets; adds those that are new. The transaction holds the generation.
pub(super) fn set_ids<'a, R: Reported + 'a>(
    session: &mut Session<'_>,
    known: &Known,
    wanted: impl Iterator<Item = Wanted<'a, R>>,
    learnt: &mut Learnt,
) -> QueryResult<HashMap<Digest, i64>> {
    let mut missing: BTreeMap<Digest, Wanted<'a, R>> = wanted.map(|one| (one.0.digest, one)).collect();
    let mut ids = known.sets(learnt.generation, missing.keys().copied());
    missing.retain(|digest, _| !ids.contains_key(digest));
    let found = find(session, "compliance_set", &keys(&missing))?;
    missing.retain(|digest, _| !found.contains_key(digest));
    learnt.sets.extend(pairs(&found));
    ids.extend(found);
    if !missing.is_empty() {
        let results = result_ids(session, known, missing.values(), learnt)?;
        let added = add_sets(session, &missing, &results)?;
        learnt.sets.extend(pairs(&added));
        ids.extend(added);
    }
    Ok(ids)
}

/// The ids of the results in all these sets; adds those that are new.
fn result_ids<'a, R: Reported + 'a>(
    session: &mut Session<'_>,
    known: &Known,
    sets: impl Iterator<Item = &'a Wanted<'a, R>>,
    learnt: &mut Learnt,
) -> QueryResult<HashMap<Digest, i64>> {
    let all = sets.flat_map(|(results, reports)| results.among(reports));
    let mut missing: BTreeMap<Digest, CountedResult<'_>> = all.map(|one| (one.digest(), one)).collect();
    let mut ids = known.results(learnt.generation, missing.keys().copied());
    missing.retain(|digest, _| !ids.contains_key(digest));
    let mut found = find(session, "compliance_result", &keys(&missing))?;
    missing.retain(|digest, _| !found.contains_key(digest));
    found.extend(add_results(session, &missing)?);
    learnt.results.extend(pairs(&found));
    ids.extend(found);
    Ok(ids)
}

fn add_results(
    session: &mut Session<'_>,
    results: &BTreeMap<Digest, CountedResult<'_>>,
) -> QueryResult<HashMap<Digest, i64>> {
    const COLUMNS: &str = "digest, ruleid, directiveid, reportid, policy, component, keyvalue, eventtype";
    let rows: Vec<Vec<Value<'_>>> = results
        .iter()
        .map(|(digest, result)| {
            let texts = [
                result.rule_id,
                result.directive_id,
                result.report_id,
                result.policy,
                result.component,
                result.key_value,
                result.status.event_type(),
            ];
            std::iter::once(Value::Bytes(digest)).chain(texts.map(Value::Text)).collect()
        })
        .collect();
    add(session, "compliance_result", COLUMNS, &rows, &keys(results))
}

fn add_sets<R: Reported>(
    session: &mut Session<'_>,
    sets: &BTreeMap<Digest, Wanted<'_, R>>,
    result_ids: &HashMap<Digest, i64>,
) -> QueryResult<HashMap<Digest, i64>> {
    let columns = Status::ALL.map(Status::column).join(", ");
    let lists: Vec<String> = sets
        .values()
        .map(|(results, reports)| {
            let ids = results.among(reports).map(|result| result_ids.get(&result.digest()).copied());
            ids.collect::<Option<Vec<i64>>>().map(list).ok_or(Error::NotFound)
        })
        .collect::<QueryResult<_>>()?;
    let rows: Vec<Vec<Value<'_>>> = sets
        .iter()
        .zip(&lists)
        .map(|((digest, (results, _)), list)| {
            let counts = Status::ALL.map(|status| Value::Int(results.counts[status].into()));
            [Value::Bytes(digest), Value::Text(list)].into_iter().chain(counts).collect()
        })
        .collect();
    add(session, "compliance_set", &format!("digest, results, {columns}"), &rows, &keys(sets))
}

/// Ids as they stand in `compliance_set.results`.
fn list(mut ids: Vec<i64>) -> String {
    ids.sort_unstable();
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

/// Inserts rows, the first column of which is the digest, ascending; gives the ids of all, also of those
/// that somebody else has inserted.
fn add(
    session: &mut Session<'_>,
    table: &str,
    columns: &str,
    rows: &[Vec<Value<'_>>],
    digests: &[Digest],
) -> QueryResult<HashMap<Digest, i64>> {
    let width = rows.first().map_or(1, Vec::len);
    let mut ids = HashMap::with_capacity(rows.len());
    for rows in rows.chunks(MOST_VALUES / width) {
        let values: Vec<Value<'_>> = rows.iter().flatten().copied().collect();
        let sql = format!(
            "INSERT INTO {table} ({columns}) VALUES {} ON CONFLICT DO NOTHING RETURNING id, digest",
            placeholders(rows.len(), width)
        );
        ids.extend(session.rows::<Row>(&sql, &values)?.into_iter().filter_map(Row::pair));
    }
    let others: Vec<Digest> = digests.iter().filter(|digest| !ids.contains_key(*digest)).copied().collect();
    ids.extend(find(session, table, &others)?);
    if ids.len() == digests.len() { Ok(ids) } else { Err(Error::NotFound) }
}

/// The ids of those that are there.
fn find(session: &mut Session<'_>, table: &str, digests: &[Digest]) -> QueryResult<HashMap<Digest, i64>> {
    let mut ids = HashMap::with_capacity(digests.len());
    for digests in digests.chunks(MOST_VALUES) {
        let values: Vec<Value<'_>> = digests.iter().map(|digest| Value::Bytes(digest)).collect();
        let places = (1..=values.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT id, digest FROM {table} WHERE digest IN ({places})");
        ids.extend(session.rows::<Row>(&sql, &values)?.into_iter().filter_map(Row::pair));
    }
    Ok(ids)
}

fn keys<T>(map: &BTreeMap<Digest, T>) -> Vec<Digest> {
    map.keys().copied().collect()
}

fn pairs(ids: &HashMap<Digest, i64>) -> impl Iterator<Item = (Digest, i64)> {
    ids.iter().map(|(digest, id)| (*digest, *id))
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
}

impl Row {
    fn pair(self) -> Option<(Digest, i64)> {
        Some((self.digest.try_into().ok()?, self.id))
    }
}
