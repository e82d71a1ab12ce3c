// SPDX-License-Identifier: Apache-2.0
//! What is counted about requests to the upstream.

use hyper::StatusCode;
use prometheus::{IntCounterVec, Opts, Registry};

/// Metrics of [`UpstreamClient::pass`](super::UpstreamClient::pass) and
/// [`UpstreamClient::stream`](super::UpstreamClient::stream).
#[derive(Debug, Clone)]
pub struct Metrics {
    passed: IntCounterVec,
    streamed: IntCounterVec,
}

impl Metrics {
    /// Makes and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            passed: by_class(
                "relayd_passed_requests_total",
                "Requests of nodes passed to the upstream, by class of the answer; none: there was no answer",
                registry,
            )?,
            streamed: by_class(
                "relayd_streamed_requests_total",
                "Requests for or with files sent to the upstream, by class of the answer; none: there was no answer",
                registry,
            )?,
        })
    }

    /// Counts a request that was passed; `None` when there was no answer.
    pub fn passed(&self, status: Option<StatusCode>) {
        count(&self.passed, status);
    }

    /// Counts one that was streamed; the same.
    pub fn streamed(&self, status: Option<StatusCode>) {
        count(&self.streamed, status);
    }
}

fn by_class(name: &str, help: &str, registry: &Registry) -> Result<IntCounterVec, prometheus::Error> {
    let answers = IntCounterVec::new(Opts::new(name, help), &["class"])?;
    for class in ["2xx", "304", "4xx", "5xx", "other", "none"] {
        answers.with_label_values(&[class]);
    }
    registry.register(Box::new(answers.clone()))?;
    Ok(answers)
}

fn count(answers: &IntCounterVec, status: Option<StatusCode>) {
    let class = match status.map(|status| status.as_u16()) {
        None => "none",
        Some(200..=299) => "2xx",
        Some(304) => "304",
        Some(400..=499) => "4xx",
        Some(500..=599) => "5xx",
        Some(_) => "other",
    };
    answers.with_label_values(&[class]).inc();
}
