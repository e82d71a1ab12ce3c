// SPDX-License-Identifier: Apache-2.0
//! Ids that were looked up or given before: most runs of a fleet have results that some run had before,
//! so that most batches find all their ids here.
//!
//! Only what is committed is here, and only of one generation: a collection of garbage may take ids away.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::results::Digest;

/// Ids by digest, shared by all writers of this process.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    generation: i64,
    sets: Recent,
    results: Recent,
}

/// What a transaction has learnt; true for others once it is committed.
#[derive(Debug, Default)]
pub struct Learnt {
    pub(super) generation: i64,
    pub(super) sets: Vec<(Digest, i64)>,
    pub(super) results: Vec<(Digest, i64)>,
}

impl Known {
    /// The ids of sets, as far as they are known.
    pub(super) fn sets(
        &self,
        generation: i64,
        digests: impl Iterator<Item = Digest>,
    ) -> HashMap<Digest, i64> {
        self.look(generation, digests, |ids| &mut ids.sets)
    }

    /// The ids of results, as far as they are known.
    pub(super) fn results(
        &self,
        generation: i64,
        digests: impl Iterator<Item = Digest>,
    ) -> HashMap<Digest, i64> {
        self.look(generation, digests, |ids| &mut ids.results)
    }

    fn look(
        &self,
        generation: i64,
        digests: impl Iterator<Item = Digest>,
        kind: impl FnOnce(&mut Ids) -> &mut Recent,
    ) -> HashMap<Digest, i64> {
        let mut ids = self.ids();
        if ids.generation != generation {
            return HashMap::new();
        }
        let recent = kind(&mut ids);
        digests.filter_map(|digest| Some((digest, recent.get(&digest)?))).collect()
    }

    /// To be called after the commit.
    pub(super) fn learn(&self, learnt: Learnt) {
        let mut ids = self.ids();
        if ids.generation > learnt.generation {
            return;
        }
        if ids.generation < learnt.generation {
            *ids = Ids { generation: learnt.generation, ..Ids::default() };
        }
        learnt.sets.into_iter().for_each(|(digest, id)| ids.sets.put(digest, id));
        learnt.results.into_iter().for_each(|(digest, id)| ids.results.put(digest, id));
    }

    /// Of a database that is another one than before: a new connection may lead to a server that took over and
    /// lacks what was committed last.
    pub(super) fn forget(&self) {
        *self.ids() = Ids::default();
    }

    fn ids(&self) -> MutexGuard<'_, Ids> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Most ids of a kind in each half; an id is about 50 bytes.
const HALF: usize = 32_768;

/// Ids that were used lately: when the newer half is full, the older one is forgotten.
#[derive(Debug, Default)]
struct Recent {
    newer: HashMap<Digest, i64>,
    older: HashMap<Digest, i64>,
}

impl Recent {
    fn get(&mut self, digest: &Digest) -> Option<i64> {
        if let Some(id) = self.newer.get(digest) {
            return Some(*id);
        }
        let id = self.older.remove(digest)?;
        self.put(*digest, id);
        Some(id)
    }

    fn put(&mut self, digest: Digest, id: i64) {
        if self.newer.len() >= HALF {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(digest, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&n.to_le_bytes());
        digest
    }

    fn learnt(generation: i64, sets: &[usize]) -> Learnt {
        let ids = sets.iter().map(|n| (digest(*n), i64::try_from(*n).unwrap()));
        Learnt { generation, sets: ids.collect(), results: Vec::new() }
    }

    #[test]
    fn ids_are_of_one_generation() {
        let known = Known::default();
        known.learn(learnt(1, &[5]));
        let look = |generation| known.sets(generation, [digest(5), digest(6)].into_iter());
        assert_eq!(look(1), HashMap::from([(digest(5), 5)]));
        assert!(look(2).is_empty());
        known.learn(learnt(2, &[6]));
        assert_eq!(look(2), HashMap::from([(digest(6), 6)]));
        // Committed before the collection, told after it.
        known.learn(learnt(1, &[5]));
        assert_eq!(look(2), HashMap::from([(digest(6), 6)]));
        assert!(look(1).is_empty());
    }

    #[test]
    fn what_is_used_stays_and_the_number_is_bounded() {
        let mut recent = Recent::default();
        for n in 0..3 * HALF {
            recent.put(digest(n), 1);
            assert_eq!(recent.get(&digest(0)), Some(1));
        }
        assert!(recent.newer.len() + recent.older.len() <= 2 * HALF);
        assert_eq!(recent.get(&digest(1)), None);
    }
}
