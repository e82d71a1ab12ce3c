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
    /// Places in `struck`; the first one is for chunks without any.
    chunks: Vec<Box<[u32]>>,
    /// By id: the place in `chunks`.
    chunk_places: HashMap<i64, u32>,
}

impl Known {
    /// Places of chunks that name packages which fall under advisories; `None` when one of the chunks is not
    /// known yet.
    pub fn places(&self, chunks: &[i64]) -> Option<Vec<u32>> {
        let places: Option<Vec<u32>> = chunks.iter().map(|id| self.chunk_places.get(id).copied()).collect();
        places.map(|mut places| {
            places.retain(|place| *place != 0);
            places
        })
    }

    /// Reads what is not known yet of these chunks. Chunks that are not in the database are remembered as empty.
    pub fn learn<'i>(
        &mut self,
        c: &mut Connection,
        catalogue: &Catalogue,
        chunks: impl Iterator<Item = &'i i64>,
    ) -> QueryResult<()> {
        if self.chunk_places.len() + self.packages.len() > MOST {
            *self = Self::default();
        }
        if self.chunks.is_empty() {
            self.chunks.push(Box::default());
        }
        let mut new: Vec<i64> = chunks.copied().filter(|id| !self.chunk_places.contains_key(id)).collect();
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
            let struck: Box<[u32]> = ids.filter_map(|id| self.packages.get(&id).copied().flatten()).collect();
            self.remember(row.id, struck);
        }
        for id in new {
            self.chunk_places.entry(id).or_insert(0);
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

    fn remember(&mut self, id: i64, struck: Box<[u32]>) {
        let place = if struck.is_empty() { 0 } else { u32::try_from(self.chunks.len()).unwrap_or(0) };
        if place != 0 {
            self.chunks.push(struck);
        }
        self.chunk_places.insert(id, place);
    }

    /// Packages of a chunk that fall under advisories, by its place: places for [`Self::all_struck`].
    pub fn of_chunk(&self, place: u32) -> &[u32] {
        &self.chunks[place as usize]
    }

    /// All packages that fall under advisories.
    pub fn all_struck(&self) -> &[Struck] {
        &self.struck
    }
}
