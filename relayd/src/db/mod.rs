// SPDX-License-Identifier: Apache-2.0
//! The database: PostgreSQL or SQLite.
//!
//! | file | what |
//! |---|---|
//! | [`connection`] | opening connections with time limits |
//! | [`migrations`] | which tables are there, making the missing ones |
//! | [`query`] | the same SQL on both, for the registry of nodes |
//! | [`schema`] | the tables as diesel sees them |
//!
//! Who writes is `sink::store`: it opens its own connections from a [`Database`]. Everything here
//! blocks; call it off the async threads.

pub mod connection;
pub mod migrations;
pub mod query;
pub mod schema;

use std::{
    sync::{Arc, Mutex, TryLockError},
    thread,
    time::{Duration, Instant},
};

use diesel::{RunQueryDsl, sql_query};

pub use self::connection::Connection;
use crate::config;

/// A database that was reached and has the right tables.
#[derive(Clone)]
pub struct Database {
    config: Arc<config::Database>,
    /// Kept for [`Database::check`], which operators' tools may call often.
    checking: Arc<Mutex<Option<Connection>>>,
}

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Names of the migrations that were applied, in order; empty when nothing was missing.
    pub names: Vec<String>,
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// Not reachable, or it refuses the login.
    #[error("cannot connect to the database: {0}; check [output.database] and that the server runs")]
    Connect(String),
    /// Its password is a credential that this process cannot read.
    #[error("the password of the database is not known here: {}", .0.for_a_command())]
    Untold(config::Absent),
    /// Migrations are missing and may or can not be applied here.
    #[error(
        "the database lacks {missing}, and {why}; run `relayd database migrate` as a role that may create tables"
    )]
    NotMigrated {
        /// Names of the missing migrations.
        missing: String,
        /// Why start-up did not apply them.
        why: String,
    },
    /// Tables are there, rights are not.
    #[error(
        "the database role lacks {0}; run `relayd database migrate --grant-to ROLE` as the owner of the tables"
    )]
    MissingRights(String),
    /// Made by a newer program.
    #[error("the database is from a newer relayd (migration {0} is not known here); install that version")]
    Newer(String),
    /// A migration failed; it was rolled back.
    #[error("cannot migrate the database: {0}")]
    Migration(String),
    /// Anything else the database says.
    #[error("database: {0}")]
    Query(#[from] diesel::result::Error),
}

/// How long a check waits for another one.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

impl Database {
    /// Connects, applies what is missing where that is allowed, and checks rights.
    pub fn open(config: &config::Database) -> Result<Self, DbError> {
        let mut connection = Connection::open(url(config)?)?;
        let state = migrations::State::read(&mut connection)?;
        state.refuse_newer()?;
        if !state.missing.is_empty() {
            let not_migrated = |why| DbError::NotMigrated { missing: state.missing.join(", "), why };
            if !config.migrate_at_start {
                return Err(not_migrated("output.database.migrate_at_start is off".into()));
            }
            if let Some(why) = migrations::cannot_create(&mut connection)? {
                return Err(not_migrated(why));
            }
            let applied = migrations::apply(&mut connection)?;
            tracing::info!(migrations = applied.join(", "), "database migrated");
        }
        let missing = migrations::missing_rights(&mut connection)?;
        if !missing.is_empty() {
            return Err(DbError::MissingRights(missing.join(", ")));
        }
        Ok(Self { config: Arc::new(config.clone()), checking: Arc::default() })
    }

    /// Connects and checks as [`Database::open`] does, and changes nothing: for tools that only look.
    pub fn look(config: &config::Database) -> Result<Connection, DbError> {
        if let config::DatabaseUrl::Sqlite(path) = &config.url
            && !path.exists()
        {
            // Opening would make it, perhaps for another user than the daemon's.
            return Err(DbError::Connect(format!("{} is not there: the daemon makes it", path.display())));
        }
        let mut connection = Connection::open(url(config)?)?;
        let state = migrations::State::read(&mut connection)?;
        state.refuse_newer()?;
        if !state.missing.is_empty() {
            let why = "nobody has applied it yet".to_owned();
            return Err(DbError::NotMigrated { missing: state.missing.join(", "), why });
        }
        let missing = migrations::missing_rights(&mut connection)?;
        if !missing.is_empty() {
            return Err(DbError::MissingRights(missing.join(", ")));
        }
        Ok(connection)
    }

    /// A new connection, for the caller alone.
    pub fn connect(&self) -> Result<Connection, DbError> {
        Connection::open(&self.config.url)
    }

    /// How many connections may be open for writing.
    pub fn max_connections(&self) -> usize {
        match self.config.url {
            config::DatabaseUrl::Postgres(_) => self.config.max_pool_size.max(1),
            // It has one writer at a time.
            config::DatabaseUrl::Sqlite(_) => 1,
        }
    }

    /// Whether reports can be read: at most one row is (protocol 7.3). The error is for people.
    pub fn check(&self) -> Result<(), String> {
        let deadline = Instant::now() + CHECK_TIMEOUT;
        let mut kept = loop {
            match self.checking.try_lock() {
                Ok(kept) => break kept,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                // A server that hangs must not make callers pile up.
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    return Err("an earlier check has not come back yet".into());
                }
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
            }
        };
        let was_kept = kept.is_some();
        match self.check_with(&mut kept) {
            // The kept connection may be older than the server's last restart.
            Err(_) if was_kept => self.check_with(&mut kept),
            result => result,
        }
        .map_err(|e| e.to_string())
    }

    fn check_with(&self, kept: &mut Option<Connection>) -> Result<(), DbError> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => {
                let mut new = self.connect()?;
                if let Connection::Postgres(_) = new {
                    new.execute("SET statement_timeout = '2s'; SET lock_timeout = '1s'")?;
                }
                new
            }
        };
        let query = sql_query("SELECT id FROM ruddersysevents LIMIT 1");
        match &mut connection {
            Connection::Postgres(c) => query.execute(c)?,
            Connection::Sqlite(c) => query.execute(c)?,
        };
        *kept = Some(connection);
        Ok(())
    }
}

/// How a database is reached, unless this process was not told its password.
pub fn url(config: &config::Database) -> Result<&config::DatabaseUrl, DbError> {
    match &config.absent {
        None => Ok(&config.url),
        Some(absent) => Err(DbError::Untold(absent.clone())),
    }
}

/// A database, for people: without user and password.
pub fn place(url: &config::DatabaseUrl) -> String {
    match url {
        config::DatabaseUrl::Sqlite(path) => path.display().to_string(),
        config::DatabaseUrl::Postgres(url) => {
            let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
            format!("postgres://{}", rest.split('?').next().unwrap_or_default())
        }
    }
}

/// Applies all missing migrations.
pub fn migrate(config: &config::Database) -> Result<Applied, DbError> {
    let mut connection = Connection::open(url(config)?)?;
    Ok(Applied { names: migrations::apply(&mut connection)? })
}
