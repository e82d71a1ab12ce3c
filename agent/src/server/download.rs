// SPDX-License-Identifier: Apache-2.0
//! An answer whose body comes as a stream: of any length, in little memory, never more than was allowed.

use std::io::{self, Write};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{HeaderMap, StatusCode, body::Incoming, header};

use super::connection::{ConnectionError, Reply};

/// What is read of a body that only explains a status.
const MAX_EXPLANATION: usize = 64 * 1024;

/// Status and headers are there; the body is on its way.
#[derive(Debug)]
pub struct Download {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    body: Incoming,
}

impl Download {
    pub(super) fn new(answer: hyper::Response<Incoming>) -> Self {
        let (parts, body) = answer.into_parts();
        Self { status: parts.status, headers: parts.headers, body }
    }

    /// A header that is text.
    pub fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next piece of the body, `None` at its end. **Errors**: the connection broke before that, so what came
    /// is not whole.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ConnectionError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Writes the body to `to` and gives its length in bytes. Nothing is written of a body that announces more
    /// than `limit` bytes, and no more than `limit` of one that does not say.
    pub async fn save(mut self, to: &mut impl Write, limit: u64) -> Result<u64, DownloadError> {
        let announced = self.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit) {
            return Err(DownloadError::TooLong { limit });
        }
        let mut length = 0;
        while let Some(data) = self.chunk().await? {
            length += data.len() as u64;
            if length > limit {
                return Err(DownloadError::TooLong { limit });
            }
            to.write_all(&data).map_err(DownloadError::Write)?;
        }
        Ok(length)
    }

    /// The whole body in memory, if it has no more than `limit` bytes.
    pub async fn bytes(self, limit: u64) -> Result<Vec<u8>, DownloadError> {
        let mut bytes = vec![];
        self.save(&mut bytes, limit).await?;
        Ok(bytes)
    }

    /// For an answer that is not what was asked for: the body, or the start of one that is longer than 64 KiB or
    /// breaks off.
    pub async fn reply(self) -> Reply {
        self.reply_within(MAX_EXPLANATION).await
    }

    /// The same with the start of a body that is longer than `most` bytes.
    pub async fn reply_within(mut self, most: usize) -> Reply {
        let mut body = Vec::new();
        while body.len() <= most
            && let Ok(Some(data)) = self.chunk().await
        {
            body.extend_from_slice(&data);
        }
        Reply { status: self.status, headers: self.headers, body }
    }
}

/// Why a body did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// More than was allowed.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// What was allowed.
        limit: u64,
    },
    /// It cannot be written down.
    #[error("{0}")]
    Write(io::Error),
}
