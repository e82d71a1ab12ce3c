// SPDX-License-Identifier: Apache-2.0
//! Lists that are sent whole, however long: part by part, each a question of its own. Memory holds two parts, and
//! nobody who reads slowly keeps a connection of the database, or its rows.

use std::io;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Paging, Question, Reply, Trouble, readers::Readers};
use crate::{db::Connection, http::Body};

/// How much of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// A page; or the first part, where all of it is wanted.
    pub paging: Paging,
    /// All that follows as well.
    pub is_whole: bool,
}

/// Bytes of a part, and what the list goes on after.
type Part = (Vec<u8>, Option<String>);

impl Reply {
    /// A list as bytes: a page of it, or all, as `extent` says. `part` makes those that a paging asks for.
    pub(super) fn in_parts(
        content_type: &'static str,
        c: &mut Connection,
        extent: Extent,
        mut part: impl FnMut(&mut Connection, &Paging) -> Result<Part, Trouble> + Send + 'static,
    ) -> Result<Self, Trouble> {
        let Extent { paging, is_whole } = extent;
        let (body, next) = part(c, &paging)?;
        let reply = Self { content_type, body: body.into(), next: None, rest: None };
        Ok(match next {
            Some(after) if is_whole => {
                let extent = Extent { paging: Paging { after: Some(after), ..paging }, is_whole };
                let rest: Question = Box::new(move |c| Self::in_parts(content_type, c, extent, part));
                Self { rest: Some(rest), ..reply }
            }
            next => Self { next, ..reply },
        })
    }
}

/// A body that begins so; the rest is asked for as the client takes what was there before. When that fails, or
/// when this server stops, the body is cut off: a part must not pass for the whole.
pub(super) fn body(readers: Readers, first: Bytes, rest: Question, stop: CancellationToken) -> Body {
    let (parts, body) = mpsc::channel(1);
    let work = async move {
        if let Err(trouble) = send(&readers, first, rest, &parts).await {
            tracing::warn!("an answer is cut off: {trouble}");
        }
    };
    tokio::spawn(stop.run_until_cancelled_owned(work));
    until_empty(body)
}

async fn send(
    readers: &Readers,
    first: Bytes,
    rest: Question,
    parts: &mpsc::Sender<Bytes>,
) -> Result<(), Trouble> {
    let (mut part, mut rest) = (first, Some(rest));
    loop {
        let is_gone = !part.is_empty() && parts.send(part).await.is_err();
        let Some(question) = rest.take().filter(|_| !is_gone) else { break };
        // Not before there is room for what it says.
        let Ok(room) = parts.reserve().await else { return Ok(()) };
        let reply = readers.ask_when_free(question).await?;
        drop(room);
        (part, rest) = (reply.body, reply.rest);
    }
    // The client may be gone.
    let _ = parts.send(Bytes::new()).await;
    Ok(())
}

/// What is sent to it, until that is empty. A sender that goes away before cuts the body off.
fn until_empty(mut parts: mpsc::Receiver<Bytes>) -> Body {
    let frames = stream::poll_fn(move |context| {
        parts.poll_recv(context).map(|part| match part {
            Some(end) if end.is_empty() => None,
            Some(part) => Some(Ok(Frame::data(part))),
            None => Some(Err(io::Error::other("the rest of the answer cannot be made"))),
        })
    });
    StreamBody::new(frames).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_whose_end_is_not_said_is_no_whole_one() {
        for is_ended in [true, false] {
            let (parts, body) = mpsc::channel(3);
            for part in ["a", "b", ""].iter().take(if is_ended { 3 } else { 2 }) {
                parts.send(Bytes::from_static(part.as_bytes())).await.unwrap();
            }
            drop(parts);
            let whole = until_empty(body).collect().await;
            assert_eq!(whole.is_ok(), is_ended);
            assert!(whole.map_or(true, |whole| whole.to_bytes() == "ab"));
        }
    }
}
