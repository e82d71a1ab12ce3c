// SPDX-License-Identifier: Apache-2.0
//! `GET /triggers` and `POST /triggers/<run>` in HTTP.

use std::time::Duration;

use futures_util::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING},
};
use protocol::{
    node_id::NodeId,
    remote_run::{Event, RunRequestId},
    triggers::{self, MAX_REPORT, News, Offer, Pace, Receipt, ReportFrom},
};
use serde::Serialize;
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Triggers, run::Reported, table::Waiting};
use crate::{
    http::{self, Body, Call, Caller, Problem, RequestBody, Service},
    tree,
};

/// How long the body of a report may take.
const BODY: Duration = Duration::from_secs(10);

/// How long a report waits for room, when whoever asked for the run is slow to take its events.
const ROOM: Duration = Duration::from_secs(5);
/// The same with its body in memory, which others may want to have there; what did not fit is sent again.
const ROOM_AT_HAND: Duration = Duration::from_millis(250);

/// A report of this length, in bytes, waits for no turn: that a run begins or ends is told at once,
/// whatever others write.
const SHORT: u64 = 1024;

impl Service for Triggers {
    fn answer(&self, call: Call) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            // What is not needed while waiting goes here: there may be very many who wait.
            let Call { caller, method, rest, query, headers, body, stop, path: _ } = call;
            let Caller::Node(node) = caller else { return Problem::NotFound.into_response() };
            let answered = if method == Method::POST {
                let run = rest.parse::<RunRequestId>();
                match (run, ReportFrom::parse(query.as_deref())) {
                    (Err(_), _) => Err(Problem::NotFound),
                    (_, Err(error)) => Err(Problem::BadRequest(error.to_string())),
                    (Ok(run), Ok(place)) => self.take(&node, run, place, &headers, body).await,
                }
            } else {
                let wait = tree::Ask::read(None, &headers).wait;
                drop((body, headers));
                match triggers::have(query.as_deref()) {
                    Ok(have) => self.news(&node, &have, wait, &stop).await,
                    Err(error) => Err(Problem::BadRequest(error.to_string())),
                }
            };
            answered.unwrap_or_else(Problem::into_response)
        })
    }
}

