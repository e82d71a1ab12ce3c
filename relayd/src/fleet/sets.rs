// SPDX-License-Identifier: Apache-2.0
//! Sets of results, taken apart: who has them, and which results are in them.

use std::collections::HashMap;

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Text},
};

use super::{Trouble, conditions::Conditions, state::Moment};
use crate::{
    compliance::status::Status,
    db::{Connection, query::Value},
};

/// Sets that are read in one go: each has a few hundred bytes.
const AT_A_TIME: usize = 500;
/// Results that are read in one go.
const RESULTS: usize = 20_000;

/// Which results.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResultFilter {
    /// Of this rule.
    pub rule: Option<String>,
    /// Of this directive.
    pub directive: Option<String>,
    /// Of this technique.
    pub policy: Option<String>,
    /// Of components that are called like this: `*` is any text, `?` any character; without case.
    pub component: Option<String>,
}

/// How many nodes have a set.
#[derive(Debug, Clone, Copy, QueryableByName)]
pub struct Held {
    /// Which one.
    #[diesel(sql_type = BigInt)]
    pub set_id: i64,
    /// Nodes that answer.
    #[diesel(sql_type = BigInt)]
    pub answering: i64,
    /// Nodes that do not answer any more.
    #[diesel(sql_type = BigInt)]
    pub silent: i64,
}

/// What one counted result says, without message: a row of `compliance_result`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, QueryableByName)]
pub struct ResultRow {
    /// Its number.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// Rule.
    #[diesel(sql_type = Text)]
    pub ruleid: String,
    /// Directive.
    #[diesel(sql_type = Text)]
    pub directiveid: String,
    /// Report id.
    #[diesel(sql_type = Text)]
    pub reportid: String,
    /// Technique.
    #[diesel(sql_type = Text)]
    pub policy: String,
    /// Component.
    #[diesel(sql_type = Text)]
    pub component: String,
    /// Key value.
    #[diesel(sql_type = Text)]
    pub keyvalue: String,
    /// What it says.
    #[diesel(sql_type = Text)]
    pub eventtype: String,
}

impl ResultFilter {
    /// Whether all results pass.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// An error where no state that is kept has anything of the rule, directive or technique.
    pub fn must_be_known(&self, c: &mut Connection) -> Result<(), Trouble> {
        let named = [
            ("ruleid", "rule", &self.rule),
            ("directiveid", "directive", &self.directive),
            ("policy", "technique", &self.policy),
        ];
        for (column, what, id) in named {
            let Some(id) = id else { continue };
            let sql = format!(
                "SELECT count(*) AS number FROM (SELECT 1 FROM compliance_result WHERE {column} = $1 LIMIT 1) one"
            );
            if c.number(&sql, &[Value::Text(id)])? == 0 {
                return Err(Trouble::Missing(format!("no result of a {what} {id:?} is known")));
            }
        }
        Ok(())
    }

    /// Conditions on columns that are called as in `ruddersysevents`.
    pub fn conditions(&self) -> Conditions {
        let mut which = Conditions::default();
        which.is("ruleid = {}", self.rule.as_deref());
        which.is("directiveid = {}", self.directive.as_deref());
        which.is("policy = {}", self.policy.as_deref());
        which.is_like("component", self.component.as_deref());
        which
    }
}

/// Sets, and how many nodes have each of them; of one node only, or of all.
pub fn held(c: &mut Connection, moment: &Moment, node: Option<&str>) -> QueryResult<Vec<Held>> {
    let mut which = Conditions::default();
    which.is("t.nodeid = {}", node);
    let sql = format!(
        "SELECT t.set_id, CAST(sum(t.answers) AS bigint) AS answering, \
         CAST(count(*) - sum(t.answers) AS bigint) AS silent \
         FROM {} WHERE t.set_id IS NOT NULL AND {} GROUP BY t.set_id",
        moment.relation(c),
        which.sql()
    );
    c.rows(&sql, &which.values())
}

#[derive(QueryableByName)]
struct SetRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    results: String,
}

/// Reads sets part by part, and hands on each with the ids of its results.
pub fn each(c: &mut Connection, ids: &[i64], mut set: impl FnMut(i64, Vec<i64>)) -> QueryResult<()> {
    for some in ids.chunks(AT_A_TIME) {
        let sql = format!("SELECT id, results FROM compliance_set WHERE id IN ({})", listed(some));
        for row in c.rows::<SetRow>(&sql, &[])? {
            set(row.id, row.results.split(',').filter_map(|id| id.parse().ok()).collect());
        }
    }
    Ok(())
}

/// The results with these ids that pass a filter.
pub fn results(
    c: &mut Connection,
    ids: &[i64],
    filter: &ResultFilter,
) -> QueryResult<HashMap<i64, ResultRow>> {
    let mut found = HashMap::new();
    for some in ids.chunks(RESULTS) {
        let which = filter.conditions();
        let sql = format!(
            "SELECT id, ruleid, directiveid, reportid, policy, component, keyvalue, eventtype \
             FROM compliance_result WHERE {} AND id IN ({})",
            which.sql(),
            listed(some)
        );
        let rows: Vec<ResultRow> = c.rows(&sql, &which.values())?;
        found.extend(rows.into_iter().map(|row| (row.id, row)));
    }
    Ok(found)
}

#[derive(QueryableByName)]
struct Kind {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    eventtype: String,
}

/// What each result says that passes a filter.
pub fn statuses(c: &mut Connection, filter: &ResultFilter) -> Result<HashMap<i64, Status>, Trouble> {
    let (mut found, mut last) = (HashMap::new(), 0);
    loop {
        let mut which = filter.conditions();
        which.compares("id > {}", Some(last));
        let sql = format!(
            "SELECT id, eventtype FROM compliance_result WHERE {} ORDER BY id LIMIT {RESULTS}",
            which.sql()
        );
        let rows: Vec<Kind> = c.rows(&sql, &which.values())?;
        last = rows.last().map_or(last, |row| row.id);
        let is_end = rows.len() < RESULTS;
        found.extend(rows.into_iter().filter_map(|row| Some((row.id, Status::of(&row.eventtype)?))));
        if is_end {
            return Ok(found);
        }
    }
}

/// Numbers for `IN (…)`; for no number at all, one that nothing has.
pub fn listed(ids: &[i64]) -> String {
    match ids {
        [] => "0".into(),
        ids => ids.iter().map(i64::to_string).collect::<Vec<_>>().join(","),
    }
}
