// SPDX-License-Identifier: Apache-2.0
//! What is counted about requests to the upstream.

use hyper::StatusCode;
use prometheus::{IntCounterVec, Opts, Registry};

/// Metrics of [`UpstreamClient::pass`](super::UpstreamClient::pass).
#[derive(Debug, Clone)]
pub struct Metrics {
    answers: IntCounterVec,
}

impl Metrics {
    /// Makes and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "relayd_passed_requests_total",
            "Requests of nodes passed to the upstream, by class of the answer; none: there was no answer",
        );
        let answers = IntCounterVec::new(opts, &["class"])?;
        for class in ["2xx", "4xx", "5xx", "other", "none"] {
            answers.with_label_values(&[class]);
        }
        registry.register(Box::new(answers.clone()))?;
        Ok(Self { answers })
    }

    /// Counts one; `None` when there was no answer.
    pub fn passed(&self, status: Option<StatusCode>) {
        let class = match status.map(|status| status.as_u16()) {
            None => "none",
            Some(200..=299) => "2xx",
            Some(400..=499) => "4xx",
            Some(500..=599) => "5xx",
            Some(_) => "other",
        };
        self.answers.with_label_values(&[class]).inc();
    }
}
