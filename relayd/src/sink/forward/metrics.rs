// SPDX-License-Identifier: Apache-2.0
//! What forwarding counts.

use hyper::StatusCode;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};
use protocol::urls::UploadKind;

/// Metrics of forwarding from one spool, all with the label `spool`.
#[derive(Debug, Clone)]
pub struct Metrics {
    answers: IntCounterVec,
    /// Bytes that the upstream accepted.
    pub bytes: IntCounter,
    /// Time per file that was accepted or rejected.
    pub seconds: Histogram,
}

impl Metrics {
    /// Makes and registers them.
    pub fn new(kind: UploadKind, registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = |name: &str, help: &str| {
            Opts::new(format!("relayd_forward_{name}"), help).const_label("spool", kind.segment())
        };
        let answers = opts("answers_total", "Uploads by class of the answer; none: there was no answer");
        let seconds = opts("duration_seconds", "Time to forward a file, in seconds");
        let metrics = Self {
            answers: IntCounterVec::new(answers, &["class"])?,
            bytes: IntCounter::with_opts(opts("bytes_total", "Bytes that the upstream accepted"))?,
            seconds: Histogram::with_opts(HistogramOpts::from(seconds))?,
        };
        for class in ["2xx", "4xx", "5xx", "other", "none"] {
            metrics.answers.with_label_values(&[class]);
        }
        registry.register(Box::new(metrics.answers.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        Ok(metrics)
    }

    /// Counts an answer.
    pub fn answered(&self, status: StatusCode) {
        let class = match status.as_u16() {
            200..=299 => "2xx",
            400..=499 => "4xx",
            500..=599 => "5xx",
            _ => "other",
        };
        self.answers.with_label_values(&[class]).inc();
    }

    /// Counts an upload that got no answer.
    pub fn failed(&self) {
        self.answers.with_label_values(&["none"]).inc();
    }
}
