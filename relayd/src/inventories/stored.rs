// SPDX-License-Identifier: Apache-2.0
//! What is stored, read again: what a node was at an instant, its facts and packages.

use std::collections::BTreeMap;

use diesel::{
    QueryableByName,
    sql_types::{BigInt, Binary, Nullable, Text},
};
use protocol::{
    compression::{self, Compression},
    limits,
};
use serde_json::{Map, Value as Json};

use super::{
    bucket,
    package::{Kind, Package},
};
use crate::{
    db::{Connection, query::Value},
    fleet::Trouble,
};

/// Named parts of an inventory: facts by section, and `packages`, `software_updates`, `momentary`.
pub type Sections = BTreeMap<String, Json>;

/// What a node was, by ids.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub struct Held {
    /// When the first inventory in a row was made that said so; Unix time.
    #[diesel(sql_type = BigInt)]
    pub since: i64,
    /// When the last one was.
    #[diesel(sql_type = BigInt)]
    pub last: i64,
    /// Id of the facts.
    #[diesel(sql_type = BigInt)]
    pub facts_id: i64,
    /// Ids of the chunks.
    #[diesel(sql_type = Text)]
    pub chunks: String,
}

/// What a node was from the last change before an instant on, if an inventory is as old.
pub fn held_at(c: &mut Connection, node: &str, at: i64) -> Result<Option<Held>, Trouble> {
    let sql = "SELECT since, last, facts_id, chunks FROM ( \
               SELECT since, made AS last, facts_id, chunks FROM inventory WHERE nodeid = $1 AND since <= $2 \
               UNION ALL SELECT since, last, facts_id, chunks FROM inventory_history \
               WHERE nodeid = $3 AND since <= $4) AS held ORDER BY since DESC LIMIT 1";
    let values = [Value::Text(node), Value::Int(at), Value::Text(node), Value::Int(at)];
    Ok(c.row(sql, &values)?)
}

/// All that a node was, the newest first, from the last change before this instant on.
pub fn timeline(c: &mut Connection, node: &str, before: i64, limit: usize) -> Result<Vec<Held>, Trouble> {
    let sql = format!(
        "SELECT since, last, facts_id, chunks FROM ( \
         SELECT since, made AS last, facts_id, chunks FROM inventory WHERE nodeid = $1 AND since < $2 \
         UNION ALL SELECT since, last, facts_id, chunks FROM inventory_history \
         WHERE nodeid = $3 AND since < $4) AS held ORDER BY since DESC LIMIT {limit}"
    );
    let values = [Value::Text(node), Value::Int(before), Value::Text(node), Value::Int(before)];
    Ok(c.rows(&sql, &values)?)
}

/// What the newest inventory of a node says besides.
#[derive(Debug, QueryableByName)]
pub struct Besides {
    /// When it came; Unix time.
    #[diesel(sql_type = BigInt)]
    pub received: i64,
    /// SHA-256 of the document.
    #[diesel(sql_type = Binary)]
    pub digest: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    volatile: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    updates: Option<Vec<u8>>,
}

/// What the newest inventory of a node says besides what stays as it is for long.
pub fn besides(c: &mut Connection, node: &str) -> Result<Option<Besides>, Trouble> {
    let sql = "SELECT i.received, i.digest, i.volatile, u.content AS updates FROM inventory i \
               LEFT JOIN inventory_updates u ON u.id = i.updates_id WHERE i.nodeid = $1";
    Ok(c.row(sql, &[Value::Text(node)])?)
}

impl Besides {
    /// Adds what it says as sections.
    pub fn add_to(&self, sections: &mut Sections) -> Result<(), Trouble> {
        if let Some(updates) = &self.updates {
            sections.insert("software_updates".into(), unpack(updates)?);
        }
        if let Some(momentary) = &self.volatile {
            sections.insert("momentary".into(), unpack(momentary)?);
        }
        Ok(())
    }
}

#[derive(QueryableByName)]
struct ContentRow {
    #[diesel(sql_type = Binary)]
    content: Vec<u8>,
}

/// Facts by section.
pub fn facts(c: &mut Connection, id: i64) -> Result<Sections, Trouble> {
    let sql = "SELECT content FROM inventory_facts WHERE id = $1";
    let row: ContentRow = c.row(sql, &[Value::Int(id)])?.ok_or_else(|| torn("facts"))?;
    Ok(object(unpack(&row.content)?).into_iter().collect())
}

#[derive(QueryableByName)]
struct ListRow {
    #[diesel(sql_type = Text)]
    packages: String,
}

/// Ids of the packages in these chunks, ascending.
pub fn package_ids(c: &mut Connection, chunks: impl Iterator<Item = i64>) -> Result<Vec<i64>, Trouble> {
    let Some(chunks) = list(chunks.filter(|id| *id != 0)) else { return Ok(Vec::new()) };
    let rows: Vec<ListRow> =
        c.rows(&format!("SELECT packages FROM package_chunk WHERE id IN ({chunks})"), &[])?;
    let mut ids: Vec<i64> = rows.iter().flat_map(|row| bucket::ids(&row.packages)).collect();
    ids.sort_unstable();
    Ok(ids)
}

#[derive(QueryableByName)]
struct PackageRow {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = Text)]
    arch: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Text)]
    publisher: String,
    #[diesel(sql_type = Nullable<Text>)]
    source: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    source_version: Option<String>,
}

/// Packages by name.
pub fn packages(c: &mut Connection, ids: &[i64]) -> Result<Vec<Package>, Trouble> {
    let Some(ids) = list(ids.iter().copied()) else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT name, version, arch, kind, publisher, source, source_version FROM package WHERE id IN ({ids})"
    );
    let mut packages: Vec<Package> = c.rows::<PackageRow>(&sql, &[])?.into_iter().map(Into::into).collect();
    packages.sort();
    Ok(packages)
}

impl From<PackageRow> for Package {
    fn from(row: PackageRow) -> Self {
        let PackageRow { name, version, arch, kind, publisher, source, source_version } = row;
        Self { name, version, arch, kind: Kind::parse(&kind), publisher, source, source_version }
    }
}

/// Numbers as SQL has them; `None`: there is none.
fn list(ids: impl Iterator<Item = i64>) -> Option<String> {
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    (!ids.is_empty()).then(|| ids.join(","))
}

/// What [`super::record`] packed.
pub fn unpack(content: &[u8]) -> Result<Json, Trouble> {
    let json = compression::unpack(content, Compression::Gzip, limits::INVENTORY_INFLATED);
    serde_json::from_slice(&json.map_err(|_| torn("a part"))?).map_err(|_| torn("a part"))
}

fn object(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(members) => members,
        _ => Map::new(),
    }
}

fn torn(what: &str) -> Trouble {
    Trouble::Internal(format!("{what} of an inventory cannot be read from the database"))
}
