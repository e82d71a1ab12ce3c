// SPDX-License-Identifier: Apache-2.0
//! PUT and HEAD for a node that is not below: they go up as they came, and the status comes down
//! (protocol 7.4, A2).

use futures_util::StreamExt;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{
    Method, Response,
    body::Frame,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use protocol::shared_file::{Address, PATH};
use tokio::sync::mpsc;

use super::{SharedFiles, passed, problem::Refused, respond};
use crate::{
    http::{Body, BodyError, BodyProblem, Call, PacedBody, RequestBody, announced_length},
    upstream::UpstreamClient,
};

impl SharedFiles {
    /// Passes a request up, and the status of the answer down.
    pub(super) async fn forward(
        &self,
        upstream: &UpstreamClient,
        address: &Address,
        call: Call,
    ) -> Result<Response<Body>, Refused> {
        let query = call.query.as_ref().map_or(String::new(), |query| format!("?{query}"));
        let path = format!("{PATH}/{}{query}", address.to_url());
        let _turn = self.at_a_time.try_acquire().map_err(|_| Refused::Busy)?;
        let answer = if call.method == Method::PUT {
            let length = announced_length(&call.headers, self.settings.max_body_size)?;
            let headers = passed(&call.headers, &[CONTENT_LENGTH, CONTENT_TYPE]);
            let (body, pump) = paced(call.body, self.settings.slowest_body, length, |bytes| {
                self.metrics.received_bytes.inc_by(bytes);
            });
            let asking = upstream.stream(Method::PUT, &path, &headers, body);
            tokio::pin!(asking, pump);
            tokio::select! {
                // The upstream may answer before it has seen everything.
                answer = &mut asking => answer,
                pumped = &mut pump => {
                    pumped?;
                    asking.await
                }
            }
        } else {
            let nothing = Empty::new().map_err(|never| match never {}).boxed();
            upstream.stream(Method::HEAD, &path, &hyper::HeaderMap::new(), nothing).await
        };
        let answer = answer.map_err(|error| Refused::Upstream(error.to_string()))?;
        if call.method == Method::PUT && answer.status().is_success() {
            self.metrics.forwarded.inc();
        }
        tracing::debug!(%address, status = answer.status().as_u16(), "shared file passed to the server above");
        Ok(respond(answer.status()))
    }
}

/// The same body, whose pace is watched, and what watches it. Ended early by a problem, the body has an error,
/// so that nobody takes it for whole.
fn paced(
    body: RequestBody,
    slowest: u64,
    length: u64,
    count: impl Fn(u64),
) -> (RequestBody, impl Future<Output = Result<(), BodyProblem>>) {
    let (pieces, passed) = mpsc::channel(1);
    let pieces_out = futures_util::stream::unfold(passed, async |mut passed: mpsc::Receiver<_>| {
        passed.recv().await.map(|piece| (piece, passed))
    });
    let frames = pieces_out.map(|piece: Result<_, BodyError>| piece.map(Frame::data));
    let pump = async move {
        let mut body = PacedBody::new(body, slowest);
        let mut received = 0;
        loop {
            let next = match body.next().await {
                Ok(None) if received < length => {
                    Err(BodyProblem::Malformed("the body ended before its length"))
                }
                next => next,
            };
            match next {
                Ok(Some(piece)) => {
                    received += piece.len() as u64;
                    count(piece.len() as u64);
                    if pieces.send(Ok(piece)).await.is_err() {
                        // The connection is gone, which the answer says.
                        return Ok(());
                    }
                }
                Ok(None) => return Ok(()),
                Err(problem) => {
                    let _ = pieces.send(Err("the client did not send all of it".into())).await;
                    return Err(problem);
                }
            }
        }
    };
    (BodyExt::boxed(StreamBody::new(frames)), pump)
}
