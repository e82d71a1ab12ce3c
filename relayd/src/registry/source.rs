// SPDX-License-Identifier: Apache-2.0
//! Who says which nodes there are, as the database remembers it: the configuration can change while no
//! daemon runs, and what was true under the former one must not be lost or taken for the whole.

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{Nullable, Text},
};

use crate::db::{Connection, query::Value};

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Another program, in files; the registry follows.
    Files,
    /// The registry.
    Database,
}

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Database => "database",
        }
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Nullable<Text>)]
    source: Option<String>,
}

/// Whether that is who said it last.
pub(super) fn is(c: &mut Connection, source: Source) -> QueryResult<bool> {
    let row: Option<Row> = c.row("SELECT source FROM node_registry", &[])?;
    Ok(row.and_then(|row| row.source).as_deref() == Some(source.as_str()))
}

/// Remembers who says it.
pub(super) fn set(c: &mut Connection, source: Source) -> QueryResult<()> {
    let sql = "UPDATE node_registry SET source = $1 WHERE source IS NULL OR source <> $1";
    c.run(sql, &[Value::Text(source.as_str())]).map(drop)
}
