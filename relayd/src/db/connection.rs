// SPDX-License-Identifier: Apache-2.0
//! Opening connections: nothing may hang for ever, and no password may get into a message.

use std::{
    fs::{DirBuilder, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use diesel::{
    Connection as _, PgConnection, SqliteConnection,
    connection::{AnsiTransactionManager, SimpleConnection, TransactionManager},
};

use super::DbError;
use crate::config::DatabaseUrl;

/// A connection of either kind.
#[allow(clippy::large_enum_variant)]
pub enum Connection {
    /// PostgreSQL.
    Postgres(PgConnection),
    /// SQLite.
    Sqlite(SqliteConnection),
}

impl Connection {
    /// Connects and sets the session up.
    pub fn open(url: &DatabaseUrl) -> Result<Self, DbError> {
        match url {
            DatabaseUrl::Postgres(url) => postgres(url).map(Self::Postgres),
            DatabaseUrl::Sqlite(path) => sqlite(path).map(Self::Sqlite),
        }
    }

    /// Runs statements that return nothing.
    pub fn execute(&mut self, sql: &str) -> diesel::QueryResult<()> {
        match self {
            Self::Postgres(connection) => connection.batch_execute(sql),
            Self::Sqlite(connection) => connection.batch_execute(sql),
        }
    }

    /// Whether the session is still there and can start a transaction.
    pub fn is_usable(&mut self) -> bool {
        match self {
            Self::Postgres(connection) => {
                !AnsiTransactionManager::is_broken_transaction_manager(connection)
                    && connection.batch_execute("SELECT 1").is_ok()
            }
            Self::Sqlite(connection) => {
                !AnsiTransactionManager::is_broken_transaction_manager(connection)
                    && connection.batch_execute("SELECT 1").is_ok()
            }
        }
    }

    /// Longest time one statement may take, in seconds; PostgreSQL only.
    pub fn limit_statements(&mut self, seconds: u32) -> diesel::QueryResult<()> {
        match self {
            Self::Postgres(connection) => {
                connection.batch_execute(&format!("SET statement_timeout = '{seconds}s'"))
            }
            Self::Sqlite(_) => Ok(()),
        }
    }
}

/// How long a batch may take on the server, in seconds.
pub const STATEMENT_TIMEOUT: u32 = 60;
/// How long to wait for a lock, in seconds.
pub const LOCK_TIMEOUT: u32 = 5;

/// A server that went away without a word is noticed within half a minute.
const LIBPQ_DEFAULTS: [(&str, &str); 6] = [
    ("connect_timeout", "5"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "25000"),
    ("application_name", "relayd"),
];

fn postgres(url: &str) -> Result<PgConnection, DbError> {
    let mut connection = PgConnection::establish(&with_defaults(url))
        .map_err(|e| DbError::Connect(without_password(&e.to_string(), url)))?;
    connection
        .batch_execute(&format!(
            "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET client_encoding = 'UTF8'; SET lock_timeout = '{LOCK_TIMEOUT}s'; \
             SET statement_timeout = '{STATEMENT_TIMEOUT}s'; SET idle_in_transaction_session_timeout = '60s'; \
             SET client_min_messages = warning",
        ))
        .map_err(|e| DbError::Connect(e.to_string()))?;
    Ok(connection)
}

/// Adds the parameters that are not given.
fn with_defaults(url: &str) -> String {
    let mut text = url.to_owned();
    for (name, value) in LIBPQ_DEFAULTS {
        let given = url.split_once('?').is_some_and(|(_, query)| {
            query.split('&').any(|parameter| parameter.split('=').next() == Some(name))
        });
        if !given {
            text.push(if text.contains('?') { '&' } else { '?' });
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
    }
    text
}

/// libpq quotes parts of a URL that it cannot read.
fn without_password(message: &str, url: &str) -> String {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let user_info = authority.split_once('@').map_or("", |(user_info, _)| user_info);
    let in_user_info = user_info.split_once(':').map(|(_, password)| password);
    let in_query = url
        .split_once('?')
        .and_then(|(_, query)| query.split('&').find_map(|parameter| parameter.strip_prefix("password=")));
    let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    [in_user_info, in_query]
        .into_iter()
        .flatten()
        .flat_map(|password| [password.to_owned(), decode(password)])
        .filter(|password| !password.is_empty())
        .fold(one_line(message), |message, password| message.replace(&password, "***"))
}

/// libpq writes a line per thought and a line break at the end.
fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

fn sqlite(path: &Path) -> Result<SqliteConnection, DbError> {
    let io = |e: std::io::Error| DbError::Connect(format!("{}: {e}", path.display()));
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o750).create(parent).map_err(io)?;
    }
    // Made here so that its mode, which the files beside it inherit, is never a wider one. A file that is
    // there must not be opened: closing any descriptor of it would end the locks of all connections that
    // this process has to it, and the next process to leave would delete the log that they write to.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(e)),
        _ => {}
    }
    let name = path.to_str().ok_or_else(|| {
        DbError::Connect(format!("{}: the path of an SQLite database must be UTF-8", path.display()))
    })?;
    let mut connection = SqliteConnection::establish(name)
        .map_err(|e| DbError::Connect(format!("{}: {e}", path.display())))?;
    connection
        .batch_execute(&format!(
            "PRAGMA busy_timeout = {}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA trusted_schema = OFF",
            LOCK_TIMEOUT * 1000
        ))
        .map_err(|e| DbError::Connect(format!("{}: {e}", path.display())))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_parameters_win() {
        let url = with_defaults("postgres://u@h/d?connect_timeout=1");
        assert!(url.contains("?connect_timeout=1&") && !url.contains("connect_timeout=5"), "{url}");
        assert!(with_defaults("postgres://u@h/d").contains("?connect_timeout=5&"));
    }

    /// When the lock of the first connection is gone, another process that leaves deletes its log.
    #[test]
    fn a_second_connection_leaves_the_locks_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relayd.db");
        let mut first = sqlite(&path).unwrap();
        first.batch_execute("CREATE TABLE t (n)").unwrap();
        drop(sqlite(&path).unwrap());
        let read = || {
            let output = std::process::Command::new("sqlite3")
                .arg(&path)
                .arg("SELECT count(*) FROM t")
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(read(), "0\n");
        first.batch_execute("INSERT INTO t VALUES (1)").unwrap();
        assert_eq!(read(), "1\n");
    }

    #[test]
    fn passwords_stay_out_of_messages() {
        for url in ["postgres://u:s%2Fcret@h/d", "postgres://u@h/d?password=s%2Fcret&x=1"] {
            let clean = without_password("invalid \"s%2Fcret\"\n\tor s/cret\n", url);
            assert_eq!(clean, "invalid \"***\" or ***", "{url}");
        }
    }

    #[test]
    fn a_wrong_url_is_an_error_without_its_password() {
        let error = Connection::open(&DatabaseUrl::Postgres("postgres://u:hush@h/d?no_such=hush".into()));
        let message = error.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(!message.is_empty() && !message.contains("hush"), "{message}");
    }
}
