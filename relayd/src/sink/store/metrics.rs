// SPDX-License-Identifier: Apache-2.0
//! Metrics of the store. Rejections by reason are counted by the spool, which settles all of them.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry, exponential_buckets};

/// What the store counts.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    /// Whether the last attempt to write reached a working database.
    pub(super) database_up: IntGauge,
    /// Run logs per committed transaction.
    pub(super) batch_run_logs: Histogram,
    /// Rows per committed transaction.
    pub(super) batch_rows: Histogram,
    /// Time from taking a batch to its commit.
    pub(super) batch_seconds: Histogram,
    /// Time from the start of a run to the commit of its run log.
    pub(super) run_age: Histogram,
    /// Report rows stored.
    pub(super) rows: IntCounter,
    /// Run logs that were stored before.
    pub(super) already_stored: IntCounter,
    /// NUL characters replaced, which databases cannot hold.
    pub(super) nuls: IntCounter,
    /// Transactions begun to write run logs, failed and rehearsed ones included.
    pub(super) transactions: IntCounter,
    /// Batches that failed and were taken apart.
    pub(super) batches_split: IntCounter,
}

impl Metrics {
    /// Makes and registers them.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let histogram = |name: &str, help: &str, buckets| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))
        };
        let metrics = Self {
            database_up: IntGauge::new(
                "relayd_database_up",
                "1 when the last attempt to write reached a working database, else 0",
            )?,
            batch_run_logs: histogram(
                "relayd_store_batch_run_logs",
                "Run logs per committed transaction",
                exponential_buckets(1.0, 2.0, 9)?,
            )?,
            batch_rows: histogram(
                "relayd_store_batch_rows",
                "Report rows per committed transaction",
                exponential_buckets(16.0, 4.0, 8)?,
            )?,
            batch_seconds: histogram(
                "relayd_store_batch_duration_seconds",
                "Time to write and commit one batch, in seconds",
                exponential_buckets(0.001, 2.0, 15)?,
            )?,
            run_age: histogram(
                "relayd_store_run_age_seconds",
                "Time from the start of a run, by the clock of its node, to the commit of its run log",
                exponential_buckets(1.0, 4.0, 10)?,
            )?,
            rows: IntCounter::new("relayd_store_rows_total", "Report rows stored")?,
            already_stored: IntCounter::new(
                "relayd_store_already_stored_total",
                "Run logs that had been stored before",
            )?,
            nuls: IntCounter::new("relayd_store_nul_replaced_total", "NUL characters replaced by U+FFFD")?,
            transactions: IntCounter::new(
                "relayd_store_transactions_total",
                "Attempts to write a batch, failed and rehearsed ones included",
            )?,
            batches_split: IntCounter::new(
                "relayd_store_batches_split_total",
                "Batches taken apart because the database refused something in them",
            )?,
        };
        registry.register(Box::new(metrics.database_up.clone()))?;
        registry.register(Box::new(metrics.batch_run_logs.clone()))?;
        registry.register(Box::new(metrics.batch_rows.clone()))?;
        registry.register(Box::new(metrics.batch_seconds.clone()))?;
        registry.register(Box::new(metrics.run_age.clone()))?;
        registry.register(Box::new(metrics.rows.clone()))?;
        registry.register(Box::new(metrics.already_stored.clone()))?;
        registry.register(Box::new(metrics.nuls.clone()))?;
        registry.register(Box::new(metrics.transactions.clone()))?;
        registry.register(Box::new(metrics.batches_split.clone()))?;
        Ok(metrics)
    }
}
