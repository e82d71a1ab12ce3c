// SPDX-License-Identifier: Apache-2.0
//! Version 2 (protocol 16.2): JSON in, a stream of JSON lines out, one definite end for each node.
//!
//! ```text
//! local nodes ──┐
//! relay ────────┼─▶ one bounded queue ─▶ RunProgress ─▶ lines ─▶ client
//! relay ────────┘   (senders take turns)  one end each    (and heartbeats)
//! ```
//!
//! Whoever has nothing to say holds nobody up, and whoever says much waits for its turn.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use hyper::{
    Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use protocol::{
    node_id::NodeId,
    node_list::NoRoute,
    remote_run::{Event, Line, NodeEvent, Outcome, RunLine, RunOrder, RunProgress, RunRequestId, Targets},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    Asking, RemoteRun,
    behind::Behind,
    local::{Task, tell},
    plan::Plan,
    streamed,
};
use crate::http::{Body, Problem};

/// Largest body: ids of [`MAX_NODES`](protocol::remote_run::MAX_NODES) nodes as long as they may be, and
/// conditions.
pub const MAX_BODY: usize = 2 * 1024 * 1024;

/// Events on their way to the client.
const QUEUE: usize = 256;
/// Lines are sent together up to this size.
const FRAME: usize = 16 * 1024;

/// Type of the answer.
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// A run, as it is told to a client. Dropping it cancels what was not delivered yet.
struct Run {
    id: RunRequestId,
    progress: RunProgress,
    events: mpsc::Receiver<NodeEvent>,
    /// Tell the events.
    sources: JoinSet<()>,
    last_line: Instant,
    stage: Stage,
    stop: CancellationToken,
    service: Arc<RemoteRun>,
    _under_way: OwnedSemaphorePermit,
}

#[derive(PartialEq, Eq)]
enum Stage {
    Begin,
    Events,
    End,
    Over,
}

