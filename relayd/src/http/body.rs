// SPDX-License-Identifier: Apache-2.0
//! Bodies: whole ones and streams, as one type.

use std::{
    error::Error,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, combinators::BoxBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// Body of an answer.
pub type Body = BoxBody<Bytes, io::Error>;

/// Why a body of a request ended early.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// Body of a request, unread. How large it may be, and how slow, is up to whoever reads it.
pub type RequestBody = BoxBody<Bytes, BodyError>;

/// No bytes.
pub fn empty() -> Body {
    Empty::new().map_err(never).boxed()
}

/// All of it.
pub fn whole(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(never).boxed()
}

/// A text; the caller says in the headers which kind.
pub fn text(content: impl Into<String>) -> Body {
    whole(content.into())
}

/// The same body, which keeps `guard` until it was sent or given up.
pub fn held<G: Send + Sync + Unpin + 'static>(body: Body, guard: G) -> Body {
    Held { body, _guard: guard }.boxed()
}

fn never(error: std::convert::Infallible) -> io::Error {
    match error {}
}

struct Held<G> {
    body: Body,
    _guard: G,
}

impl<G: Unpin> HttpBody for Held<G> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
