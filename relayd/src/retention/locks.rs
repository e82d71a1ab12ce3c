// SPDX-License-Identifier: Apache-2.0
//! Locks: who waits for an exclusive one makes all that come after wait as well. So the wait is short, and
//! tried again; and who holds it is said.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};

use crate::db::Connection;

/// Longest wait for a lock, in milliseconds.
const LONGEST_WAIT: u32 = 300;
/// Most holders that are named.
const MOST_NAMED: u32 = 5;

/// Held while a pass is made: by one process for each database.
const LOCK: i64 = 0x7265_6c61_7965;

/// For the rest of the transaction.
pub(super) fn wait_briefly(c: &mut Connection) -> QueryResult<()> {
    match c {
        Connection::Postgres(_) => c.execute(&format!("SET LOCAL lock_timeout = '{LONGEST_WAIT}ms'")),
        Connection::Sqlite(_) => Ok(()),
    }
}

#[derive(QueryableByName)]
struct Got {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Whether nobody else makes a pass now; then nobody else can before [`end`] or the end of the connection.
pub(super) fn begin(c: &mut Connection) -> QueryResult<bool> {
    match c {
        Connection::Postgres(_) => {
            let sql = format!("SELECT pg_try_advisory_lock({LOCK})::int::bigint AS number");
            Ok(c.row::<Got>(&sql, &[])?.is_some_and(|got| got.number == 1))
        }
        // Each of its transactions is one of a writer, and there is one at a time.
        Connection::Sqlite(_) => Ok(true),
    }
}

/// Lets others make a pass.
pub(super) fn end(c: &mut Connection) -> QueryResult<()> {
    match c {
        Connection::Postgres(_) => c.execute(&format!("SELECT pg_advisory_unlock({LOCK})")),
        Connection::Sqlite(_) => Ok(()),
    }
}

#[derive(QueryableByName)]
struct Holder {
    #[diesel(sql_type = BigInt)]
    pid: i64,
    #[diesel(sql_type = Nullable<Text>)]
    role: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    program: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    seconds: Option<i64>,
}

/// Who holds locks on these tables, for people; the longest transaction first.
pub(super) fn holders(c: &mut Connection, tables: &[String]) -> QueryResult<Vec<String>> {
    if !matches!(c, Connection::Postgres(_)) {
        return Ok(Vec::new());
    }
    let names: Vec<_> =
        tables.iter().map(|table| format!("to_regclass('{}')", table.replace('\'', "''"))).collect();
    let sql = format!(
        "SELECT DISTINCT a.pid::bigint AS pid, a.usename::text AS role, a.application_name AS program, \
         floor(extract(epoch FROM now() - a.xact_start))::bigint AS seconds \
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.granted AND l.relation IN ({}) AND a.pid <> pg_backend_pid() \
         ORDER BY seconds DESC NULLS LAST LIMIT {MOST_NAMED}",
        names.join(", ")
    );
    let held: Vec<Holder> = c.rows(&sql, &[])?;
    let shown = |holder: Holder| {
        let since = holder.seconds.map(|seconds| format!(", its transaction began {seconds} s ago"));
        format!(
            "process {} of role {} ({:?}{})",
            holder.pid,
            holder.role.as_deref().unwrap_or("?"),
            holder.program.as_deref().unwrap_or_default(),
            since.unwrap_or_default(),
        )
    };
    Ok(held.into_iter().map(shown).collect())
}
