// SPDX-License-Identifier: Apache-2.0
//! What becomes of what nodes send, as resolved.

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};

use super::InventoryOutput;

/// What becomes of run logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunLogOutput {
    /// Verified, parsed, stored.
    Database,
    /// Sent upstream unchanged.
    Upstream,
    /// Left alone.
    Disabled,
}

/// `[processing.reporting]`.
#[derive(Debug, Clone)]
pub struct RunLogs {
    /// What becomes of them.
    pub output: RunLogOutput,
    /// The spool.
    pub spool: SpoolSettings,
    /// Event types that are not stored.
    pub skip_event_types: Vec<String>,
    /// Largest inflated run log, in bytes.
    pub max_inflated: u64,
    /// Since when this server lacks run logs.
    pub resend_since: Option<DateTime<Utc>>,
}

/// `[compliance]`.
#[derive(Debug, Clone, Copy)]
pub struct Compliance {
    /// Time between two runs of an agent.
    pub run_interval: Duration,
}

/// `[processing.inventory]`.
#[derive(Debug, Clone)]
pub struct Inventories {
    /// What becomes of them.
    pub output: InventoryOutput,
    /// Advisories, a file or directory; `None` when there are none.
    pub advisories: Option<PathBuf>,
    /// The spool of new inventories (`incoming`) and of updates (`accepted-nodes-updates`), which share `failed`.
    pub spool: SpoolSettings,
}

/// Settings of a spool.
#[derive(Debug, Clone)]
pub struct SpoolSettings {
    /// Base directory, which holds `incoming/` and `failed/`.
    pub directory: PathBuf,
    /// Time between sweeps. `None`: only at start and when needed.
    pub sweep_every: Option<Duration>,
    /// Largest file looked at, in bytes.
    pub max_file_size: u64,
    /// Deliveries in flight at a time.
    pub max_in_flight: usize,
    /// Time between removals of what is too old.
    pub clean_every: Duration,
    /// Age from which files are removed, counted and logged.
    pub retention: Duration,
}
