// SPDX-License-Identifier: Apache-2.0
//! A relay that follows its upstream.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::Registry;
use relayd::{
    metrics::CompatibleMetrics,
    nodes::Nodes,
    tree::{Follower, FollowerStatus},
    upstream::UpstreamClient,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::upstream::{Relay, SOON, until};

/// A relay that follows.
pub struct Following {
    pub nodes: Nodes,
    pub status: FollowerStatus,
    metrics: Registry,
    pub compatible: CompatibleMetrics,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Following {
    pub fn start(relay: &Relay, client: Arc<UpstreamClient>) -> Self {
        let metrics = Registry::new();
        let compatible = CompatibleMetrics::new(&metrics).unwrap();
        let started = Follower::start(&relay.general(), client, compatible.clone(), &metrics);
        let (follower, nodes) = started.unwrap();
        let (status, stop) = (follower.status(), CancellationToken::new());
        let run = follower.run(stop.clone());
        let task = tokio::spawn(async move { run.await.unwrap() });
        Self { nodes, status, metrics, compatible, stop, task }
    }

    pub async fn until(&mut self, what: &str, expected: &[&str]) {
        until(&mut self.nodes, what, |names| names == expected).await;
    }

    /// Waits until the status says so.
    pub async fn until_status(&self, status: &str) -> serde_json::Value {
        let begun = Instant::now();
        loop {
            let json = self.status.to_json();
            if json["status"] == status && (status == "error" || !json["confirmed"].is_null()) {
                return json;
            }
            assert!(begun.elapsed() < SOON, "{json}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn metric(&self, name: &str) -> String {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.metrics.gather()).unwrap();
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.rsplit_once(' ').unwrap().1.to_owned()
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}
