// SPDX-License-Identifier: Apache-2.0
//! Which packages fall under advisories, and which chunks name such packages. Neither packages nor chunks
//! ever change, so what was found once stays true as long as the advisories are the same: after that a
//! question reads what is new in the database, and nothing twice.

use std::collections::HashMap;

use diesel::QueryResult;

use super::catalogue::{Catalogue, Hit, Package};
use crate::{db::Connection, packages::installed};

/// Chunks and packages that are remembered: a fleet of 10,000 nodes that have little in common. Above that
/// everything is forgotten, and read again where it is needed.
const MOST: usize = 1_000_000;

/// A package that falls under advisories.
#[derive(Debug)]
pub struct Struck {
    /// Its id in the database.
    pub id: i64,
    /// The package.
    pub package: Package,
    /// What it falls under, on one distribution or another; never empty.
    pub hits: Vec<Hit>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Known {
    struck: Vec<Struck>,
    /// By id: the place in `struck`, if it falls under anything.
    packages: HashMap<i64, Option<u32>>,
    /// By id: places in `struck`.
    chunks: HashMap<i64, Box<[u32]>>,
}

impl Known {
    /// Whether nothing about these chunks has to be read.
    pub fn has_all(&self, mut chunks: impl Iterator<Item = i64>) -> bool {
        chunks.all(|chunk| self.chunks.contains_key(&chunk))
    }

    /// Reads what is not known yet of these chunks. Chunks that are not in the database are remembered as empty.
    pub fn learn(
        &mut self,
        c: &mut Connection,
        catalogue: &Catalogue,
        chunks: impl Iterator<Item = i64>,
    ) -> QueryResult<()> {
        if self.chunks.len() + self.packages.len() > MOST {
            *self = Self::default();
        }
        let mut new: Vec<i64> = chunks.filter(|chunk| !self.chunks.contains_key(chunk)).collect();
        new.sort_unstable();
        new.dedup();
        let rows = installed::chunks(c, &new)?;
        let named = rows.iter().flat_map(|row| installed::ids(&row.packages));
        let mut packages: Vec<i64> = named.filter(|id| !self.packages.contains_key(id)).collect();
        packages.sort_unstable();
        packages.dedup();
        for row in installed::packages(c, &packages)? {
            self.judge(catalogue, row);
        }
        for row in rows {
            let ids = installed::ids(&row.packages);
            let struck = ids.filter_map(|id| self.packages.get(&id).copied().flatten()).collect();
            self.chunks.insert(row.id, struck);
        }
        for chunk in new {
            self.chunks.entry(chunk).or_default();
        }
        Ok(())
    }

    fn judge(&mut self, catalogue: &Catalogue, row: installed::Package) {
        let installed::Package { id, name, version, arch, kind, source, source_version } = row;
        let package = Package { name, version, arch, kind, source, source_version };
        let hits = catalogue.hits(&package);
        let place = (!hits.is_empty()).then(|| u32::try_from(self.struck.len()).ok()).flatten();
        if place.is_some() {
            self.struck.push(Struck { id, package, hits });
        }
        self.packages.insert(id, place);
    }

    /// Packages of a chunk that fall under advisories: places for [`Self::struck`].
    pub fn of_chunk(&self, chunk: i64) -> &[u32] {
        self.chunks.get(&chunk).map_or(&[], |places| places)
    }

    /// A package, by its place.
    pub fn struck(&self, place: u32) -> &Struck {
        &self.struck[place as usize]
    }
}
