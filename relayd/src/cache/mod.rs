// SPDX-License-Identifier: Apache-2.0
//! What a relay keeps of the files that it fetches from its upstream for the nodes below it
//! (protocol 14.3, docs/adr/0011).
//!
//! ```text
//! request ─▶ answer ─▶ flight (one for each file) ─▶ fetch ─▶ upstream
//!              │                                       │ 200: receive ─▶ part ─▶ object + entry
//!              │◀──────────── copy, or as it comes ────┘ 304: unchanged   404: removed
//! ```
//!
//! | file | what |
//! |---|---|
//! | `answer` | one request, from the copy, from what comes, or passed through |
//! | `flight` | all who want the same file at the same time share one request |
//! | `fetch`, `receive` | that request; its content to the disk |
//! | `follow` | a content that is sent while it comes |
//! | `uplink` | an upstream that does not answer is left alone |
//! | `store`, `index`, `entry`, `part`, `key`, `read_back` | the disk |
//!
//! Always true: what is served as a copy has the digest that it had when it was fetched; each request
//! asks the upstream first, unless that does not answer; who may ask for what is decided before, by the
//! rule table of this server, and by the upstream's for this server.

mod answer;
mod entry;
mod fetch;
mod flight;
mod follow;
mod index;
mod key;
mod metrics;
mod part;
mod read_back;
mod receive;
mod store;
mod sweep;
mod uplink;

use std::{io, sync::Arc, time::Instant};

use prometheus::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::uplink::PAUSE;
use self::{
    flight::Flights,
    metrics::{Metrics, Size},
    receive::Received,
    store::Store,
    uplink::Uplink,
};
use crate::{config, upstream::UpstreamClient};

/// Files of the upstream, with copies.
#[derive(Clone)]
pub struct Cache {
    shared: Arc<Shared>,
}

/// What all requests share.
struct Shared {
    store: Store,
    upstream: Arc<UpstreamClient>,
    uplink: Uplink,
    flights: Flights,
    /// Requests for files that are kept. There are fewer of both than the upstream client has streams.
    asking: Semaphore,
    /// Files that are passed through: who reads slowly must not take all that the upstream client has.
    passing: Arc<Semaphore>,
    max_size: u64,
    metrics: Metrics,
    stop: CancellationToken,
}

/// Why there is no cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Its directory.
    #[error("cannot use {path}: {error}; check policies.cache.directory, and who owns it")]
    Directory {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A metric is registered twice.
    #[error("metrics of the cache: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Requests for files that are kept, at a time.
const MOST_ASKED: usize = 32;
/// Files passed through at a time.
const MOST_PASSED: usize = 16;

impl Cache {
    /// Opens the cache and reads what an earlier process kept; blocks. Transfers end at `stop`.
    pub fn open(
        settings: &config::Cache,
        upstream: Arc<UpstreamClient>,
        registry: &Registry,
        stop: CancellationToken,
    ) -> Result<Self, CacheError> {
        let directory = |error| CacheError::Directory { path: settings.directory.clone(), error };
        let metrics = Metrics::new(registry)?;
        let store = Store::open(&settings.directory, settings.max_size, metrics.damaged.clone());
        let store = store.map_err(directory)?;
        Size::register(store.index(), registry)?;
        let shared = Shared {
            store,
            upstream,
            uplink: Uplink::default(),
            flights: Flights::default(),
            asking: Semaphore::new(MOST_ASKED),
            passing: Arc::new(Semaphore::new(MOST_PASSED)),
            max_size: settings.max_size,
            metrics,
            stop,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// For `system/status`.
    pub fn to_json(&self) -> serde_json::Value {
        let (files, bytes) = self.shared.store.size();
        let most = self.shared.max_size;
        let mut json =
            serde_json::json!({ "status": "success", "files": files, "bytes": bytes, "maxBytes": most });
        if let Some(lost) = self.shared.uplink.lost() {
            let since = chrono::DateTime::<chrono::Utc>::from(lost.since);
            json["status"] = "error".into();
            json["details"] = format!("copies are served without asking the upstream: {}", lost.why).into();
            json["since"] = since.to_rfc3339_opts(chrono::SecondsFormat::Secs, true).into();
        }
        json
    }
}

impl Shared {
    /// Notes that the upstream does not answer.
    fn lost(&self, why: &dyn std::error::Error) {
        if self.uplink.failed(why.to_string(), Instant::now()) {
            tracing::warn!("the upstream does not answer: {why}; copies are served meanwhile");
        }
    }

    /// Notes that the disk takes nothing.
    fn not_kept(&self, error: &io::Error) -> Received {
        tracing::warn!("cannot write to the cache: {error}; the file is passed through without being kept");
        Received::NotKept
    }
}