/// Answers a request.
pub fn answer(service: Arc<RemoteRun>, asking: Asking, order: RunOrder) -> Result<Response<Body>, Problem> {
    let plan = plan(&service, &order.targets)?;
    let under_way = service.under_way()?;
    let asynchronous = order.asynchronous;
    let run = Run::start(service, asking, order, plan, under_way);
    let (frames, body) = mpsc::channel(4);
    tokio::spawn(run.tell(frames, asynchronous));
    let mut response = Response::new(streamed(body));
    response.headers_mut().insert(CONTENT_TYPE, LINES);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn plan(service: &RemoteRun, targets: &Targets) -> Result<Plan, Problem> {
    let table = service.nodes.borrow().clone();
    let (list, here) = (table.list(), &service.own_id);
    Ok(match targets {
        Targets::Nodes(nodes) => Plan::to(list, here, nodes.iter().cloned()),
        Targets::All { behind: None } => Plan::to_all_below(list, here, here),
        Targets::All { behind: Some(relay) } if relay != here && !list.is_below(relay, here) => {
            return Err(Problem::BadRequest(format!("behind: {relay} is not below this server")));
        }
        Targets::All { behind: Some(relay) } => Plan::to_all_below(list, here, relay),
    })
}

impl Run {
    fn start(
        service: Arc<RemoteRun>,
        asking: Asking,
        order: RunOrder,
        plan: Plan,
        under_way: OwnedSemaphorePermit,
    ) -> Self {
        let id = RunRequestId::new();
        let expiry = order.expires_in.unwrap_or(service.settings.expiry);
        let task = Arc::new(Task::new(order.conditions, order.output, expiry));
        let nodes = plan.nodes();
        let progress = RunProgress::new(nodes, service.settings.max_output);
        info!(
            run = %id, client = %asking.client, nodes = progress.len(), conditions = %asking.shown(&task.conditions),
            expiry = expiry.as_secs(), version = 2, "remote run asked for"
        );
        let (tell_to, events) = mpsc::channel(QUEUE);
        let mut sources = JoinSet::new();
        sources.spawn(refuse(plan.astray, tell_to.clone()));
        sources.spawn({
            let (service, task, events) = (service.clone(), task.clone(), tell_to.clone());
            async move {
                let local = service.with_hosts(plan.local);
                service.local.run(local, &task, &events).await;
            }
        });
        for (relay, nodes) in plan.behind {
            let (service, task, events) = (service.clone(), task.clone(), tell_to.clone());
            sources.spawn(async move {
                let hops = asking.hops + 1;
                let (relays, relay, task, events) = (&service.relays, &relay, &*task, &events);
                Behind { relays, relay, task, hops, silence: service.pace.silence, events }.run(nodes).await;
            });
        }
        Self {
            id,
            progress,
            events,
            sources,
            last_line: Instant::now(),
            stage: Stage::Begin,
            stop: asking.stop,
            service,
            _under_way: under_way,
        }
    }

    /// Tells the client, as long as it listens; one that does not want to wait, only the first line.
    async fn tell(mut self, frames: mpsc::Sender<std::io::Result<Bytes>>, asynchronous: bool) {
        let mut frames = Some(frames);
        loop {
            let gone = async {
                match &frames {
                    Some(frames) => frames.closed().await,
                    None => std::future::pending().await,
                }
            };
            let frame = tokio::select! {
                frame = self.frame() => frame,
                () = gone => break,
            };
            let Some(frame) = frame else { return };
            if let Some(frames) = &frames
                && frames.send(Ok(frame)).await.is_err()
            {
                break;
            }
            if asynchronous {
                frames = None;
            }
        }
        self.service.metrics.cancelled.inc();
        info!(run = %self.id, ended = self.progress.counts().total(), of = self.progress.len(), "remote run cancelled: the client is gone");
    }

    /// The next lines; `None` at the end.
    async fn frame(&mut self) -> Option<Bytes> {
        // The first line comes by itself: it is all that an asynchronous client gets.
        let is_first = self.stage == Stage::Begin;
        let mut frame = self.line().await?.to_json();
        while !is_first && frame.len() < FRAME && self.stage == Stage::Events && !self.progress.is_over() {
            let Ok(event) = self.events.try_recv() else { break };
            if let Some(event) = self.take(event) {
                frame.extend(Line::Node(event).to_json());
            }
        }
        self.last_line = Instant::now();
        Some(frame.into())
    }

    async fn line(&mut self) -> Option<Line> {
        loop {
            match self.stage {
                Stage::Begin => {
                    self.stage = Stage::Events;
                    return Some(Line::Run(RunLine::Run { id: self.id, nodes: self.progress.len() }));
                }
                Stage::Events if self.progress.is_over() => self.stage = Stage::End,
                Stage::Events => {
                    let event = tokio::select! {
                        event = self.events.recv() => event.unwrap_or_else(|| self.closing("nobody told of it any more")),
                        () = self.stop.cancelled() => self.closing("the server that was asked is stopping"),
                        () = sleep_until(self.last_line + self.service.pace.heartbeat) => {
                            return Some(Line::Run(RunLine::Heartbeat { time: Utc::now() }));
                        }
                    };
                    if let Some(event) = self.take(event) {
                        return Some(Line::Node(event));
                    }
                }
                Stage::End => {
                    self.stage = Stage::Over;
                    self.sources.abort_all();
                    let counts = self.progress.counts();
                    info!(
                        run = %self.id, succeeded = counts.succeeded, failed = counts.failed, unknown = counts.unknown,
                        refused = counts.refused, unreachable = counts.unreachable, expired = counts.expired,
                        "remote run ended"
                    );
                    return Some(Line::Run(RunLine::End(counts)));
                }
                Stage::Over => return None,
            }
        }
    }

    /// A final event for a node that has none.
    fn closing(&self, why: &str) -> NodeEvent {
        let node = self.progress.unfinished().next().cloned();
        // There is one: otherwise the run were over.
        NodeEvent::now(node.unwrap_or_else(NodeId::root), Event::unreachable(why))
    }

    fn take(&mut self, event: NodeEvent) -> Option<NodeEvent> {
        let event = self.progress.take(event)?;
        if let Some(outcome) = event.event.outcome() {
            self.service.metrics.ended(outcome);
            let (run, node_id) = (&self.id, &event.node_id);
            match outcome {
                Outcome::Succeeded => debug!(%run, %node_id, "remote run: the node has run"),
                _ => info!(%run, %node_id, ?outcome, "remote run: the node has not run, or failed"),
            }
        }
        Some(event)
    }
}

async fn refuse(astray: Vec<NoRoute>, events: mpsc::Sender<NodeEvent>) {
    for why in astray {
        let (NoRoute::Unknown(node) | NoRoute::Astray(node)) = &why;
        tell(&events, node, Event::refused(why.to_string())).await;
    }
}
