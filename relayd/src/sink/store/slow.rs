// SPDX-License-Identifier: Apache-2.0
//! How often a run log ran into time limits although it was alone: each time costs a writer minutes,
//! so that it must not go on for ever. All writers share it. Bounded: the oldest are forgotten.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

type Digest = [u8; 32];

/// Attempts by digest, those counted last at the end.
#[derive(Debug, Default)]
pub(super) struct SlowOnes(Mutex<VecDeque<(Digest, u32)>>);

/// Most digests kept; each stands for minutes of a writer.
const MOST: usize = 256;

impl SlowOnes {
    /// Counts an attempt; gives how many there were.
    pub(super) fn count(&self, digest: &Digest) -> u32 {
        let mut kept = self.kept();
        let earlier = take(&mut kept, digest).unwrap_or(0);
        if kept.len() >= MOST {
            kept.pop_front();
        }
        kept.push_back((*digest, earlier + 1));
        earlier + 1
    }

    /// It is over with this one.
    pub(super) fn forget(&self, digest: &Digest) {
        take(&mut self.kept(), digest);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<(Digest, u32)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(kept: &mut VecDeque<(Digest, u32)>, digest: &Digest) -> Option<u32> {
    let place = kept.iter().position(|(other, _)| other == digest)?;
    kept.remove(place).map(|(_, times)| times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_digest_and_forgets_the_oldest() {
        let slow = SlowOnes::default();
        let digest = |i: usize| [u8::try_from(i % 256).unwrap(), u8::try_from(i / 256).unwrap()].repeat(16);
        let digest = |i: usize| -> Digest { digest(i).try_into().unwrap() };
        assert_eq!((slow.count(&digest(0)), slow.count(&digest(1)), slow.count(&digest(0))), (1, 1, 2));
        for i in 2..=MOST {
            slow.count(&digest(i));
        }
        assert_eq!(slow.kept().len(), MOST);
        assert_eq!((slow.count(&digest(0)), slow.count(&digest(1))), (3, 1));
        slow.forget(&digest(0));
        assert_eq!(slow.count(&digest(0)), 1);
    }
}
