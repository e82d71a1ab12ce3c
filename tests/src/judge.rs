// SPDX-License-Identifier: Apache-2.0
//! The oracle: what was claimed and acknowledged against what the database holds.
//!
//! `lost` = acknowledged run logs of which a row is missing; `duplicated` = rows beyond the distinct ones,
//! or beyond what the run had; `forged` = stored runs that nobody claimed.

use std::{collections::HashMap, fmt};

use diesel::{
    Connection, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection, sql_query,
    sql_types::{BigInt, Text},
};
use protocol::run_id::RunId;
use serde::Serialize;

use crate::{Result, server::DatabaseUrl, simulated::Packed};

/// Keeps the claims.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    claims: HashMap<Key, Claim>,
}

/// Node id and start, in seconds.
type Key = (String, i64);

#[derive(Debug, Clone, Copy)]
struct Claim {
    rows: usize,
    acknowledged: bool,
}

/// The judgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Run logs made and offered.
    pub claimed: usize,
    /// Run logs for which a `2xx` came back, or whose file was put into a spool durably.
    pub acknowledged: usize,
    /// Run logs whose rows are all in the database.
    pub stored: usize,
    /// Rows in the database.
    pub rows: usize,
    /// Acknowledged run logs that are not completely stored.
    pub lost: usize,
    /// Rows that are there more than once, and runs recorded more than once.
    pub duplicated: usize,
    /// Stored runs that nobody claimed.
    pub forged: usize,
    /// Run logs of which some rows are stored and some not.
    pub torn: usize,
}

impl Judge {
    /// A run log that will be offered.
    pub fn claim(&mut self, log: &Packed) {
        self.claim_run(&log.id, log.rows);
    }

    /// A run with this many rows that will be offered.
    pub fn claim_run(&mut self, id: &RunId, rows: usize) {
        self.claims.entry(key(id)).or_insert(Claim { rows, acknowledged: false });
    }

    /// A run log that was acknowledged.
    pub fn acknowledge(&mut self, id: &RunId) {
        if let Some(claim) = self.claims.get_mut(&key(id)) {
            claim.acknowledged = true;
        }
    }

    /// Compares with the database.
    pub fn verdict(&self, database: &DatabaseUrl) -> Result<Verdict> {
        let stored = stored_runs(database)?;
        let mut verdict = Verdict {
            claimed: self.claims.len(),
            acknowledged: self.claims.values().filter(|claim| claim.acknowledged).count(),
            rows: stored.values().map(|s| s.rows).sum(),
            forged: stored.keys().filter(|key| !self.claims.contains_key(*key)).count(),
            ..Verdict::default()
        };
        for (key, claim) in &self.claims {
            let Stored { rows, distinct, runs } = stored.get(key).copied().unwrap_or_default();
            verdict.stored += usize::from(distinct >= claim.rows);
            verdict.lost += usize::from(claim.acknowledged && distinct < claim.rows);
            verdict.torn += usize::from(distinct > 0 && distinct < claim.rows);
            verdict.duplicated +=
                rows - distinct + distinct.saturating_sub(claim.rows) + runs.saturating_sub(1);
        }
        Ok(verdict)
    }
}

impl Verdict {
    /// Whether nothing is lost, duplicated, forged or torn.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.forged == 0 && self.torn == 0
    }

    /// Whether it is clean and everything acknowledged is stored, and nothing else.
    pub fn is_complete(&self) -> bool {
        self.is_clean() && self.stored == self.claimed && self.acknowledged == self.claimed
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "claimed {}, acknowledged {}, stored {} ({} rows), lost {}, duplicated {}, forged {}",
            self.claimed, self.acknowledged, self.stored, self.rows, self.lost, self.duplicated, self.forged
        )?;
        if self.torn > 0 { write!(f, ", torn {}", self.torn) } else { Ok(()) }
    }
}

/// Rows of `ruddersysevents`, by a quick count.
pub fn count_rows(database: &DatabaseUrl) -> Result<usize> {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let query = sql_query("SELECT count(*) AS count FROM ruddersysevents");
    let count: Count = match database {
        DatabaseUrl::Postgres(url) => query.get_result(&mut PgConnection::establish(url)?)?,
        DatabaseUrl::Sqlite(_) => query.get_result(&mut sqlite(database)?)?,
    };
    Ok(usize::try_from(count.count)?)
}

/// What the database holds of one run.
#[derive(Debug, Clone, Copy, Default)]
struct Stored {
    /// Rows.
    rows: usize,
    /// Different rows.
    distinct: usize,
    /// Rows of `reportsexecution`.
    runs: usize,
}

