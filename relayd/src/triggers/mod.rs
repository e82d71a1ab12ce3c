// SPDX-License-Identifier: Apache-2.0
//! Tells nodes that they should run, and hears from them what came of it (protocol 16.1, 16.3).
//!
//! ```text
//!  ask ──▶ run: waiting ──GET──▶ offered ──first POST──▶ taken ──final event──▶ over
//!              │  └─ expired, cancelled, node gone ──────┐   └─ no word for long ─▶ over
//!              └────────────────────────────────────────▶ over: the one final event is sent
//! ```
//!
//! Who asks gets the events of each run through a bounded channel. Nothing of this outlives the process:
//! neither does who asked.
//!
//! | file | what |
//! |---|---|
//! | `table` | which agents are connected, and which runs are in hand |
//! | `run` | one run on one node |
//! | `service` | the two requests in HTTP |
//! | `metrics` | what is counted |
//! | `described` | for the documents of the API |
//!
//! Invariants: each run that was asked for ends in exactly one final event. A run that has expired or was
//! cancelled before it was taken is never made: its node asks before it begins. Memory is bounded by the
//! number of nodes.

pub(crate) mod described;
mod metrics;
mod run;
mod service;
mod table;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus::Registry;
use protocol::{
    node_id::NodeId,
    remote_run::{Event, RunRequest},
    triggers::Pace,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{metrics::Metrics, run::Run, table::Table};
use crate::{config, nodes::Nodes};

/// How often it is looked for what has become late.
const TICK: Duration = Duration::from_millis(500);

/// Agents that may be connected, and runs to be asked of them. Clones are handles to the same.
#[derive(Clone)]
pub struct Triggers(Arc<Inner>);

struct Inner {
    settings: config::Triggers,
    nodes: Nodes,
    table: Mutex<Table>,
    /// Reports whose bodies are in memory.
    reading: tokio::sync::Semaphore,
}

/// Reports whose bodies are in memory at a time: with [`protocol::triggers::MAX_REPORT`] bytes each, 16 MiB.
const READING: usize = 256;

impl Triggers {
    /// With no agent yet.
    pub fn new(
        settings: config::Triggers,
        nodes: Nodes,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let table = Mutex::new(Table::new(Metrics::new(registry)?));
        let reading = tokio::sync::Semaphore::new(READING);
        Ok(Self(Arc::new(Inner { settings, nodes, table, reading })))
    }

    /// Asks a node to run. The receiver gets what happens there: exactly one final event, after which the
    /// channel is closed. Dropping it cancels the run, unless the node has begun it already.
    pub fn ask(&self, node: &NodeId, request: RunRequest) -> mpsc::Receiver<Event> {
        let is_known = self.0.nodes.borrow().knows(node);
        let mut table = self.table();
        let (run, events) = Run::new(request, table.runs(), Instant::now());
        if is_known {
            table.add(node, run);
        } else {
            run.end(Event::refused("this server does not know the node"));
        }
        events
    }

    /// Whether the agent of this node keeps a connection to this server.
    pub fn is_connected(&self, node: &NodeId) -> bool {
        self.table().is_connected(node)
    }

    /// Ends what is late, until `stop`; then all that is in hand.
    pub async fn run(self, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
        let mut nodes = self.0.nodes.clone();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => break,
            }
            let changed = nodes.has_changed().unwrap_or(false).then(|| nodes.borrow_and_update().clone());
            let mut table = self.table();
            if let Some(nodes) = changed {
                table.forget_strangers(&nodes);
            }
            let pace = self.pace_of(&table);
            table.sweep(Instant::now(), pace);
        }
        self.table().close("the server is stopping");
        Ok(())
    }

    /// What agents are told of how to keep in touch.
    fn pace_of(&self, table: &Table) -> Pace {
        let per_second = self.0.settings.reconnects_per_second.max(1);
        Pace {
            heartbeat: self.0.settings.wait.as_secs().max(1),
            reconnect_within: table.most_connected().div_ceil(per_second).max(1) as u64,
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
