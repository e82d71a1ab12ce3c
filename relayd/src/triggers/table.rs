// SPDX-License-Identifier: Apache-2.0
//! Which agents are connected, and which runs are in hand. No waiting here: whoever waits has a bell.

use std::{collections::HashMap, sync::Arc, time::Duration};

use protocol::{
    node_id::NodeId,
    remote_run::{Event, RunRequestId},
    triggers::{MAX_RUNS, Offer, Pace, ReportFrom},
};
use tokio::{sync::Notify, time::Instant};

use super::{
    metrics::{Metrics, Step},
    run::{Reported, Run},
};
use crate::nodes::NodeTable;

/// Runs in hand altogether: all nodes of the largest relay, and some.
const MAX_IN_ALL: usize = 100_000;

/// What is known of nodes that are connected, or of which something is asked.
pub struct Table {
    nodes: HashMap<NodeId, Node>,
    requests: u64,
    connected: usize,
    most_connected: usize,
    runs: usize,
    /// Why no run is taken any more.
    closed: Option<&'static str>,
    metrics: Metrics,
}

#[derive(Default)]
struct Node {
    contact: Contact,
    runs: Vec<Run>,
}

#[derive(Default)]
enum Contact {
    /// Not connected.
    #[default]
    None,
    /// A request waits for news.
    Waiting(Waiter),
    /// The last request was answered; the next one must come before this.
    Between(Instant),
}

struct Waiter {
    number: u64,
    bell: Arc<Notify>,
}

/// A request that waits: its number, and the bell that rings when there is something to look at.
pub type Waiting = (u64, Arc<Notify>);

impl Table {
    /// An empty one.
    pub fn new(metrics: Metrics) -> Self {
        let nodes = HashMap::new();
        Self { nodes, requests: 0, connected: 0, most_connected: 0, runs: 0, closed: None, metrics }
    }

    /// The most agents that were connected at a time.
    pub fn most_connected(&self) -> usize {
        self.most_connected
    }

    /// Runs in hand.
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// Whether the agent of a node is connected.
    pub fn is_connected(&self, node: &NodeId) -> bool {
        self.nodes.get(node).is_some_and(|node| !matches!(node.contact, Contact::None))
    }

    /// Adds a run, and wakes the node if it is connected.
    pub fn add(&mut self, node: &NodeId, run: Run) {
        self.metrics.step(Step::Asked);
        if let Some(reason) = self.closed {
            return self.over(run, Event::unreachable(reason));
        }
        if self.runs >= MAX_IN_ALL {
            return self
                .over(run, Event::refused("as many runs as this server can keep in mind are under way"));
        }
        let known = self.nodes.entry(node.clone()).or_default();
        if known.runs.len() >= MAX_RUNS {
            let reason = format!("{MAX_RUNS} runs of this node wait already");
            return self.over(run, Event::refused(reason));
        }
        known.runs.push(run);
        self.runs += 1;
        if let Contact::Waiting(waiter) = &known.contact {
            waiter.bell.notify_one();
        }
        self.metrics.runs.set(self.runs as i64);
    }

    /// A request of a node begins to wait, in the place of one that does already.
    pub fn begin(&mut self, node: &NodeId) -> Waiting {
        self.requests += 1;
        let bell = Arc::new(Notify::new());
        let waiter = Waiter { number: self.requests, bell: bell.clone() };
        let known = self.nodes.entry(node.clone()).or_default();
        match std::mem::replace(&mut known.contact, Contact::Waiting(waiter)) {
            Contact::None => self.connected += 1,
            Contact::Between(_) => {}
            Contact::Waiting(before) => {
                before.bell.notify_one();
                self.metrics.replaced.inc();
            }
        }
        self.most_connected = self.most_connected.max(self.connected);
        self.metrics.connected.set(self.connected as i64);
        (self.requests, bell)
    }

    /// Whether no later request of this node took the place of that one.
    pub fn is_newest(&self, node: &NodeId, number: u64) -> bool {
        let contact = self.nodes.get(node).map(|node| &node.contact);
        matches!(contact, Some(Contact::Waiting(waiter)) if waiter.number == number)
    }

    /// A request ends. Its connection is there until `next`, or, without that, is gone.
    pub fn end(&mut self, node: &NodeId, number: u64, next: Option<Instant>) {
        if !self.is_newest(node, number) {
            return;
        }
        if let (Some(known), Some(next)) = (self.nodes.get_mut(node), next) {
            known.contact = Contact::Between(next);
            return;
        }
        self.disconnect(node);
    }

