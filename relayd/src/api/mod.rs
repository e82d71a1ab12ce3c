// SPDX-License-Identifier: Apache-2.0
//! The local HTTP API for operators (protocol 7), on loopback or a Unix socket only. Its routes are
//! in the rule table of the gateway as well, and nothing that is not there is answered.
//!
//! | file | what |
//! |---|---|
//! | `answer` | answers: JSON envelope, plain texts; the one place where errors become answers |
//! | `system` | `system/info`, `system/status`, `system/reload`, `/metrics` |
//! | `described` | what is answered, for the documents |
//! | `calls` | what the services answer that the gateway has as well |
//! | [`client`] | asking it |
//! | `metrics` | what is counted |
//! | `listener` | TCP or Unix socket; connections with limits |

mod answer;
mod calls;
pub mod client;
pub(crate) mod described;
mod listener;
mod metrics;
mod system;

use std::{path::PathBuf, sync::Arc};

use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use warp::{Filter, filters::BoxedFilter, reply::Response};

use crate::{config::LocalAddress, http::Services, reload::Reload, service_manager::PassedSockets, status};

use self::metrics::ApiMetrics;
pub(crate) use answer::Envelope;
pub use answer::Outcome;
pub use listener::BindError;

/// Looks at something that may take a while (a query); blocking.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;
/// Tells the state of a part of the daemon for `system/status`; on a thread that may block for a short time.
pub type Status = Arc<dyn Fn() -> serde_json::Value + Send + Sync>;

/// What the API shows and triggers.
pub struct ApiHandles {
    /// The configuration directory, read again by `system/status`.
    pub configuration: PathBuf,
    /// The database, when run logs are stored there.
    pub database: Option<Check>,
    /// The reload service.
    pub reload: Reload,
    /// All metrics.
    pub registry: Registry,
    /// What each daemon tells of itself, after the members of the protocol.
    pub overview: Option<status::Source>,
    /// More members of `system/status`, after those, by name.
    pub status: Vec<(&'static str, Status)>,
    /// Answer the other requests.
    pub services: Services,
}

/// The API, bound.
pub struct Api {
    listener: listener::Listener,
    metrics: ApiMetrics,
    routes: BoxedFilter<(Response,)>,
    /// Ends the answers of those who wait for something.
    stop: CancellationToken,
}

impl Api {
    /// Binds the address.
    pub async fn bind(address: &LocalAddress, handles: ApiHandles) -> Result<Self, BindError> {
        Self::open(address, &mut PassedSockets::default(), handles).await
    }

    /// As [`Api::bind`], unless the service manager has bound the address.
    pub async fn open(
        address: &LocalAddress,
        passed: &mut PassedSockets,
        handles: ApiHandles,
    ) -> Result<Self, BindError> {
        let metrics = ApiMetrics::new(&handles.registry)?;
        let listener = listener::Listener::bind(address, passed).await?;
        let stop = CancellationToken::new();
        Ok(Self { listener, metrics, routes: routes(Arc::new(handles), stop.clone()), stop })
    }

    /// The address, for a TCP listener.
    pub fn local_addr(&self) -> Option<std::net::SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until stopped, then finishes the requests under way.
    pub async fn run(self, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
        let ends = self.stop;
        let (served, ()) =
            tokio::join!(self.listener.serve(self.routes, self.metrics, stop.clone()), async {
                stop.cancelled().await;
                ends.cancel();
            });
        let () = served;
        Ok(())
    }
}

fn routes(handles: Arc<ApiHandles>, stop: CancellationToken) -> BoxedFilter<(Response,)> {
    let api = warp::path("rudder").and(warp::path("relay-api"));
    // The prefix without a version is version 1 (protocol A3).
    let system = system::routes(handles.clone());
    let versioned = api.and(warp::path("1")).and(system.clone());
    let unversioned = api.and(system);
    calls::route(handles.services.clone(), stop)
        .or(answer::bounded())
        .unify()
        .or(answer::listed())
        .unify()
        .or(versioned)
        .unify()
        .or(unversioned)
        .unify()
        .or(system::metrics(handles))
        .unify()
        .or(warp::any().map(answer::not_found))
        .unify()
        .boxed()
}