#[derive(QueryableByName)]
struct Counted {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = BigInt)]
    start: i64,
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = BigInt)]
    different: i64,
}

fn stored_runs(database: &DatabaseUrl) -> Result<HashMap<Key, Stored>> {
    let mut stored: HashMap<Key, Stored> = HashMap::new();
    for row in counted(database, "ruddersysevents", "executiontimestamp", EVENT)? {
        let entry = stored.entry((row.nodeid, row.start)).or_default();
        entry.rows = usize::try_from(row.rows)?;
        entry.distinct = usize::try_from(row.different)?;
    }
    for row in counted(database, "reportsexecution", "date", "insertionid")? {
        stored.entry((row.nodeid, row.start)).or_default().runs = usize::try_from(row.rows)?;
    }
    Ok(stored)
}

/// What makes a simulated report different from all others of its run.
const EVENT: &str =
    "ruleid || '|' || directiveid || '|' || component || '|' || keyvalue || '|' || eventtype || '|' || msg";

fn counted(database: &DatabaseUrl, table: &str, start: &str, identity: &str) -> Result<Vec<Counted>> {
    let query = |seconds: String| {
        sql_query(format!(
            "SELECT nodeid, {seconds} AS start, count(*) AS rows, count(DISTINCT {identity}) AS different \
             FROM {table} GROUP BY 1, 2"
        ))
    };
    Ok(match database {
        DatabaseUrl::Postgres(url) => {
            query(format!("extract(epoch FROM {start})::bigint")).load(&mut PgConnection::establish(url)?)?
        }
        DatabaseUrl::Sqlite(_) => {
            query(format!("CAST(strftime('%s', {start}) AS INTEGER)")).load(&mut sqlite(database)?)?
        }
    })
}

/// A reading connection to a root's SQLite file.
pub fn sqlite(database: &DatabaseUrl) -> Result<SqliteConnection> {
    let DatabaseUrl::Sqlite(file) = database else { return Err("not SQLite".into()) };
    let mut connection = SqliteConnection::establish(&file.display().to_string())?;
    sql_query("PRAGMA busy_timeout = 10000").execute(&mut connection)?;
    Ok(connection)
}

fn key(id: &RunId) -> Key {
    (id.node_id.to_string(), id.start.timestamp())
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection;
    use protocol::node_id::NodeId;

    use super::*;

    const TABLES: &str = "
        CREATE TABLE ruddersysevents (nodeid, executiontimestamp, ruleid, directiveid, component, keyvalue, eventtype, msg);
        CREATE TABLE reportsexecution (nodeid, date, insertionid);";

    fn id(minute: u8) -> RunId {
        let start = format!("2026-01-02T03:{minute:02}:00+00:00").parse().unwrap();
        RunId { node_id: NodeId::root(), start }
    }

    /// Whatever can be wrong is seen: an oracle that only says yes is none.
    #[test]
    fn sees_what_is_lost_duplicated_forged_and_torn() {
        let directory = tempfile::tempdir().unwrap();
        let database = DatabaseUrl::Sqlite(directory.path().join("judged.db"));
        let mut connection = sqlite(&database).unwrap();
        connection.batch_execute(TABLES).unwrap();
        let mut store = |minute: u8, messages: &[&str], runs: usize| {
            let start = format!("2026-01-02 03:{minute:02}:00+00:00");
            for message in messages {
                let row = format!(
                    "INSERT INTO ruddersysevents VALUES ('root', '{start}', 'r', 'd', 'c', 'k', 'e', '{message}')"
                );
                connection.batch_execute(&row).unwrap();
            }
            for _ in 0..runs {
                let row = format!("INSERT INTO reportsexecution VALUES ('root', '{start}', 1)");
                connection.batch_execute(&row).unwrap();
            }
        };
        let mut judge = Judge::default();
        for minute in 0..5 {
            judge.claim_run(&id(minute), 2);
        }
        for minute in 0..4 {
            judge.acknowledge(&id(minute));
        }
        store(0, &["a", "b"], 1); // as it should be
        store(1, &["a"], 1); // torn, and so lost
        store(2, &["a", "b", "b"], 2); // a row and a run twice
        store(9, &["a", "b"], 1); // nobody's
        // 3 was acknowledged and is not there; 4 was not acknowledged and may be missing.
        let verdict = judge.verdict(&database).unwrap();
        let expected = Verdict {
            claimed: 5,
            acknowledged: 4,
            stored: 2,
            rows: 8,
            lost: 2,
            duplicated: 2,
            forged: 1,
            torn: 1,
        };
        assert_eq!(verdict, expected);
        assert!(!verdict.is_clean() && !verdict.is_complete());
    }
}
