// SPDX-License-Identifier: Apache-2.0
//! Numbers that a database knows.

use diesel::{PgConnection, QueryableByName, RunQueryDsl, sql_query, sql_types::BigInt};
use tests::Result;

/// What was ever written ahead, in bytes.
pub const WAL: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint AS number";

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// The column `number` of the only row of `sql`.
pub fn number(connection: &mut PgConnection, sql: &str) -> Result<i64> {
    Ok(sql_query(sql).get_result::<Number>(connection)?.number)
}
