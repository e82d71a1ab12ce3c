// SPDX-License-Identifier: Apache-2.0
//! Ids of what is stored once for the whole fleet, by digest; what is not there yet is added.
//!
//! Roots that add the same at the same moment wait for each other. All of them go through the tables in one
//! order, and through each table by digest: none waits for one that waits for it.

use std::collections::{BTreeMap, HashMap};

use diesel::{
    QueryResult, QueryableByName,
    result::Error,
    sql_types::{BigInt, Binary},
};

use super::package::{Digest, Package};
use crate::db::{
    Connection,
    query::{MOST_VALUES, Value, placeholders},
};

/// A table of such things.
pub(super) struct Table {
    name: &'static str,
    /// Columns besides `id` and `digest`.
    columns: &'static [&'static str],
}

pub(super) const PACKAGES: Table = Table {
    name: "package",
    columns: &["name", "version", "arch", "kind", "publisher", "source", "source_version"],
};
pub(super) const CHUNKS: Table = Table { name: "package_chunk", columns: &["bucket", "packages"] };
pub(super) const FACTS: Table = Table { name: "inventory_facts", columns: &["content"] };
pub(super) const UPDATES: Table = Table { name: "inventory_updates", columns: &["content"] };

/// Ids by digest.
pub(super) type Ids = HashMap<Digest, i64>;

#[derive(QueryableByName)]
struct IdRow {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
}

impl Table {
    /// Ids of those that are there.
    pub(super) fn known<'d>(
        &self,
        c: &mut Connection,
        digests: impl Iterator<Item = &'d Digest>,
    ) -> QueryResult<Ids> {
        let digests: Vec<Value<'_>> = digests.map(|digest| Value::Bytes(digest)).collect();
        let mut ids = Ids::with_capacity(digests.len());
        for part in digests.chunks(MOST_VALUES) {
            let sql = format!(
                "SELECT id, digest FROM {} WHERE digest IN {}",
                self.name,
                placeholders(1, part.len())
            );
            for row in c.rows::<IdRow>(&sql, part)? {
                let digest = row.digest.try_into().map_err(|_| Error::NotFound)?;
                ids.insert(digest, row.id);
            }
        }
        Ok(ids)
    }

    /// Ids of all of these; those that are not there are added. The values are those of the columns.
    pub(super) fn ids(
        &self,
        c: &mut Connection,
        things: &BTreeMap<&Digest, Vec<Value<'_>>>,
    ) -> QueryResult<Ids> {
        let mut ids = self.known(c, things.keys().copied())?;
        let missing: Vec<_> = things.iter().filter(|(digest, _)| !ids.contains_key(**digest)).collect();
        if missing.is_empty() {
            return Ok(ids);
        }
        let columns = self.columns.len() + 1;
        for part in missing.chunks(MOST_VALUES / columns) {
            let values: Vec<Value<'_>> = part
                .iter()
                .flat_map(|(digest, values)| {
                    [Value::Bytes(&digest[..])].into_iter().chain(values.iter().copied())
                })
                .collect();
            let sql = format!(
                "INSERT INTO {} (digest, {}) VALUES {} ON CONFLICT (digest) DO NOTHING",
                self.name,
                self.columns.join(", "),
                placeholders(part.len(), columns)
            );
            c.run(&sql, &values)?;
        }
        let added = self.known(c, missing.iter().map(|(digest, _)| **digest))?;
        if added.len() < missing.len() {
            return Err(Error::NotFound);
        }
        ids.extend(added);
        Ok(ids)
    }
}

/// The columns of a package.
pub(super) fn package(package: &Package) -> Vec<Value<'_>> {
    vec![
        Value::Text(&package.name),
        Value::Text(&package.version),
        Value::Text(&package.arch),
        Value::Text(package.kind.as_str()),
        Value::Text(&package.publisher),
        Value::MaybeText(package.source.as_deref()),
        Value::MaybeText(package.source_version.as_deref()),
    ]
}
