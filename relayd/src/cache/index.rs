// SPDX-License-Identifier: Apache-2.0
//! What is kept, in memory: which entry has which content, what was used when, and how much it all is.
//!
//! An entry is what one path leads to; its content is an object, which several entries may share: most
//! nodes have most of their policies in common.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::SystemTime,
};

use protocol::node_id::NodeId;

use super::key::{Digest, Key};
use crate::files::Stamp;

/// What a file costs at least, and the unit of its size on a disk. As every entry costs one block, the
/// size limit bounds the number of entries, and with it memory.
const BLOCK: u64 = 4096;

/// While one of these exists, the object is not removed.
pub type Pin = Arc<()>;

/// The index.
#[derive(Debug, Default)]
pub struct Index {
    entries: HashMap<Key, Slot>,
    objects: HashMap<Digest, Object>,
    /// Entries, those not used for the longest first.
    order: BTreeMap<u64, Key>,
    uses: u64,
    /// On the disk.
    bytes: u64,
    /// Promised to files that are under way.
    reserved: u64,
}

#[derive(Debug)]
struct Slot {
    digest: Digest,
    node: Option<NodeId>,
    used: u64,
    checked: SystemTime,
}

#[derive(Debug)]
struct Object {
    size: u64,
    entries: usize,
    /// Of the file, when its content was seen to be that of the digest.
    verified: Option<Stamp>,
    pin: Pin,
}

/// An object, and that it stays.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What the file was when this process saw that its content is that of the digest.
    pub verified: Option<Stamp>,
    /// When the upstream confirmed the entry last.
    pub checked: SystemTime,
    /// Keeps it.
    pub pin: Pin,
}

/// Files to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Removed {
    /// The entry.
    pub key: Key,
    /// Its object, when no other entry has it.
    pub object: Option<Digest>,
}

impl Index {
    /// Adds an entry, or replaces it; one that is used now. Gives the object that nobody has any more.
    pub fn insert(
        &mut self,
        key: Key,
        node: Option<NodeId>,
        (digest, size): (Digest, u64),
        checked: SystemTime,
    ) -> Option<Digest> {
        let object = self.objects.entry(digest).or_insert_with(|| {
            self.bytes += blocks(size);
            Object { size, entries: 0, verified: None, pin: Pin::default() }
        });
        // Before the old one goes: it may be the same.
        object.entries += 1;
        let freed = self.remove(&key).and_then(|removed| removed.object);
        self.bytes += BLOCK;
        self.uses += 1;
        self.order.insert(self.uses, key);
        self.entries.insert(key, Slot { digest, node, used: self.uses, checked });
        freed
    }

    /// The object of an entry, which is used now.
    pub fn get(&mut self, key: &Key) -> Option<Pinned> {
        let slot = self.entries.get_mut(key)?;
        let object = self.objects.get(&slot.digest)?;
        self.order.remove(&slot.used);
        self.uses += 1;
        slot.used = self.uses;
        self.order.insert(slot.used, *key);
        Some(Pinned {
            digest: slot.digest,
            size: object.size,
            verified: object.verified,
            checked: slot.checked,
            pin: object.pin.clone(),
        })
    }

    /// Whether there is such an entry.
    pub fn contains(&self, key: &Key) -> bool {
        self.entries.contains_key(key)
    }

    /// An object that some entry has, whose content was seen to be right in the file that it was then.
    pub fn verified_object(&self, digest: &Digest) -> Option<(u64, Stamp, Pin)> {
        let object = self.objects.get(digest)?;
        Some((object.size, object.verified?, object.pin.clone()))
    }

    /// Whether some entry has this object.
    pub fn contains_object(&self, digest: &Digest) -> bool {
        self.objects.contains_key(digest)
    }

    /// The content of an object was seen to be right, in this file.
    pub fn verified(&mut self, digest: &Digest, file: Stamp) {
        if let Some(object) = self.objects.get_mut(digest) {
            object.verified = Some(file);
        }
    }

    /// The upstream has confirmed an entry. Gives when it did so before.
    pub fn checked(&mut self, key: &Key, now: SystemTime) -> Option<SystemTime> {
        self.entries.get_mut(key).map(|slot| std::mem::replace(&mut slot.checked, now))
    }

    /// Removes an entry.
    pub fn remove(&mut self, key: &Key) -> Option<Removed> {
        let slot = self.entries.remove(key)?;
        self.order.remove(&slot.used);
        self.bytes -= BLOCK;
        let object = self.objects.get_mut(&slot.digest)?;
        object.entries -= 1;
        let unused = object.entries == 0;
        if unused {
            self.bytes -= blocks(object.size);
            self.objects.remove(&slot.digest);
        }
        Some(Removed { key: *key, object: unused.then_some(slot.digest) })
    }

