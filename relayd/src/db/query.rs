// SPDX-License-Identifier: Apache-2.0
//! The same SQL on both kinds of database, for tables whose columns are texts, numbers and bytes.
//!
//! Placeholders are `$1`, `$2`… on both; `$` has no other use in such statements.

use diesel::{
    PgConnection, QueryResult, RunQueryDsl, SqliteConnection,
    backend::Backend,
    connection::{AnsiTransactionManager, TransactionManager},
    deserialize::QueryableByName,
    pg::Pg,
    query_builder::{BoxedSqlQuery, SqlQuery},
    result::Error,
    serialize::ToSql,
    sql_query,
    sql_types::{BigInt, Binary, HasSqlType, Nullable, Text},
    sqlite::Sqlite,
};

use super::Connection;

/// A value for a placeholder.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A number.
    Int(i64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A text or null.
    MaybeText(Option<&'a str>),
    /// A number or null.
    MaybeInt(Option<i64>),
    /// Bytes or null.
    MaybeBytes(Option<&'a [u8]>),
}

/// Placeholders in one statement: fewer than either kind of database allows.
pub const MOST_VALUES: usize = 16_000;

/// A connection of either kind that somebody else has, perhaps within a transaction.
pub enum Session<'c> {
    /// PostgreSQL.
    Postgres(&'c mut PgConnection),
    /// SQLite.
    Sqlite(&'c mut SqliteConnection),
}

impl Session<'_> {
    /// Runs a statement; returns how many rows it changed.
    pub fn run(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<usize> {
        match self {
            Self::Postgres(c) => bind(sql_query(sql).into_boxed::<Pg>(), values).execute(*c),
            Self::Sqlite(c) => bind(numbered(sql).into_boxed::<Sqlite>(), values).execute(*c),
        }
    }

    /// Runs a query; returns its rows.
    pub fn rows<T>(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<Vec<T>>
    where
        T: QueryableByName<Pg> + QueryableByName<Sqlite> + 'static,
    {
        match self {
            Self::Postgres(c) => bind(sql_query(sql).into_boxed::<Pg>(), values).load(*c),
            Self::Sqlite(c) => bind(numbered(sql).into_boxed::<Sqlite>(), values).load(*c),
        }
    }

    /// A query that has one row with one number, called `number`.
    pub fn number(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<i64> {
        self.rows::<Number>(sql, values)?.first().map(|row| row.number).ok_or(Error::NotFound)
    }
}

impl Connection {
    /// To be handed to what works within somebody else's transaction.
    pub fn session(&mut self) -> Session<'_> {
        match self {
            Self::Postgres(c) => Session::Postgres(c),
            Self::Sqlite(c) => Session::Sqlite(c),
        }
    }

    /// Runs a statement; returns how many rows it changed.
    pub fn run(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<usize> {
        self.session().run(sql, values)
    }

    /// Runs a query; returns its rows.
    pub fn rows<T>(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<Vec<T>>
    where
        T: QueryableByName<Pg> + QueryableByName<Sqlite> + 'static,
    {
        self.session().rows(sql, values)
    }

    /// Runs a query that has one row at most.
    pub fn row<T>(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<Option<T>>
    where
        T: QueryableByName<Pg> + QueryableByName<Sqlite> + 'static,
    {
        Ok(self.rows(sql, values)?.into_iter().next())
    }

    /// A query that has one row with one number, called `number`.
    pub fn number(&mut self, sql: &str, values: &[Value<'_>]) -> QueryResult<i64> {
        self.session().number(sql, values)
    }

    /// SQL for a date of the tables that existing readers know, as Unix time in seconds.
    pub fn unix_time(&self, column: &str) -> String {
        match self {
            Self::Postgres(_) => format!("floor(extract(epoch FROM {column}))::bigint"),
            Self::Sqlite(_) => format!("CAST(strftime('%s', {column}) AS integer)"),
        }
    }

    /// SQL for such a date, from an expression for Unix time in seconds.
    pub fn timestamp(&self, unix: &str) -> String {
        match self {
            Self::Postgres(_) => format!("to_timestamp({unix})"),
            Self::Sqlite(_) => format!("strftime('%Y-%m-%d %H:%M:%S+00:00', {unix}, 'unixepoch')"),
        }
    }

    /// Runs `work` in a transaction that is committed when it succeeds. In SQLite it may write from
    /// its start, so that what it read stays true until it ends.
    pub fn transaction<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Self::Postgres(c) => AnsiTransactionManager::begin_transaction(c)?,
            Self::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN IMMEDIATE")?,
        }
        let result = work(self);
        match (self, &result) {
            (Self::Postgres(c), Ok(_)) => AnsiTransactionManager::commit_transaction(c)?,
            (Self::Sqlite(c), Ok(_)) => AnsiTransactionManager::commit_transaction(c)?,
            // What made the work fail says more than a rollback that fails as well.
            (Self::Postgres(c), Err(_)) => drop(AnsiTransactionManager::rollback_transaction(c)),
            (Self::Sqlite(c), Err(_)) => drop(AnsiTransactionManager::rollback_transaction(c)),
        }
        result
    }

    /// Runs `work`, which only reads, so that all its queries see the same state of the database. Waits for
    /// no writer, and no writer waits for it.
    pub fn snapshot<T, E: From<Error>>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Self::Postgres(c) => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                AnsiTransactionManager::begin_transaction_sql(c, begin)?;
            }
            Self::Sqlite(c) => AnsiTransactionManager::begin_transaction_sql(c, "BEGIN DEFERRED")?,
        }
        let result = work(self);
        // There is nothing to commit; a connection that is gone shows at its next use.
        match self {
            Self::Postgres(c) => drop(AnsiTransactionManager::rollback_transaction(c)),
            Self::Sqlite(c) => drop(AnsiTransactionManager::rollback_transaction(c)),
        }
        result
    }
}

/// `($from, $from + 1, …), (…)`: placeholders for `rows` rows of `columns` values.
pub fn placeholders(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let places: Vec<_> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// SQLite takes `$1` for a name, and looks each name up among all before it: thousands of them in a statement take
/// seconds. `?1` is a number to it.
fn numbered(sql: &str) -> SqlQuery {
    sql_query(sql.replace('$', "?"))
}

#[derive(diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

fn bind<'f, DB>(
    query: BoxedSqlQuery<'f, DB, SqlQuery>,
    values: &[Value<'f>],
) -> BoxedSqlQuery<'f, DB, SqlQuery>
where
    DB: Backend + HasSqlType<Text> + HasSqlType<BigInt> + HasSqlType<Binary>,
    str: ToSql<Text, DB>,
    i64: ToSql<BigInt, DB>,
    [u8]: ToSql<Binary, DB>,
{
    values.iter().fold(query, |query, value| match *value {
        Value::Text(text) => query.bind::<Text, _>(text),
        Value::Int(number) => query.bind::<BigInt, _>(number),
        Value::Bytes(bytes) => query.bind::<Binary, _>(bytes),
        Value::MaybeText(text) => query.bind::<Nullable<Text>, _>(text),
        Value::MaybeInt(number) => query.bind::<Nullable<BigInt>, _>(number),
        Value::MaybeBytes(bytes) => query.bind::<Nullable<Binary>, _>(bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseUrl;

    #[test]
    fn values_come_back_and_a_failed_transaction_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let mut c = Connection::open(&DatabaseUrl::Sqlite(directory.path().join("x.db"))).unwrap();
        c.execute("CREATE TABLE t (a text, b bigint, c blob)").unwrap();
        let insert = format!("INSERT INTO t (a, b, c) VALUES {}", placeholders(2, 3));
        let values = [
            Value::Text("one"),
            Value::Int(7),
            Value::Bytes(&[0, 255]),
            Value::MaybeText(None),
            Value::MaybeInt(None),
            Value::MaybeBytes(None),
        ];
        assert_eq!(c.run(&insert, &values).unwrap(), 2);
        let sql = "SELECT b AS number FROM t WHERE a = $1 AND c = $2";
        assert_eq!(c.number(sql, &[Value::Text("one"), Value::Bytes(&[0, 255])]).unwrap(), 7);
        let failed: Result<(), Error> = c.transaction(|c| {
            c.run("DELETE FROM t", &[])?;
            Err(Error::NotFound)
        });
        assert!(failed.is_err());
        assert_eq!(c.number("SELECT count(*) AS number FROM t", &[]).unwrap(), 2);
    }
}
