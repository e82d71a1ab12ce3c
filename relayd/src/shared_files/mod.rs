// SPDX-License-Identifier: Apache-2.0
//! Files that nodes send each other through policy servers (protocol 7.4, 15.2).
//!
//! ```text
//! sender ─PUT, HEAD─▶ its server ─▶ … up to the first server that has the target below it: that one stores
//! target ─GET──────▶ its server ─▶ … up, as far as it takes: the first that has the file answers
//! ```
//!
//! | file | what |
//! |---|---|
//! | `store`, `part`, `walk` | where files are, how they get there, looking through them |
//! | `put`, `receive` | a file on its way in: checks, hash, disk |
//! | `forward` | what goes up to the next server |
//! | `fetch` | what the target gets: a list, a file, its metadata |
//! | `sweep`, `tidy` | expiry, and what a crash left |
//! | `problem`, `metrics` | why a file is not taken; what is counted |
//!
//! Always true: nobody gets the content of one file with the metadata of another; a 200 to a PUT means that
//! both are on stable storage, and that the key of the source signed the content.

pub(crate) mod described;
mod fetch;
mod forward;
mod metrics;
mod part;
mod problem;
mod put;
mod receive;
mod store;
mod sweep;
mod tidy;
mod walk;

use std::{
    borrow::Cow,
    path::PathBuf,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use futures_util::future::BoxFuture;
use hyper::{HeaderMap, Method, Response, StatusCode, header::CONTENT_LENGTH};
use percent_encoding::percent_decode_str;
use prometheus::Registry;
use protocol::{
    node_id::NodeId,
    shared_file::{Address, AddressError, FileHash},
};
use tokio::{sync::Semaphore, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use self::{metrics::Metrics, problem::Refused, store::Store, sweep::Sweeper};
use crate::{
    cache::Cache,
    files::Files,
    gateway::throttle::Throttle,
    http::{Body, Call, Problem, Service, empty},
    nodes::Nodes,
    spool::clock::Clock,
    upstream::UpstreamClient,
};

/// Files received or passed up at a time; others are asked to come back.
const MOST_AT_A_TIME: usize = 32;

/// What the service is made of.
pub struct Settings {
    /// Whose server this is.
    pub own_id: NodeId,
    /// Where files are kept.
    pub path: PathBuf,
    /// Largest body of a PUT, in bytes.
    pub max_body_size: u64,
    /// Time between sweeps.
    pub clean_every: Duration,
    /// Slowest accepted body, in bytes per second.
    pub slowest_body: u64,
    /// Disk use, in percent, from which nothing is taken.
    pub high_water_percent: u8,
}

/// The server above, on a relay: a client for what goes up, and a cache of what comes down.
pub type Above = (Option<Arc<UpstreamClient>>, Option<Cache>);

/// Answers requests for shared files.
pub struct SharedFiles {
    settings: Settings,
    store: Arc<Store>,
    nodes: Nodes,
    /// The server above, on a relay.
    upstream: Option<Arc<UpstreamClient>>,
    /// What is fetched from there.
    cache: Option<Cache>,
    files: Arc<Files>,
    clock: Arc<dyn Clock>,
    at_a_time: Arc<Semaphore>,
    refused: Throttle,
    metrics: Metrics,
}

impl SharedFiles {
    /// From its handles. What an earlier process left unfinished is removed.
    pub fn new(
        settings: Settings,
        nodes: Nodes,
        (upstream, cache): Above,
        files: Arc<Files>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        Ok(Self {
            store: Arc::new(Store::open(&settings.path)),
            settings,
            nodes,
            upstream,
            cache,
            files,
            clock,
            at_a_time: Arc::new(Semaphore::new(MOST_AT_A_TIME)),
            refused: Throttle::with_burst(Duration::from_millis(100), 100),
            metrics: Metrics::new(registry)?,
        })
    }

    /// Removes what has expired, until `stop`.
    ///
    /// **Errors**: a sync failed, after which this process must not go on.
    pub fn sweep(&self, stop: CancellationToken) -> impl Future<Output = Result<(), String>> + use<> {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        Sweeper::new(store, self.metrics.clone(), self.settings.clean_every, clock).run(stop)
    }

    /// Whether the target is this server's to serve. What is for a relay itself, or for a server above it, is on its node
    /// list as well, but these ask further up.
    fn is_local(&self, address: &Address) -> bool {
        let (table, own_id) = (self.nodes.borrow(), &self.settings.own_id);
        let is_up = |target: &NodeId| {
            self.upstream.is_some() && (target == own_id || table.list().is_below(own_id, target))
        };
        address.target.node_id().is_some_and(|target| table.knows(&target) && !is_up(&target))
    }

    async fn head(&self, address: &Address, call: &Call) -> Result<Response<Body>, Refused> {
        let hash = parameter(call.query.as_deref(), "hash").ok_or(Refused::NoParameter("hash"))?;
        let Some(hash) = FileHash::from_any_hex(&hash) else { return Ok(respond(StatusCode::NOT_FOUND)) };
        let (store, address, now) = (self.store.clone(), address.clone(), self.now());
        let found = spawn_blocking(move || store.find(&address, now)).await;
        // What cannot be read is stored anew: then it can.
        let found = found.ok().and_then(Result::ok).flatten();
        let same = found.is_some_and(|found| found.metadata.hash_value == hash);
        Ok(respond(if same { StatusCode::OK } else { StatusCode::NOT_FOUND }))
    }

    /// Seconds of Unix time.
    fn now(&self) -> i64 {
        let now = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
    }

    /// HEAD and PUT.
    async fn upload(&self, call: Call) -> Response<Body> {
        let address = match Address::from_url(&call.rest) {
            Ok(address) => address,
            Err(AddressError::Shape) => return Problem::NotFound.into_response(),
            Err(error) => return Problem::BadRequest(error.to_string()).into_response(),
        };
        let (method, caller) = (call.method.clone(), call.caller.clone());
        let done = match (self.is_local(&address), &self.upstream) {
            (true, _) if method == Method::HEAD => self.head(&address, &call).await,
            (true, _) => self.put(&address, call).await,
            (false, Some(upstream)) => self.forward(upstream, &address, call).await,
            (false, None) => Err(Refused::UnknownTarget),
        };
        done.unwrap_or_else(|refused| {
            if let Some(held_back) = self.refused.pass() {
                let fault = refused.is_fault();
                if fault {
                    tracing::error!(%address, ?caller, %method, held_back, "shared file not taken: {refused}");
                } else {
                    tracing::warn!(%address, ?caller, %method, held_back, "shared file not taken: {refused}");
                }
            }
            Problem::from(refused).into_response()
        })
    }
}

impl Service for SharedFiles {
    fn answer(&self, call: Call) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            match call.method {
                Method::GET => self.fetch(&call).await,
                _ => self.upload(call).await,
            }
        })
    }
}

/// No body.
fn respond(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, 0.into());
    response
}

/// The first parameter of this name in a query, decoded; `+` is a space. `None` as well when it is not UTF-8.
fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
    let spaced = value.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
}

/// These headers of a request, for the server above.
fn passed(headers: &HeaderMap, names: &[hyper::header::HeaderName]) -> HeaderMap {
    let found = names.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
    found.collect()
}

#[cfg(test)]
mod tests;
