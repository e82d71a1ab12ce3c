// SPDX-License-Identifier: Apache-2.0
//! What the gateway counts.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    core::Collector, exponential_buckets,
};

/// The gateway's metrics.
#[derive(Clone)]
pub struct GatewayMetrics {
    /// Answers by route and status.
    pub requests: IntCounterVec,
    /// From the header of a request to the header of its answer, by route.
    pub request_seconds: HistogramVec,
    /// Body bytes of answers that say how long they are.
    pub sent_bytes: IntCounter,
    /// Requests that were no proper HTTP.
    pub malformed: IntCounter,
    /// Body bytes of uploads.
    pub received_bytes: IntCounter,
    /// Connections accepted.
    pub connections: IntCounter,
    /// Connections open now.
    pub open_connections: IntGauge,
    /// TLS handshakes that succeeded.
    pub handshakes: IntCounter,
    /// Connections closed because their node was known no more.
    pub revoked_connections: IntCounter,
    /// TLS handshakes that failed or took too long.
    pub tls_failures: IntCounter,
    /// Requests for the tree of nodes that are being answered or wait for news.
    pub waiting: IntGauge,
    /// Uploads under way.
    pub uploads: IntGauge,
    /// Uploads that shared one fsync of the directory.
    pub commit_batch: Histogram,
    /// From the header of an accepted upload to its answer.
    pub upload_seconds: Histogram,
}

impl GatewayMetrics {
    /// Makes and registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let batches = HistogramOpts::new(
            "relayd_gateway_commit_batch_size",
            "Uploads that shared one fsync of their directory",
        )
        .buckets(exponential_buckets(1.0, 2.0, 10)?);
        let seconds = HistogramOpts::new(
            "relayd_gateway_upload_duration_seconds",
            "Time from the header of an accepted upload to its answer, in seconds",
        )
        .buckets(exponential_buckets(0.001, 2.0, 14)?);
        let durations = HistogramOpts::new(
            "relayd_gateway_request_duration_seconds",
            "Time from the header of a request to the header of its answer, by route; those who wait for news included",
        )
        .buckets(exponential_buckets(0.0005, 4.0, 9)?);
        Ok(Self {
            requests: add(
                registry,
                IntCounterVec::new(
                    Opts::new("relayd_gateway_requests_total", "Requests answered, by route and status"),
                    &["route", "status"],
                )?,
            )?,
            request_seconds: add(registry, HistogramVec::new(durations, &["route"])?)?,
            sent_bytes: add(
                registry,
                IntCounter::new(
                    "relayd_gateway_sent_bytes_total",
                    "Body bytes of answers, of those that say how long they are",
                )?,
            )?,
            malformed: add(
                registry,
                IntCounter::new(
                    "relayd_gateway_malformed_requests_total",
                    "Requests that were no proper HTTP; their connections were closed",
                )?,
            )?,
            received_bytes: add(
                registry,
                IntCounter::new("relayd_gateway_received_bytes_total", "Body bytes of uploads received")?,
            )?,
            connections: add(
                registry,
                IntCounter::new("relayd_gateway_connections_total", "Connections accepted")?,
            )?,
            open_connections: add(
                registry,
                IntGauge::new("relayd_gateway_connections", "Connections open")?,
            )?,
            handshakes: add(
                registry,
                IntCounter::new("relayd_gateway_tls_handshakes_total", "TLS handshakes that succeeded")?,
            )?,
            revoked_connections: add(
                registry,
                IntCounter::new(
                    "relayd_gateway_revoked_connections_total",
                    "Connections closed because their node was revoked or changed its key",
                )?,
            )?,
            tls_failures: add(
                registry,
                IntCounter::new(
                    "relayd_gateway_tls_failures_total",
                    "TLS handshakes that failed or took too long",
                )?,
            )?,
            waiting: add(
                registry,
                IntGauge::new(
                    "relayd_gateway_tree_requests_in_flight",
                    "Requests for the tree of nodes that are being answered or wait for news",
                )?,
            )?,
            uploads: add(registry, IntGauge::new("relayd_gateway_uploads_in_flight", "Uploads under way")?)?,
            commit_batch: add(registry, Histogram::with_opts(batches)?)?,
            upload_seconds: add(registry, Histogram::with_opts(seconds)?)?,
        })
    }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// Counts one up, until dropped.
pub struct Counting(IntGauge);

impl Counting {
    /// Counts.
    pub fn one(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.0.dec();
    }
}
