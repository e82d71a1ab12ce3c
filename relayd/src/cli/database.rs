// SPDX-License-Identifier: Apache-2.0
//! `relayd database`: tables of the reports database.

use clap::Subcommand;

use super::CliError;
use crate::{
    config::{self, DatabaseUrl},
    db::{Connection, DbError, migrations},
};

/// Looks after the tables of the reports database.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes the missing tables; tables that are there already are left as they are
    #[command(after_help = "Examples:
  relayd database migrate
  relayd database migrate --url postgres://admin@127.0.0.1/rudder --grant-to rudder")]
    Migrate {
        /// Connect to this database, for instance as its owner; the configuration is not read then
        #[arg(long, value_name = "URL")]
        url: Option<String>,
        /// Then give this role the rights that running needs: SELECT and INSERT on the tables of reports, also UPDATE and DELETE on those of the node registry, USAGE on the sequence
        #[arg(long, value_name = "ROLE")]
        grant_to: Option<String>,
    },
    /// Says which migrations are applied and which are missing, and which rights are missing
    #[command(after_help = "Examples:
  relayd database status && echo ready")]
    Status,
}

/// Runs `relayd database …`. The configuration is read only when it is needed.
pub fn run(
    command: &Command,
    config: impl FnOnce() -> Result<config::Database, CliError>,
) -> Result<(), CliError> {
    let ready = match command {
        Command::Migrate { url, grant_to } => {
            let url = match url {
                Some(url) => url_of(url),
                None => config()?.url,
            };
            migrate(&url, grant_to.as_deref())
        }
        Command::Status => status(&config()?.url),
    };
    match ready.map_err(CliError::failed)? {
        true => Ok(()),
        false => Err(CliError::failed("the database is not ready to be used")),
    }
}

fn migrate(url: &DatabaseUrl, grant_to: Option<&str>) -> Result<bool, DbError> {
    let mut connection = Connection::open(url)?;
    let missing = migrations::State::read(&mut connection)?.missing;
    if let (false, Some(why)) = (missing.is_empty(), migrations::cannot_create(&mut connection)?) {
        return Err(DbError::NotMigrated { missing: missing.join(", "), why });
    }
    let applied = migrations::apply(&mut connection)?;
    for name in &applied {
        println!("applied  {name}");
    }
    if applied.is_empty() {
        println!("nothing to do: all migrations are applied");
    }
    if let Some(role) = grant_to {
        migrations::grant_to(&mut connection, role)?;
        println!("granted  what running needs to {role}");
    }
    Ok(true)
}

fn status(url: &DatabaseUrl) -> Result<bool, DbError> {
    let mut connection = Connection::open(url)?;
    let state = migrations::State::read(&mut connection)?;
    for (label, names) in [("applied", &state.applied), ("missing", &state.missing)] {
        for name in names {
            println!("{label}  {name}");
        }
    }
    state.refuse_newer()?;
    if !state.missing.is_empty() {
        println!("run `relayd database migrate` to apply what is missing");
        return Ok(false);
    }
    let rights = migrations::missing_rights(&mut connection)?;
    for right in &rights {
        println!("lacking  {right}");
    }
    Ok(rights.is_empty())
}

fn url_of(text: &str) -> DatabaseUrl {
    match text.strip_prefix("sqlite:") {
        Some(path) => DatabaseUrl::Sqlite(path.strip_prefix("//").unwrap_or(path).into()),
        None => DatabaseUrl::Postgres(text.to_owned()),
    }
}