impl Triggers {
    /// Answers at once when there are runs to make, else when there are, when the wait is over, or at `stop`.
    async fn news(
        &self,
        node: &NodeId,
        have: &[RunRequestId],
        wait: Duration,
        stop: &CancellationToken,
    ) -> Result<Response<Body>, Problem> {
        let wait = wait.min(self.0.settings.wait);
        if wait.is_zero() {
            let (offers, pace) = self.offers(node, have);
            return Ok(news(pace, offers));
        }
        let until = Instant::now() + wait;
        let request = Request::begin(self, node);
        loop {
            // What is added from here on rings the bell.
            let bell = request.waiting.1.notified();
            if !self.table().is_newest(node, request.waiting.0) {
                return Ok(replaced(self.pace_of(&self.table())));
            }
            let (offers, pace) = self.offers(node, have);
            if !offers.is_empty() || Instant::now() >= until || stop.is_cancelled() {
                request.answered(pace);
                return Ok(news(pace, offers));
            }
            tokio::select! {
                () = bell => {}
                () = sleep_until(until) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    fn offers(&self, node: &NodeId, have: &[RunRequestId]) -> (Vec<Offer>, Pace) {
        let mut table = self.table();
        (table.offers(node, have, Instant::now()), self.pace_of(&table))
    }

    /// Takes a report, as much of it as there is room for.
    async fn take(
        &self,
        node: &NodeId,
        run: RunRequestId,
        place: ReportFrom,
        headers: &HeaderMap,
        body: RequestBody,
    ) -> Result<Response<Body>, Problem> {
        // Without either there is no body (RFC 9112 6.3): a sign of life.
        if headers.contains_key(TRANSFER_ENCODING) {
            let mut response = Problem::LengthRequired.into_response();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(response);
        }
        let busy = Problem::Unavailable("too many reports at a time", 1);
        let turn = if http::content_length(headers).is_some_and(|length| length > SHORT) {
            let turn = timeout(ROOM, self.0.reading.acquire()).await;
            let Ok(Ok(turn)) = turn else { return Err(busy) };
            Some(turn)
        } else {
            None
        };
        let body = read(body).await?;
        let events = triggers::events(&body).map_err(|error| Problem::BadRequest(error.to_string()))?;
        drop(body);
        let (answer, full) = self.pass_on(node, run, place, &events).await;
        drop((turn, events));
        if let Some(full) = full {
            let _ = timeout(ROOM, full.reserve()).await;
        }
        answer
    }

    /// Passes events on, and gives the answer; beside it, what to wait for when they did not all fit.
    async fn pass_on(
        &self,
        node: &NodeId,
        run: RunRequestId,
        place: ReportFrom,
        events: &[Event],
    ) -> (Result<Response<Body>, Problem>, Option<Sender<Event>>) {
        let patience = Instant::now() + ROOM_AT_HAND;
        let receipt = |status, next| Ok(json(status, &Receipt { next }));
        let answer = loop {
            let reported = self.table().report(node, run, place, events, Instant::now());
            break match reported {
                Reported::Arrived(_, Some(full)) if Instant::now() < patience => {
                    // Whether there is room now, or nobody who wants it any more, the next round tells.
                    let _ = timeout_at(patience, full.reserve()).await;
                    continue;
                }
                Reported::Arrived(next, full) => return (receipt(StatusCode::OK, next), full),
                Reported::Over => receipt(StatusCode::OK, place.from + events.len() as u64),
                Reported::Gap(next) => receipt(StatusCode::CONFLICT, next),
                Reported::Another => {
                    tracing::warn!(node_id = %node, %run, "a second machine with the identity of this node wants to make the same run");
                    let why = "another machine with this node's identity has taken this run";
                    Err(Problem::Forbidden(why.into()))
                }
                Reported::Gone => Ok(gone()),
            };
        };
        (answer, None)
    }
}

/// A request that waits for news, until dropped: its client may go at any time.
struct Request<'a> {
    triggers: &'a Triggers,
    node: &'a NodeId,
    waiting: Waiting,
}

impl<'a> Request<'a> {
    fn begin(triggers: &'a Triggers, node: &'a NodeId) -> Self {
        Self { triggers, node, waiting: triggers.table().begin(node) }
    }

    /// The connection is alive; the next request follows.
    fn answered(&self, pace: Pace) {
        let next = Instant::now() + pace.tolerance();
        self.triggers.table().end(self.node, self.waiting.0, Some(next));
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.triggers.table().end(self.node, self.waiting.0, None);
    }
}

async fn read(mut body: RequestBody) -> Result<Vec<u8>, Problem> {
    let mut whole = Vec::new();
    let until = Instant::now() + BODY;
    while let Some(frame) = timeout_at(until, body.frame()).await.map_err(|_| Problem::TooSlow)? {
        let cut = |_| Problem::BadRequest("the body ended before its length".into());
        let Ok(piece) = frame.map_err(cut)?.into_data() else { continue };
        if whole.len() + piece.len() > MAX_REPORT {
            return Err(Problem::TooLarge);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

fn news(pace: Pace, runs: Vec<Offer>) -> Response<Body> {
    json(StatusCode::OK, &News { pace, runs })
}

/// To a request whose place another one of the same node took: it shall not come back at once, or two
/// machines with one identity would keep each other busy.
fn replaced(pace: Pace) -> Response<Body> {
    let why = "another connection of this node took the place of this one";
    let mut response = Problem::Conflict(why.into()).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(pace.heartbeat));
    response
}

fn gone() -> Response<Body> {
    let mut response = Response::new(http::text("nobody asks for this run, or not any more"));
    *response.status_mut() = StatusCode::GONE;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let Ok(mut text) = serde_json::to_vec(value) else { return Problem::Internal.into_response() };
    text.push(b'\n');
    let mut response = Response::new(http::whole(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
