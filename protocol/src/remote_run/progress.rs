// SPDX-License-Identifier: Apache-2.0
//! How far nodes are: keeps the promise that each ends in exactly one final event, whatever other
//! servers say.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Event, NodeEvent, Outcome, prefix};
use crate::node_id::NodeId;

/// How far one node is. Lets through only events that make sense after those before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeProgress {
    stage: Stage,
    /// Bytes of output that may still be passed on; `None` when the mark was set.
    output_left: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Waiting,
    Asked,
    Started,
    Over(Outcome),
}

/// How many nodes ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "see the outcomes of the same names")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "RunCounts"))]
pub struct Counts {
    pub succeeded: usize,
    pub failed: usize,
    pub unknown: usize,
    pub refused: usize,
    pub unreachable: usize,
    pub expired: usize,
}

/// How far all nodes of a run are.
#[derive(Debug, Clone)]
pub struct RunProgress {
    nodes: HashMap<NodeId, NodeProgress>,
    counts: Counts,
}

impl NodeProgress {
    /// A node that was not asked yet, with a cap on its output, in bytes (line ends count).
    pub fn new(max_output: u64) -> Self {
        Self { stage: Stage::Waiting, output_left: Some(max_output) }
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.stage {
            Stage::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Whether the run is known to have begun.
    pub fn has_started(&self) -> bool {
        matches!(self.stage, Stage::Started)
    }

    /// Takes an event; `None` when it makes no sense now, or is output beyond the cap. Output that
    /// reaches the cap is cut and marked.
    pub fn take(&mut self, event: Event) -> Option<Event> {
        if self.outcome().is_some() {
            return None;
        }
        let next = match &event {
            Event::Asked => Stage::Asked,
            Event::Started | Event::Output { .. } => Stage::Started,
            end => Stage::Over(end.outcome()?),
        };
        let repeated = next <= self.stage && !matches!(event, Event::Output { .. });
        if repeated {
            return None;
        }
        self.stage = next;
        match event {
            Event::Output { line, truncated } => self.cap(line, truncated),
            other => Some(other),
        }
    }

    fn cap(&mut self, mut line: String, mut truncated: bool) -> Option<Event> {
        let left = self.output_left?;
        let cost = line.len() as u64 + 1;
        match left.checked_sub(cost) {
            Some(rest) => self.output_left = Some(rest),
            None => {
                line.truncate(prefix(&line, usize::try_from(left).unwrap_or(usize::MAX)).len());
                truncated = true;
            }
        }
        if truncated {
            self.output_left = None;
        }
        Some(Event::Output { line, truncated })
    }
}

impl RunProgress {
    /// These nodes are asked, each once.
    pub fn new(nodes: impl IntoIterator<Item = NodeId>, max_output: u64) -> Self {
        let nodes = nodes.into_iter().map(|node| (node, NodeProgress::new(max_output)));
        Self { nodes: nodes.collect(), counts: Counts::default() }
    }

    /// Takes an event; `None` when it is of a node that was not asked, or makes no sense now.
    pub fn take(&mut self, event: NodeEvent) -> Option<NodeEvent> {
        let NodeEvent { node_id, time, event } = event;
        let progress = self.nodes.get_mut(&node_id)?;
        let event = progress.take(event)?;
        if let Some(outcome) = progress.outcome() {
            self.counts.add(outcome);
        }
        Some(NodeEvent { node_id, time, event })
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether all nodes have their final event.
    pub fn is_over(&self) -> bool {
        self.counts.total() == self.nodes.len()
    }

    /// How many ended how, so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Nodes without a final event, in no order.
    pub fn unfinished(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.iter().filter(|(_, progress)| progress.outcome().is_none()).map(|(node, _)| node)
    }

    /// All nodes and how far they are, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &NodeProgress)> {
        self.nodes.iter()
    }
}

impl Counts {
    /// All together.
    pub fn total(&self) -> usize {
        let Self { succeeded, failed, unknown, refused, unreachable, expired } = self;
        succeeded + failed + unknown + refused + unreachable + expired
    }

    fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Succeeded => &mut self.succeeded,
            Outcome::Failed(_) => &mut self.failed,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Refused => &mut self.refused,
            Outcome::Unreachable => &mut self.unreachable,
            Outcome::Expired => &mut self.expired,
        } += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Asked),
            Just(Event::Started),
            (".{0,12}", any::<bool>()).prop_map(|(line, truncated)| Event::Output { line, truncated }),
            proptest::option::of(any::<i32>()).prop_map(|exit_status| Event::Finished { exit_status }),
            Just(Event::refused("no")),
            Just(Event::unreachable("gone")),
            Just(Event::Expired),
        ]
    }

    proptest! {
        /// Of whatever another server says, and a closing word for those that it forgot, each node asked
        /// gets one final event, the last of its events, and nobody else gets any.
        #[test]
        fn each_node_asked_has_exactly_one_final_event(
            events in proptest::collection::vec((0..5_u8, event()), 0..60), cap in 0..40_u64,
        ) {
            let node = |number: u8| format!("n{number}").parse::<NodeId>().unwrap();
            let mut run = RunProgress::new((0..3).map(node), cap);
            let mut passed = Vec::new();
            for (number, event) in events {
                passed.extend(run.take(NodeEvent::now(node(number), event)));
            }
            let forgotten: Vec<NodeId> = run.unfinished().cloned().collect();
            for node in forgotten {
                passed.extend(run.take(NodeEvent::now(node, Event::unreachable("lost"))));
            }
            prop_assert!(run.is_over());
            prop_assert_eq!(run.counts().total(), 3);
            for number in 0..3 {
                let of_node: Vec<_> = passed.iter().filter(|e| e.node_id == node(number)).collect();
                prop_assert_eq!(of_node.iter().filter(|e| e.is_final()).count(), 1);
                prop_assert!(of_node.last().unwrap().is_final());
                let lines = of_node.iter().filter_map(|e| match &e.event {
                    Event::Output { line, truncated } => Some((line, *truncated)),
                    _ => None,
                });
                let lines: Vec<_> = lines.collect();
                prop_assert!(lines.iter().map(|(line, _)| line.len() as u64).sum::<u64>() <= cap);
                prop_assert!(lines.iter().rev().skip(1).all(|(_, truncated)| !truncated));
            }
            prop_assert!(passed.iter().all(|e| [node(0), node(1), node(2)].contains(&e.node_id)));
        }
    }

    #[test]
    fn output_is_cut_at_a_character_and_marked_once() {
        let mut node = NodeProgress::new(5);
        let output = |line: &str, truncated| Event::Output { line: line.into(), truncated };
        assert_eq!(node.take(output("a", false)), Some(output("a", false)));
        assert_eq!(node.take(output("aéé", false)), Some(output("aé", true)));
        assert_eq!(node.take(output("b", false)), None);
        assert_eq!(node.take(Event::Started), None, "output said so already");
        assert!(node.take(Event::Finished { exit_status: Some(3) }).is_some());
        assert_eq!(node.outcome(), Some(Outcome::Failed(3)));
        assert_eq!(node.take(Event::Finished { exit_status: Some(0) }), None);
    }
}
