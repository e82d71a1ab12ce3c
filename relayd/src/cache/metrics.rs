// SPDX-License-Identifier: Apache-2.0
//! What is counted about the cache.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    core::{Collector, Desc},
    proto::MetricFamily,
};

use super::index::Index;

/// What happens in the cache.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Answers, by how they came about.
    pub answers: IntCounterVec,
    /// Requests that joined one under way.
    pub joined: IntCounter,
    /// Bytes from the upstream.
    pub fetched_bytes: IntCounter,
    /// Transfers taken up where they broke.
    pub resumed: IntCounter,
    /// Contents that were not what they should be.
    pub damaged: IntCounter,
}

impl Metrics {
    /// Makes and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let answers = Opts::new(
            "relayd_cache_answers_total",
            "Answers from the cache; stale: the upstream could not be asked; passed: not kept",
        );
        let answers = IntCounterVec::new(answers, &["from"])?;
        for from in ["unchanged", "fetched", "stale", "passed", "gone", "failed"] {
            answers.with_label_values(&[from]);
        }
        let registered = |metric: &dyn Fn() -> Box<dyn Collector>| registry.register(metric());
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registered(&|| Box::new(counter.clone())).map(|()| counter)
        };
        registry.register(Box::new(answers.clone()))?;
        Ok(Self {
            answers,
            joined: counter(
                "relayd_cache_joined_total",
                "Requests that joined one for the same file under way to the upstream",
            )?,
            fetched_bytes: counter(
                "relayd_cache_fetched_bytes_total",
                "Bytes of files fetched from the upstream",
            )?,
            resumed: counter("relayd_cache_resumed_total", "Transfers taken up where the connection broke")?,
            damaged: counter(
                "relayd_cache_damaged_total",
                "Files fetched or kept whose content was not what it should be",
            )?,
        })
    }
}

/// How much there is, looked at when metrics are asked for.
pub struct Size {
    index: Arc<Mutex<Index>>,
    files: IntGauge,
    bytes: IntGauge,
}

impl Size {
    /// Makes and registers it.
    pub fn register(index: Arc<Mutex<Index>>, registry: &Registry) -> Result<(), prometheus::Error> {
        let files = IntGauge::new("relayd_cache_files", "Paths of the upstream of which there is a copy")?;
        let bytes = IntGauge::new("relayd_cache_bytes", "Size of the cache on the disk")?;
        registry.register(Box::new(Self { index, files, bytes }))
    }
}

impl Collector for Size {
    fn desc(&self) -> Vec<&Desc> {
        [self.files.desc(), self.bytes.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (files, bytes) = self.index.lock().unwrap_or_else(PoisonError::into_inner).size();
        self.files.set(i64::try_from(files).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        [self.files.collect(), self.bytes.collect()].concat()
    }
}