    /// Runs for a node that it does not have already.
    pub fn offers(&mut self, node: &NodeId, have: &[RunRequestId], now: Instant) -> Vec<Offer> {
        let Some(known) = self.nodes.get_mut(node) else { return vec![] };
        let wanted = known.runs.iter_mut().filter(|run| !have.contains(&run.id()));
        let offers: Vec<_> = wanted.filter_map(|run| run.offer(now)).collect();
        for _ in offers.iter().filter(|(_, is_first)| *is_first) {
            self.metrics.step(Step::Delivered);
        }
        offers.into_iter().map(|(offer, _)| offer).collect()
    }

    /// Takes a report.
    pub fn report(
        &mut self,
        node: &NodeId,
        id: RunRequestId,
        place: ReportFrom,
        events: &[Event],
        now: Instant,
    ) -> Reported {
        let Some(known) = self.nodes.get_mut(node) else { return Reported::Gone };
        let Some(at) = known.runs.iter().position(|run| run.id() == id) else { return Reported::Gone };
        let (reported, end) = known.runs[at].report(place, events, now);
        if let Some(end) = end {
            let run = known.runs.swap_remove(at);
            self.runs -= 1;
            self.over(run, end);
            self.tidy(node);
        }
        reported
    }

    /// Ends runs and connections that are late.
    pub fn sweep(&mut self, now: Instant, pace: Pace) {
        // Three beats: one that was lost, and two attempts to make up for it.
        let patience = Duration::from_secs(pace.heartbeat) * 3 + pace.tolerance() * 2;
        let long_ago = now.checked_sub(patience);
        let mut ended = vec![];
        let mut late = 0;
        self.nodes.retain(|_, node| {
            for at in (0..node.runs.len()).rev() {
                let run = &node.runs[at];
                let end = if run.is_cancelled() {
                    None
                } else if run.is_expired(now) {
                    Some(Event::Expired)
                } else if run.is_silent_since(long_ago) {
                    let reason =
                        format!("no word of the run for {} s after the node took it", patience.as_secs());
                    Some(Event::unreachable(reason))
                } else {
                    continue;
                };
                ended.push((node.runs.swap_remove(at), end));
            }
            if matches!(node.contact, Contact::Between(next) if next <= now) {
                node.contact = Contact::None;
                late += 1;
            }
            !node.is_idle()
        });
        self.connected -= late;
        self.runs -= ended.len();
        for (run, end) in ended {
            match end {
                Some(end) => self.over(run, end),
                None => self.metrics.step(Step::Cancelled),
            }
        }
        self.metrics.connected.set(self.connected as i64);
        self.metrics.runs.set(self.runs as i64);
    }

    /// Ends the runs of nodes that are known no more. Their connections are closed by the gateway.
    pub fn forget_strangers(&mut self, table: &NodeTable) {
        let reason = "this server does not know the node any more";
        let gone: Vec<_> = self.nodes.keys().filter(|node| !table.knows(node)).cloned().collect();
        for node in gone {
            self.end_runs(&node, reason);
            self.tidy(&node);
        }
    }

    /// Ends all runs, and takes no more.
    pub fn close(&mut self, reason: &'static str) {
        self.closed = Some(reason);
        let nodes: Vec<_> = self.nodes.keys().cloned().collect();
        for node in nodes {
            self.end_runs(&node, reason);
        }
    }

    fn end_runs(&mut self, node: &NodeId, reason: &str) {
        let runs = self.nodes.get_mut(node).map(|node| std::mem::take(&mut node.runs)).unwrap_or_default();
        self.runs -= runs.len();
        for run in runs {
            self.over(run, Event::unreachable(reason));
        }
    }

    fn over(&self, run: Run, end: Event) {
        self.metrics.ended(&end);
        self.metrics.runs.set(self.runs as i64);
        run.end(end);
    }

    fn disconnect(&mut self, node: &NodeId) {
        if let Some(known) = self.nodes.get_mut(node)
            && !matches!(std::mem::take(&mut known.contact), Contact::None)
        {
            self.connected -= 1;
            self.metrics.connected.set(self.connected as i64);
        }
        self.tidy(node);
    }

    fn tidy(&mut self, node: &NodeId) {
        if self.nodes.get(node).is_some_and(Node::is_idle) {
            self.nodes.remove(node);
        }
    }
}

#[cfg(test)]
impl Table {
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

impl Node {
    fn is_idle(&self) -> bool {
        self.runs.is_empty() && matches!(self.contact, Contact::None)
    }
}
