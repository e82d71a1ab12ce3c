// SPDX-License-Identifier: Apache-2.0
//! Which tables grow with time, and what of them is removed together.

use std::time::Duration;

use diesel::{QueryResult, QueryableByName, sql_types::Text};

use super::time::{Column, Unit};
use crate::{
    config,
    db::{Connection, query::Value},
};

/// Event types of details (protocol 3.5, 4.6), as in the migrations.
const DETAILS: &str = "eventtype IN ('log_trace', 'log_debug', 'log_info', 'log_inform', 'log_warn', \
                       'log_warning', 'log_repaired')";

/// The state of a node that is known stays, however old it is.
const DELETED: &str = "nodeid NOT IN (SELECT nodeid FROM node)";

/// A table that grows with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    /// Its name.
    pub name: &'static str,
    /// What says how old a row is.
    pub column: Column,
    /// Which rows are meant; none: all.
    pub only: Option<&'static str>,
    /// How long a partition is, where it has some.
    pub unit: Unit,
    /// What it means when it has none.
    pub plain: Plain,
}

/// What a table without partitions means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// Its rows are deleted here.
    Ours,
    /// An existing server made it, and deletes from it (protocol 4.5).
    Theirs,
}

/// What goes together, so that nothing refers to what is gone: of a run all or nothing.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// For people.
    pub what: &'static str,
    /// For how long it is kept; none: for ever.
    pub keep: Option<Duration>,
    /// In the order in which they are locked: that of writers.
    pub tables: Vec<Table>,
}

/// How a table is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// With partitions.
    Partitioned,
    /// Without.
    Plain,
}

impl Table {
    const fn of_runs(name: &'static str, column: &'static str, plain: Plain) -> Self {
        Self { name, column: Column::Date(column), only: None, unit: Unit::Day, plain }
    }

    const fn of_states(name: &'static str) -> Self {
        Self { name, column: Column::Seconds("last"), only: None, unit: Unit::Month, plain: Plain::Ours }
    }

    /// How it is stored; `None` when it is not there, or not ours.
    pub fn kind(&self, c: &mut Connection) -> QueryResult<Option<Kind>> {
        let sql = match c {
            Connection::Postgres(_) => {
                "SELECT relkind::text AS text FROM pg_class WHERE oid = to_regclass($1)"
            }
            Connection::Sqlite(_) => {
                "SELECT 'r' AS text FROM sqlite_master WHERE type = 'table' AND name = $1"
            }
        };
        let kind: Option<Label> = c.row(sql, &[Value::Text(self.name)])?;
        Ok(match (kind.as_ref().map(|label| label.text.as_str()), self.plain) {
            (Some("p"), _) => Some(Kind::Partitioned),
            (Some("r"), Plain::Ours) => Some(Kind::Plain),
            _ => None,
        })
    }
}

/// The groups of tables, with how long each is kept.
pub(super) fn groups(c: &Connection, keep: &config::Retention) -> Vec<Group> {
    let ledger = Table::of_runs("run_log", "date", Plain::Ours);
    let (reports, details, runs) = match c {
        Connection::Postgres(_) => (
            vec![
                Table::of_runs("ruddersysevents_result", "executiontimestamp", Plain::Theirs),
                Table::of_runs("ruddersysevents_detail", "executiontimestamp", Plain::Theirs),
            ],
            Table::of_runs("ruddersysevents_detail", "executiontimestamp", Plain::Theirs),
            Table::of_runs("reportsexecution", "date", Plain::Theirs),
        ),
        Connection::Sqlite(_) => {
            let reports = Table::of_runs("ruddersysevents", "executiontimestamp", Plain::Ours);
            let details = Table { only: Some(DETAILS), ..reports };
            (vec![reports], details, Table::of_runs("reportsexecution", "date", Plain::Ours))
        }
    };
    let results = [ledger].into_iter().chain(reports).chain([runs]).collect();
    let current = Table { only: Some(DELETED), ..Table::of_states("compliance_current") };
    vec![
        Group { what: "runs", keep: keep.results, tables: results },
        Group { what: "details of runs", keep: keep.details, tables: vec![details] },
        Group {
            what: "history of compliance",
            keep: keep.compliance,
            tables: vec![current, Table::of_states("compliance_history")],
        },
        Group {
            what: "former inventories",
            keep: keep.inventories,
            tables: vec![Table::of_states("inventory_history")],
        },
    ]
}

#[derive(QueryableByName)]
struct Label {
    #[diesel(sql_type = Text)]
    text: String,
}
