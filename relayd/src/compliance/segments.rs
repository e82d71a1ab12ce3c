// SPDX-License-Identifier: Apache-2.0
//! The state of one node over time, as segments: what runs make of them, in whatever order they come.
//!
//! A segment is a longest series of complete runs, by start, with the same set of results and no gap
//! between neighbours over the freshness (protocol 4.5). So segments do not overlap, and two neighbours
//! differ in their set or are further apart than that.

/// A series of runs with the same results. Unix times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Start of its first run.
    pub since: i64,
    /// Start of its last run.
    pub last: i64,
    /// The results: an id of `compliance_set`.
    pub set: i64,
}

/// The runs next to a late one, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// Start of the latest run before it.
    pub before: Option<i64>,
    /// Start of the earliest run after it.
    pub after: Option<i64>,
}

/// Segments of a node: ascending, and without a hole around the runs that are added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segments(Vec<Segment>);

impl Segments {
    /// Takes segments in any order.
    pub fn new(mut segments: Vec<Segment>) -> Self {
        segments.sort_unstable_by_key(|segment| segment.last);
        Self(segments)
    }

    /// Those of all these runs (start and set), which come by start: the recomputation.
    pub fn of_runs(runs: impl IntoIterator<Item = (i64, i64)>, freshness: i64) -> Self {
        let mut segments = Self::default();
        for (start, set) in runs {
            segments.add(start, set, freshness, Neighbours::default());
        }
        segments
    }

    /// Adds a run. `neighbours` are needed when it falls within a segment with other results, which it
    /// splits; where they are not known any more, they are taken to be as far away as they can have been.
    /// A run of a start that is known is not added again.
    pub fn add(&mut self, start: i64, set: i64, freshness: i64, neighbours: Neighbours) {
        let place = self.0.partition_point(|segment| segment.last < start);
        let run = Segment { since: start, last: start, set };
        let next = self.0.get(place).copied();
        if let Some(around) = next.filter(|segment| segment.since <= start) {
            let is_end = start == around.since || start == around.last;
            if around.set != set && !is_end {
                let before = neighbours.before.filter(|before| (around.since..start).contains(before));
                let after = neighbours.after.filter(|after| (start + 1..=around.last).contains(after));
                let last = before.unwrap_or_else(|| around.since.max(start - freshness));
                let since = after.unwrap_or_else(|| around.last.min(start + freshness));
                self.0.splice(place..=place, [Segment { last, ..around }, run, Segment { since, ..around }]);
            }
            return;
        }
        let joined = |earlier: &Segment, later: &Segment| {
            earlier.set == later.set && later.since - earlier.last <= freshness
        };
        let previous = place.checked_sub(1).and_then(|place| self.0.get(place).copied());
        let previous = previous.filter(|previous| joined(previous, &run));
        let next = next.filter(|next| joined(&run, next));
        let whole = Segment {
            since: previous.map_or(start, |previous| previous.since),
            last: next.map_or(start, |next| next.last),
            set,
        };
        let replaced = place - usize::from(previous.is_some())..place + usize::from(next.is_some());
        self.0.splice(replaced, [whole]);
    }

    /// All of them, ascending.
    pub fn as_slice(&self) -> &[Segment] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const FRESHNESS: i64 = 10;

    /// By definition, without [`Segments::add`].
    fn recomputed(runs: &BTreeMap<i64, i64>) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for (&start, &set) in runs {
            match segments.last_mut() {
                Some(open) if open.set == set && start - open.last <= FRESHNESS => open.last = start,
                _ => segments.push(Segment { since: start, last: start, set }),
            }
        }
        segments
    }

    fn add(segments: &mut Segments, known: &mut BTreeMap<i64, i64>, (start, set): (i64, i64)) {
        let neighbours = Neighbours {
            before: known.range(..start).next_back().map(|(before, _)| *before),
            after: known.range(start + 1..).next().map(|(after, _)| *after),
        };
        segments.add(start, set, FRESHNESS, neighbours);
        known.entry(start).or_insert(set);
    }

    proptest! {
        #[test]
        fn any_order_of_arrival_makes_the_same_segments(
            runs in prop::collection::btree_map(0i64..200, 0i64..3, 1..60),
            order in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..120),
        ) {
            let mut waiting: Vec<_> = runs.clone().into_iter().collect();
            let (mut segments, mut known) = (Segments::default(), BTreeMap::new());
            for (place, again) in order {
                if waiting.is_empty() {
                    break;
                }
                let place = place.index(waiting.len());
                let run = if again { waiting[place] } else { waiting.swap_remove(place) };
                add(&mut segments, &mut known, run);
                prop_assert_eq!(segments.as_slice(), recomputed(&known));
            }
            for run in waiting {
                add(&mut segments, &mut known, run);
            }
            prop_assert_eq!(segments.as_slice(), recomputed(&runs));
            prop_assert_eq!(&segments, &Segments::of_runs(runs, FRESHNESS));
        }
    }

    #[test]
    fn a_split_without_known_neighbours_leaves_no_gap() {
        let mut segments = Segments::new(vec![Segment { since: 0, last: 100, set: 1 }]);
        segments.add(50, 2, FRESHNESS, Neighbours { before: Some(-5), after: Some(500) });
        let expected = [
            Segment { since: 0, last: 40, set: 1 },
            Segment { since: 50, last: 50, set: 2 },
            Segment { since: 60, last: 100, set: 1 },
        ];
        assert_eq!(segments.as_slice(), expected);
    }

    #[test]
    fn another_run_of_a_known_start_changes_nothing() {
        let before = Segments::new(vec![Segment { since: 0, last: 5, set: 1 }]);
        for (start, set) in [(0, 2), (5, 2), (5, 1), (3, 1)] {
            let mut segments = before.clone();
            segments.add(start, set, FRESHNESS, Neighbours::default());
            assert_eq!(segments, before, "{start}");
        }
    }
}