    /// Promises room for a file of this size; when that makes more than `most`, what was not used for the
    /// longest has to go first, except what is in use. `None`, and nothing removed, when that is not enough.
    /// Else how many bytes were promised, and what has to be removed.
    pub fn reserve(&mut self, size: u64, most: u64) -> Option<(u64, Vec<Removed>)> {
        let wanted = blocks(size).saturating_add(BLOCK);
        if wanted > most {
            return None;
        }
        let mut excess = (self.bytes + self.reserved + wanted).saturating_sub(most);
        let mut leaving: HashMap<Digest, usize> = HashMap::new();
        let mut victims = Vec::new();
        for key in self.order.values() {
            if excess == 0 {
                break;
            }
            let Some(slot) = self.entries.get(key) else { continue };
            let Some(object) = self.objects.get(&slot.digest) else { continue };
            if Arc::strong_count(&object.pin) > 1 {
                continue;
            }
            let leaving = leaving.entry(slot.digest).or_default();
            *leaving += 1;
            let freed = if *leaving == object.entries { BLOCK + blocks(object.size) } else { BLOCK };
            excess = excess.saturating_sub(freed);
            victims.push(*key);
        }
        if excess > 0 {
            return None;
        }
        self.reserved += wanted;
        Some((wanted, victims.iter().filter_map(|key| self.remove(key)).collect()))
    }

    /// What these bytes were promised to is here, or will not come.
    pub fn release(&mut self, bytes: u64) {
        self.reserved -= bytes;
    }

    /// Entries whose node is one of which `stays` is not true.
    pub fn of_nodes(&self, stays: impl Fn(&NodeId) -> bool) -> Vec<Key> {
        let gone = |slot: &Slot| slot.node.as_ref().is_some_and(|node| !stays(node));
        self.entries.iter().filter(|(_, slot)| gone(slot)).map(|(key, _)| *key).collect()
    }

    /// All entries with this object.
    pub fn of_object(&self, digest: &Digest) -> Vec<Key> {
        self.entries.iter().filter(|(_, slot)| slot.digest == *digest).map(|(key, _)| *key).collect()
    }

    /// Number of entries, and bytes on the disk.
    pub fn size(&self) -> (usize, u64) {
        (self.entries.len(), self.bytes)
    }
}

fn blocks(size: u64) -> u64 {
    size.div_ceil(BLOCK).saturating_mul(BLOCK)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn add(index: &mut Index, path: &str, content: u8, size: u64) -> Option<Digest> {
        index.insert(Key::of(path), None, ([content; 32], size), SystemTime::now())
    }

    #[test]
    fn what_was_not_used_for_the_longest_goes_and_what_is_in_use_stays() {
        let mut index = Index::default();
        for (n, path) in ["a", "b", "c", "d"].iter().enumerate() {
            add(&mut index, path, n as u8, BLOCK);
        }
        assert_eq!(index.size(), (4, 8 * BLOCK));
        index.get(&Key::of("a"));
        let serving = index.get(&Key::of("b"));
        let (promised, removed) = index.reserve(BLOCK, 8 * BLOCK).unwrap();
        assert_eq!(promised, 2 * BLOCK);
        assert_eq!(removed, [Removed { key: Key::of("c"), object: Some([2; 32]) }]);
        // All but b could go: not enough for this, so nothing does.
        assert_eq!(index.reserve(5 * BLOCK, 8 * BLOCK), None);
        assert_eq!(index.size().0, 3);
        drop(serving);
        index.release(promised);
        assert_eq!(index.reserve(7 * BLOCK, 8 * BLOCK).unwrap().1.len(), 3);
    }

    #[test]
    fn shared_content_counts_once_and_goes_with_its_last_entry() {
        let mut index = Index::default();
        add(&mut index, "a", 1, 10 * BLOCK);
        add(&mut index, "b", 1, 10 * BLOCK);
        assert_eq!(index.size(), (2, 12 * BLOCK));
        assert_eq!(add(&mut index, "a", 1, 10 * BLOCK), None);
        assert_eq!(add(&mut index, "a", 2, BLOCK), None);
        assert_eq!(add(&mut index, "b", 2, BLOCK), Some([1; 32]));
        assert_eq!(index.size(), (2, 3 * BLOCK));
        assert_eq!(index.of_object(&[2; 32]).len(), 2);
    }

    proptest! {
        #[test]
        fn the_sum_is_right_whatever_happens(
            steps in prop::collection::vec((0_u8..6, 0_u8..5, 0_u64..5 * BLOCK, 0_u8..4), 0..200)
        ) {
            let most = 12 * BLOCK;
            let mut index = Index::default();
            let mut pins = Vec::new();
            for (path, content, _, what) in steps {
                let key = Key::of(&path.to_string());
                let size = u64::from(content) * 3000;
                match what {
                    // Taken away on purpose: whoever reads it, reads on.
                    0 => if let Some(Removed { object: Some(gone), .. }) = index.remove(&key) {
                        pins.retain(|pin: &Pinned| pin.digest != gone);
                    }
                    1 => { pins.extend(index.get(&key)); }
                    2 => { pins.clear(); }
                    _ => if let Some((promised, removed)) = index.reserve(size, most) {
                        for removed in removed {
                            let in_use = |pin: &Pinned| removed.object == Some(pin.digest);
                            prop_assert!(!pins.iter().any(in_use));
                        }
                        index.release(promised);
                        if let Some(gone) = add(&mut index, &path.to_string(), content, size) {
                            pins.retain(|pin| pin.digest != gone);
                        }
                    }
                }
                let objects: u64 = index.objects.values().map(|object| blocks(object.size)).sum();
                prop_assert_eq!(index.bytes, objects + index.entries.len() as u64 * BLOCK);
                prop_assert!(index.bytes <= most && index.reserved == 0);
                prop_assert_eq!(index.order.len(), index.entries.len());
                let entries: usize = index.objects.values().map(|object| object.entries).sum();
                prop_assert_eq!(entries, index.entries.len());
            }
        }
    }
}
