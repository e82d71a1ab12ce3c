// SPDX-License-Identifier: Apache-2.0
//! What the local API counts.

use prometheus::{IntCounterVec, Opts, Registry};

/// Metrics of the local API.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    requests: IntCounterVec,
}

/// What is counted apart; the rest is `other`, so that nobody can make up labels.
const ENDPOINTS: &[&str] = &[
    "system",
    "metrics",
    "remote-run",
    "shared-files",
    "shared-folder",
    "openapi.json",
    "compliance",
    "changes",
    "runs",
    "nodes",
    "inventories",
    "packages",
    "updates",
    "vulnerabilities",
];

impl ApiMetrics {
    /// Makes and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts =
            Opts::new("relayd_api_requests_total", "Requests to the local API, by endpoint and status");
        let requests = IntCounterVec::new(opts, &["endpoint", "status"])?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self { requests })
    }

    /// Counts an answer.
    pub fn answered(&self, endpoint: &'static str, status: warp::http::StatusCode) {
        self.requests.with_label_values(&[endpoint, status.as_str()]).inc();
    }
}

/// What a path is counted as.
pub fn endpoint(path: &str) -> &'static str {
    let known = |part: &str| ENDPOINTS.iter().copied().find(|known| *known == part);
    let mut parts = path.split('/').filter(|part| !matches!(*part, "" | "rudder" | "relay-api" | "1" | "2"));
    parts.next().and_then(known).unwrap_or("other")
}
