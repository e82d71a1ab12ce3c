// SPDX-License-Identifier: Apache-2.0
//! Remote runs: operators, and servers above, have nodes run their agent (protocol 7.6, 16.2).
//!
//! ```text
//!            ┌─▶ connection of the agent        (agents)
//! request ───┼─▶ external command               (external)
//!   plan     ├─▶ next contact of the node       (agents)
//!            └─▶ relay below, and its nodes     (relays, behind)
//! ```
//!
//! | file | what |
//! |---|---|
//! | `version1`, `version2` | the two versions of the interface |
//! | `plan` | who reaches which node |
//! | `local`, `agents`, `external` | nodes attached to this server |
//! | `behind`, `relays` | nodes behind relays |
//! | `host`, `lines`, `output`, `intake` | host names, output, bodies: checked and bounded |
//!
//! In version 2 each node asked ends in exactly one final event, and no answer is never success. Queues
//! are bounded; a client that goes away cancels what was not delivered.

mod agents;
mod behind;
pub(crate) mod described;
mod external;
mod host;
mod intake;
mod lines;
mod local;
mod metrics;
mod output;
mod plan;
mod relays;
mod version1;
mod version2;

use std::{fmt, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::{HeaderMap, Response, body::Frame};
use percent_encoding::percent_decode_str;
use prometheus::Registry;
use protocol::{
    headers::{HOPS, parse_hops},
    limits::RELAY_DEPTH,
    node_id::NodeId,
    remote_run::{Conditions, RunOrder},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

pub use self::{agents::Agents, behind::VERSION_2};
use self::{external::External, local::Local, metrics::Metrics, relays::Relays, version1::Whom};
use crate::{
    config,
    http::{Body, Call, Caller, Problem, Service},
    nodes::Nodes,
};

/// Requests under way at a time.
const MOST_REQUESTS: usize = 64;

/// The service.
pub struct RemoteRuns(Arc<RemoteRun>);

struct RemoteRun {
    own_id: NodeId,
    nodes: Nodes,
    settings: config::RemoteRun,
    local: Local,
    relays: Relays,
    requests: Arc<Semaphore>,
    pace: Pace,
    metrics: Metrics,
}

/// How servers know that the other one is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Without anything to tell for so long, that is told.
    pub heartbeat: Duration,
    /// A relay with version 2 that says nothing for so long is lost; more than twice the heartbeat.
    pub silence: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { heartbeat: Duration::from_secs(5), silence: Duration::from_secs(20) }
    }
}

/// Who asks, and what a request brings beside its body.
struct Asking {
    client: Client,
    /// Relays that it has come through.
    hops: usize,
    stop: CancellationToken,
}

/// Who asks, for the log.
struct Client(Caller);

impl RemoteRuns {
    /// The service of the server with this id.
    pub fn new(
        own_id: &NodeId,
        nodes: Nodes,
        settings: config::RemoteRun,
        agents: Arc<dyn Agents>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let external =
            settings.command.clone().map(|program| External { program, use_sudo: settings.use_sudo });
        Ok(Self(Arc::new(RemoteRun {
            own_id: own_id.clone(),
            local: Local::new(agents, external, settings.max_concurrent, settings.max_agents),
            relays: Relays::new(settings.relays.clone(), nodes.clone()),
            requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
            pace: Pace::default(),
            metrics: Metrics::new(registry)?,
            nodes,
            settings,
        })))
    }

    /// The same, at another pace.
    pub fn paced(mut self, pace: Pace) -> Self {
        if let Some(service) = Arc::get_mut(&mut self.0) {
            service.pace = pace;
        }
        self
    }

    async fn try_answer(&self, call: Call) -> Result<Response<Body>, Problem> {
        let Call { caller, path, rest, headers, body, stop, .. } = call;
        let asking = Asking { client: Client(caller), hops: hops(&headers)?, stop };
        if path == behind::VERSION_2 {
            let body = intake::read(&headers, body, version2::MAX_BODY).await?;
            let order = RunOrder::from_json(&body).map_err(|error| Problem::BadRequest(error.to_string()))?;
            return version2::answer(self.0.clone(), asking, order);
        }
        let rest = percent_decode_str(rest.strip_suffix('/').unwrap_or(&rest)).decode_utf8();
        let rest = rest.map_err(|_| Problem::NotFound)?;
        let whom = Whom::parse(&rest).ok_or(Problem::NotFound)?;
        let body = intake::read(&headers, body, version1::MAX_BODY).await?;
        version1::answer(self.0.clone(), asking, whom, &headers, &body).await
    }
}

impl Service for RemoteRuns {
    fn answer(&self, call: Call) -> BoxFuture<'_, Response<Body>> {
        async { self.try_answer(call).await.unwrap_or_else(Problem::into_response) }.boxed()
    }
}

impl RemoteRun {
    fn under_way(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let taken = self.requests.clone().try_acquire_owned();
        taken.map_err(|_| Problem::Unavailable("too many remote runs are under way", 10))
    }

    fn with_hosts(&self, nodes: Vec<NodeId>) -> Vec<(NodeId, String)> {
        let table = self.nodes.borrow().clone();
        let host = |node: &NodeId| table.list().get(node).map(|entry| entry.hostname.clone());
        nodes
            .into_iter()
            .map(|node| (host(&node).unwrap_or_default(), node))
            .map(|(host, node)| (node, host))
            .collect()
    }
}

impl Asking {
    /// Conditions for the log, which a client must not fill.
    fn shown(&self, conditions: &Conditions) -> String {
        const LONGEST: usize = 200;
        let mut text = conditions.to_string();
        if text.len() > LONGEST {
            // Conditions are ASCII.
            text.truncate(LONGEST);
            text.push('…');
        }
        text
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Caller::Operator => f.write_str("operator"),
            Caller::Node(node) => node.fmt(f),
            Caller::Anonymous(address) => address.fmt(f),
        }
    }
}

/// Relays that a request has come through. Node lists that contradict each other could send it in circles.
fn hops(headers: &HeaderMap) -> Result<usize, Problem> {
    let text = headers.get(HOPS).map(|value| value.to_str().unwrap_or_default());
    match parse_hops(text) {
        Some(hops) if hops < RELAY_DEPTH => Ok(hops),
        _ => Err(Problem::BadRequest(format!("the request has come through too many relays; see {HOPS}"))),
    }
}

/// A body that consists of what is sent to it. An error cuts it off.
fn streamed(mut frames: mpsc::Receiver<io::Result<Bytes>>) -> Body {
    let frames = stream::poll_fn(move |cx| frames.poll_recv(cx).map(|frame| Some(frame?.map(Frame::data))));
    StreamBody::new(frames).boxed()
}
