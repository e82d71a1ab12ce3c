// SPDX-License-Identifier: Apache-2.0
//! Embedded, numbered migrations: what is applied, what is missing, applying it, checking rights.
//!
//! The state is read without writing anything, so that a role that may only read and insert can
//! still start the daemon on a migrated database.

use diesel::{
    Connection as _, PgConnection, QueryableByName, RunQueryDsl, SqliteConnection,
    connection::SimpleConnection,
    deserialize::QueryableByName as FromRow,
    migration::{Migration, MigrationSource},
    query_dsl::methods::LoadQuery,
    sql_query,
    sql_types::{Bool, Nullable, Text},
};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::{Connection, DbError};

const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Advisory lock held while migrating, so that several roots can start at the same time.
const LOCK: i64 = 0x7265_6c61_7964;

/// State of the tables in one database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// Names of the applied migrations, oldest first.
    pub applied: Vec<String>,
    /// Names of those to apply, in order.
    pub missing: Vec<String>,
    /// Versions in the database that this program does not know: it is from a newer one.
    pub unknown: Vec<String>,
}

impl State {
    /// Reads it, without writing anything.
    pub fn read(connection: &mut Connection) -> Result<Self, DbError> {
        let (known, versions) = match connection {
            Connection::Postgres(c) => (names(&POSTGRES)?, postgres_versions(c)?),
            Connection::Sqlite(c) => (names(&SQLITE)?, sqlite_versions(c)?),
        };
        let mut state = Self::default();
        for (version, name) in &known {
            if versions.contains(version) { &mut state.applied } else { &mut state.missing }
                .push(name.clone());
        }
        state.unknown =
            versions.into_iter().filter(|version| known.iter().all(|(known, _)| known != version)).collect();
        Ok(state)
    }

    /// An error when the database is from a newer program.
    pub fn refuse_newer(&self) -> Result<(), DbError> {
        if self.unknown.is_empty() { Ok(()) } else { Err(DbError::Newer(self.unknown.join(", "))) }
    }
}

/// Applies what is missing; returns the names of what was applied.
pub fn apply(connection: &mut Connection) -> Result<Vec<String>, DbError> {
    State::read(connection)?.refuse_newer()?;
    let applied = match connection {
        Connection::Postgres(c) => {
            // An index on a large table takes its time.
            c.batch_execute("SET statement_timeout = 0; SET lock_timeout = '60s'")?;
            sql_query(format!("SELECT pg_advisory_lock({LOCK})")).execute(c)?;
            let result = c.run_pending_migrations(POSTGRES).map(|versions| versions.len());
            sql_query(format!("SELECT pg_advisory_unlock({LOCK})")).execute(c)?;
            result
        }
        Connection::Sqlite(c) => c.exclusive_transaction::<_, diesel::result::Error, _>(|c| {
            Ok(c.run_pending_migrations(SQLITE).map(|versions| versions.len()))
        })?,
    }
    .map_err(|e| DbError::Migration(e.to_string()))?;
    let mut names = State::read(connection)?.applied;
    Ok(names.split_off(names.len().saturating_sub(applied)))
}

/// What running needs: reports are added and never changed, the registry of nodes and the state of
/// the fleet change.
const RIGHTS: &[(&str, &[&str])] = &[
    ("SELECT, INSERT", &["ruddersysevents", "reportsexecution", "run_log"]),
    ("SELECT, INSERT, UPDATE", &["retention"]),
    ("SELECT, UPDATE", &["node_registry", "compliance_generation"]),
    (
        "SELECT, INSERT, DELETE",
        &["inventory_facts", "inventory_updates", "package", "package_chunk", "inventory_history"],
    ),
    ("SELECT, INSERT, UPDATE, DELETE", &["inventory"]),
    (
        "SELECT, INSERT, UPDATE, DELETE",
        &["node", "node_key", "node_certificate", "node_conflict", "enrolment_token", "node_instance"],
    ),
    (
        "SELECT, INSERT, UPDATE, DELETE",
        &["compliance_result", "compliance_set", "compliance_current", "compliance_history"],
    ),
];

