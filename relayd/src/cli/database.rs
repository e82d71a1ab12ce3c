// SPDX-License-Identifier: Apache-2.0
//! `relayd database`: tables of the reports database.

use chrono::Utc;
use clap::Subcommand;

use super::CliError;
use crate::{
    config::{self, Config, DatabaseUrl},
    db::{self, Connection, DbError, migrations},
    retention::{self, Setting},
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
    /// Makes one pass of retention: partitions for the days to come, and away with what is no longer kept
    ///
    /// The daemon does this each hour where its role owns the tables. Where it does not, run this once a day as the
    /// role that does.
    #[command(after_help = "Examples:
  relayd database maintain
  relayd database maintain --url postgres://admin@127.0.0.1/rudder")]
    Maintain {
        /// Connect to this database, for instance as the owner of its tables; how long what is kept is read from the configuration
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Says which migrations are applied and which are missing, and which rights are missing
    #[command(after_help = "Examples:
  relayd database status && echo ready")]
    Status,
}

/// Runs `relayd database …`. The configuration is read only when it is needed.
pub fn run(command: &Command, config: impl FnOnce() -> Result<Config, CliError>) -> Result<(), CliError> {
    let ready = match command {
        Command::Migrate { url, grant_to } => {
            let url = match url {
                Some(url) => url_of(url),
                None => known(config)?,
            };
            migrate(&url, grant_to.as_deref())
        }
        Command::Maintain { url } => {
            let config = config()?;
            let url = match url {
                Some(url) => url_of(url),
                None => db::url(&config.database).map_err(CliError::failed)?.clone(),
            };
            return maintain(&config, &url);
        }
        Command::Status => status(&known(config)?),
    };
    match ready.map_err(CliError::failed)? {
        true => Ok(()),
        false => Err(CliError::failed("the database is not ready to be used")),
    }
}

fn known(config: impl FnOnce() -> Result<Config, CliError>) -> Result<DatabaseUrl, CliError> {
    db::url(&config()?.database).map_err(CliError::failed).cloned()
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
    retention::prepare(&mut connection, &config::Retention::default(), Utc::now().timestamp())?;
    if let Some(role) = grant_to {
        migrations::grant_to(&mut connection, role)?;
        println!("granted  what running needs to {role}");
    }
    Ok(true)
}

/// What could not be done is an error, and so is what this role may not do.
fn maintain(config: &Config, url: &DatabaseUrl) -> Result<(), CliError> {
    let mut connection = Connection::open(url).map_err(CliError::failed)?;
    // Many rows may have to move. An operator waits for that, and can stop it.
    connection.limit_statements(0).map_err(|error| CliError::failed(DbError::from(error)))?;
    let setting = Setting { keep: config.retention, own_id: config.general.node_id.clone() };
    let pass = retention::run(&mut connection, &setting, Utc::now().timestamp(), None)
        .map_err(|error| CliError::failed(DbError::from(error)))?;
    let Some(pass) = pass else {
        return Err(CliError::failed("another process makes a pass at this moment; nothing was done"));
    };
    for made in &pass.made {
        println!("made     {} ({} rows had waited for it)", made.name, made.moved);
    }
    for dropped in &pass.dropped {
        println!("dropped  {} ({} bytes)", dropped.name, dropped.bytes);
    }
    println!("deleted  {} rows", pass.rows);
    if let Some(doubt) = &pass.doubt {
        println!("{doubt}");
    }
    if let Some(table) = pass.of_others.first() {
        return Err(CliError::failed(format!(
            "{table} belongs to another role; run this as its owner, with --url"
        )));
    }
    let told = pass.problems.iter().map(|problem| match problem.holders.as_slice() {
        [] => problem.text.clone(),
        holders => format!("{}; locks are held by {}", problem.text, holders.join(", ")),
    });
    let told: Vec<_> = told.collect();
    if told.is_empty() { Ok(()) } else { Err(CliError::failed(told.join("\n"))) }
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
