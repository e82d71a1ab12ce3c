// SPDX-License-Identifier: Apache-2.0
//! Requests whose bodies are streams, in both directions.
//!
//! A request without a body may go out twice, as in [`client`](super::client). One with a body cannot: part of
//! it may be gone when a kept connection turns out to be closed. It gets a new connection, which is
//! kept afterwards.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep, timeout},
};

use super::{
    Failure,
    client::TURN,
    connection::{Connection, lost},
    pool::Pool,
};
use crate::http::{Body, RequestBody};

/// Streams under way at a time.
pub const MOST_STREAMS: usize = 64;
/// How long nothing may move, in either direction.
pub const NO_PROGRESS: Duration = Duration::from_secs(15);

/// Bounds how many streams there are.
pub struct Streams(Arc<Semaphore>);

impl Streams {
    /// For one upstream.
    pub fn new() -> Self {
        Self(Arc::new(Semaphore::new(MOST_STREAMS)))
    }

    /// Sends a request and gives its answer as soon as the head is there.
    pub async fn send(
        &self,
        pool: &Arc<Pool>,
        request: impl Fn() -> Result<Request<()>, hyper::http::Error>,
        body: RequestBody,
    ) -> Result<Response<Body>, Failure> {
        let turn = timeout(TURN, self.0.clone().acquire_owned()).await.map_err(|_| Failure::Busy)?;
        // Never closed; if it were, one request more would do no harm.
        let turn = turn.ok();
        if body.is_end_stream()
            && let Some(mut connection) = pool.idle()
        {
            let nothing = Empty::new().map_err(|never| match never {}).boxed();
            match connection.begin(request()?.map(|()| nothing), NO_PROGRESS, 0).await {
                // The upstream may close an idle connection at any moment.
                Err(Failure::Lost(_)) => {}
                begun => return begun.map(|answer| Answer::response(answer, connection, pool, turn)),
            }
        }
        let size = body.size_hint().exact().unwrap_or(u64::MAX);
        let mut connection = pool.open().await?;
        let answer = connection.begin(request()?.map(|()| body), NO_PROGRESS, size).await?;
        Ok(Answer::response(answer, connection, pool, turn))
    }
}

/// The body of an answer. Dropped when it was read, it gives its connection back; earlier, it closes it.
struct Answer {
    body: Incoming,
    ended: bool,
    /// Runs while more is awaited: whoever reads may take its time.
    silence: Option<Pin<Box<Sleep>>>,
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _turn: Option<OwnedSemaphorePermit>,
}

impl Answer {
    fn response(
        answer: Response<Incoming>,
        connection: Connection,
        pool: &Arc<Pool>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Response<Body> {
        let (connection, pool) = (Some(connection), pool.clone());
        answer.map(|body| Self { body, ended: false, silence: None, connection, pool, _turn: turn }.boxed())
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.silence = None;
            this.ended = frame.is_none();
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| io::Error::other(lost(&error)))));
        }
        let silence = this.silence.get_or_insert_with(|| Box::pin(sleep(NO_PROGRESS)));
        ready!(silence.as_mut().poll(cx));
        Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, Failure::Late(NO_PROGRESS)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let ended = self.ended || self.body.is_end_stream();
        if let Some(connection) = self.connection.take().filter(|_| ended) {
            let pool = self.pool.clone();
            // Without a runtime there is nothing to keep it for.
            let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
            runtime.spawn(async move {
                if let Some(connection) = connection.ready().await {
                    pool.keep(connection);
                }
            });
        }
    }
}