/// Rights that running needs and the role lacks, as texts for people. Empty on SQLite.
pub fn missing_rights(connection: &mut Connection) -> Result<Vec<String>, DbError> {
    let Connection::Postgres(connection) = connection else { return Ok(Vec::new()) };
    let needed: Vec<String> = RIGHTS
        .iter()
        .flat_map(|(whats, tables)| {
            whats
                .split(", ")
                .flat_map(|what| tables.iter().map(move |table| format!("('{what}', '{table}')")))
        })
        .collect();
    let rows: Vec<Label> = sql_query(format!(
        "SELECT what || ' on ' || object AS label FROM (VALUES {}) AS needed(what, object) \
         WHERE NOT has_table_privilege(object, what) \
         UNION ALL SELECT 'USAGE on sequence serial' \
         WHERE NOT has_sequence_privilege('serial', 'USAGE')",
        needed.join(", ")
    ))
    .load(connection)?;
    Ok(rows.into_iter().map(|row| row.label).collect())
}

/// Why migrations cannot be applied by this role, if that is so: the missing right.
pub fn cannot_create(connection: &mut Connection) -> Result<Option<String>, DbError> {
    let Connection::Postgres(connection) = connection else { return Ok(None) };
    let row: MissingCreate = sql_query(
        "SELECT current_user::text AS role, current_schema()::text AS schema, \
         coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS allowed",
    )
    .get_result(connection)?;
    Ok((!row.allowed).then(|| match row.schema {
        Some(schema) => format!("role {:?} lacks CREATE on schema {schema:?}", row.role),
        None => format!("role {:?} sees no schema in its search_path", row.role),
    }))
}

/// Gives a role what running needs, and no more.
pub fn grant_to(connection: &mut Connection, role: &str) -> Result<(), DbError> {
    let Connection::Postgres(connection) = connection else {
        return Err(DbError::Migration("SQLite knows no roles to grant anything to".into()));
    };
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    Ok(connection.transaction(|c| {
        for (whats, tables) in RIGHTS {
            c.batch_execute(&format!("GRANT {whats} ON {} TO {role}", tables.join(", ")))?;
        }
        c.batch_execute(&format!(
            "GRANT SELECT ON __diesel_schema_migrations TO {role}; \
             GRANT USAGE ON SEQUENCE serial TO {role}"
        ))
    })?)
}

#[derive(QueryableByName)]
struct Label {
    #[diesel(sql_type = Text)]
    label: String,
}

#[derive(QueryableByName)]
struct MissingCreate {
    #[diesel(sql_type = Text)]
    role: String,
    #[diesel(sql_type = Nullable<Text>)]
    schema: Option<String>,
    #[diesel(sql_type = Bool)]
    allowed: bool,
}

const RECORDED: &str = "SELECT version AS label FROM __diesel_schema_migrations ORDER BY version";

fn postgres_versions(connection: &mut PgConnection) -> Result<Vec<String>, DbError> {
    let unreadable = "SELECT 'yes' AS label WHERE NOT has_table_privilege(to_regclass('__diesel_schema_migrations'), 'SELECT')";
    // Made by another role, which granted nothing: then which tables are there cannot be known.
    if !sql_query(unreadable).load::<Label>(connection)?.is_empty() {
        return Err(DbError::MissingRights("SELECT on __diesel_schema_migrations".into()));
    }
    recorded(connection, "SELECT 'yes' AS label WHERE to_regclass('__diesel_schema_migrations') IS NOT NULL")
}

fn sqlite_versions(connection: &mut SqliteConnection) -> Result<Vec<String>, DbError> {
    recorded(connection, "SELECT 'yes' AS label FROM sqlite_master WHERE name = '__diesel_schema_migrations'")
}

/// Versions that the database says are applied; none when migrations never ran.
fn recorded<C>(connection: &mut C, is_there: &'static str) -> Result<Vec<String>, DbError>
where
    C: diesel::Connection,
    diesel::query_builder::SqlQuery: for<'q> LoadQuery<'q, C, Label>,
    Label: FromRow<C::Backend>,
{
    if sql_query(is_there).load::<Label>(connection)?.is_empty() {
        return Ok(Vec::new());
    }
    Ok(sql_query(RECORDED).load::<Label>(connection)?.into_iter().map(|row| row.label).collect())
}

/// Version and name of each embedded migration, in order.
fn names(source: &EmbeddedMigrations) -> Result<Vec<(String, String)>, DbError> {
    // Names and versions are the same for all back ends.
    let migrations: Vec<Box<dyn Migration<diesel::sqlite::Sqlite>>> =
        source.migrations().map_err(|e| DbError::Migration(e.to_string()))?;
    let mut names: Vec<_> =
        migrations.iter().map(|m| (m.name().version().to_string(), m.name().to_string())).collect();
    names.sort();
    Ok(names)
}
