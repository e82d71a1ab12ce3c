// SPDX-License-Identifier: Apache-2.0
//! The database: is it reached, and does it have the tables and rights that running needs?

use chrono::{DateTime, Utc};

use super::{Clock, Examined};
use crate::{
    config,
    db::{self, Connection, Database, DbError},
    finding::{Finding, split},
};

pub(super) const NAME: &str = "database";

pub(super) fn check(x: &mut Examined<'_>) -> Vec<Finding> {
    if !x.config.uses_database() {
        return Vec::new();
    }
    let settings = &x.config.database;
    let place = db::place(&settings.url);
    if let config::DatabaseUrl::Sqlite(path) = &settings.url
        && settings.migrate_at_start
        && !path.exists()
    {
        return vec![Finding::fine(NAME, format!("{place} is made at the first start"))];
    }
    match Database::look(settings) {
        Ok(connection) => {
            x.clocks.extend(clock(connection, &place));
            Vec::new()
        }
        Err(error) => {
            let (cause, remedy) = split(&error, "see `relayd database status`");
            vec![match error {
                DbError::Untold(_) => Finding::unknown(NAME, place, cause, remedy),
                _ => Finding::error(NAME, place, cause, remedy),
            }]
        }
    }
}

/// A database in a file has no clock of its own.
fn clock(mut connection: Connection, place: &str) -> Option<Clock> {
    if let Connection::Sqlite(_) = connection {
        return None;
    }
    let now = connection.number("SELECT floor(extract(epoch FROM now()))::bigint AS number", &[]).ok()?;
    let there = DateTime::from_timestamp(now, 0)?;
    Some(Clock { of: place.to_owned(), there, here: Utc::now() })
}
