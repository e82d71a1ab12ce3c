// SPDX-License-Identifier: Apache-2.0
//! What is installed where, as the tables of inventories have it (protocol 19): nodes name 64 chunks each, a
//! chunk names packages, and neither chunks nor packages ever change.

use std::{collections::BTreeSet, fmt::Write as _};

use diesel::{
    QueryResult, QueryableByName,
    sql_types::{BigInt, Nullable, Text},
};

use crate::{db::Connection, fleet::conditions::Conditions};

/// Ids in one statement.
const AT_A_TIME: usize = 10_000;
/// Up to so many buckets the database picks their chunks out of the list.
const FEW: usize = 4;

/// A node that has sent an inventory.
#[derive(Debug, Clone, QueryableByName)]
pub struct Node {
    /// Its id.
    #[diesel(sql_type = Text)]
    pub nodeid: String,
    /// Its host name.
    #[diesel(sql_type = Text)]
    pub hostname: String,
    /// Name of its operating system.
    #[diesel(sql_type = Text)]
    pub os_name: String,
    /// Version of that.
    #[diesel(sql_type = Text)]
    pub os_version: String,
    /// Ids of its chunks, of some buckets at least; see [`ids`].
    #[diesel(sql_type = Text)]
    pub chunks: String,
}

/// Ids of packages that are installed together.
#[derive(Debug, Clone, QueryableByName)]
pub struct Chunk {
    /// Its id.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// Ids of packages; see [`ids`].
    #[diesel(sql_type = Text)]
    pub packages: String,
}

/// A package.
#[derive(Debug, Clone, QueryableByName)]
pub struct Package {
    /// Its id.
    #[diesel(sql_type = BigInt)]
    pub id: i64,
    /// Its name.
    #[diesel(sql_type = Text)]
    pub name: String,
    /// Its version.
    #[diesel(sql_type = Text)]
    pub version: String,
    /// Its architecture; may be empty.
    #[diesel(sql_type = Text)]
    pub arch: String,
    /// `dpkg`, `rpm`, `windows` or `other`.
    #[diesel(sql_type = Text)]
    pub kind: String,
    /// Name of its source package, where that is another one.
    #[diesel(sql_type = Nullable<Text>)]
    pub source: Option<String>,
    /// Version of its source package, where that is another one.
    #[diesel(sql_type = Nullable<Text>)]
    pub source_version: Option<String>,
}

/// The ids in a list of them; 0 stands for none and is left out.
pub fn ids(list: &str) -> impl Iterator<Item = i64> {
    list.split(',').filter_map(|id| id.parse().ok()).filter(|id| *id != 0)
}

/// The nodes that fulfil conditions, by id, with their chunks of these buckets at least.
pub fn nodes(c: &mut Connection, which: &Conditions, buckets: &BTreeSet<usize>) -> QueryResult<Vec<Node>> {
    let chunks = match c {
        // A tenth of the bytes, where few are asked for.
        Connection::Postgres(_) if buckets.len() <= FEW => {
            let of_bucket = |bucket: &usize| format!("split_part(chunks, ',', {})", bucket + 1);
            format!("concat_ws(',', {})", buckets.iter().map(of_bucket).collect::<Vec<_>>().join(", "))
        }
        _ => "chunks".to_owned(),
    };
    let columns = format!("nodeid, hostname, os_name, os_version, {chunks} AS chunks");
    let sql = format!("SELECT {columns} FROM inventory WHERE {}", which.sql());
    let mut nodes: Vec<Node> = c.rows(&sql, &which.values())?;
    // Not by the database: its order may be that of a language.
    nodes.sort_unstable_by(|a, b| a.nodeid.cmp(&b.nodeid));
    Ok(nodes)
}

/// These chunks; what is not there any more is left out.
pub fn chunks(c: &mut Connection, ids: &[i64]) -> QueryResult<Vec<Chunk>> {
    in_parts(c, "SELECT id, packages FROM package_chunk WHERE id", ids)
}

/// All chunks of some buckets.
pub fn chunks_of(c: &mut Connection, buckets: &BTreeSet<usize>) -> QueryResult<Vec<Chunk>> {
    let numbers: Vec<i64> = buckets.iter().filter_map(|bucket| i64::try_from(*bucket).ok()).collect();
    in_parts(c, "SELECT id, packages FROM package_chunk WHERE bucket", &numbers)
}

/// These packages; what is not there any more is left out.
pub fn packages(c: &mut Connection, ids: &[i64]) -> QueryResult<Vec<Package>> {
    in_parts(c, &format!("SELECT {PACKAGE} FROM package WHERE id"), ids)
}

/// The packages that fulfil conditions, in no order.
pub fn packages_that(c: &mut Connection, which: &Conditions, limit: usize) -> QueryResult<Vec<Package>> {
    let sql = format!("SELECT {PACKAGE} FROM package WHERE {} LIMIT {limit}", which.sql());
    c.rows(&sql, &which.values())
}

const PACKAGE: &str = "id, name, version, arch, kind, source, source_version";

/// Rows whose number is one of these; the statement ends with its column. Numbers may stand in the statement itself: nobody has typed them.
pub(super) fn in_parts<T>(c: &mut Connection, select: &str, ids: &[i64]) -> QueryResult<Vec<T>>
where
    T: QueryableByName<diesel::pg::Pg> + QueryableByName<diesel::sqlite::Sqlite> + 'static,
{
    let mut rows = Vec::new();
    for part in ids.chunks(AT_A_TIME) {
        let mut sql = format!("{select} IN (");
        for (number, id) in part.iter().enumerate() {
            // A String takes everything.
            let _ = write!(sql, "{}{id}", if number == 0 { "" } else { "," });
        }
        sql.push(')');
        rows.extend(c.rows::<T>(&sql, &[])?);
    }
    Ok(rows)
}
