// SPDX-License-Identifier: Apache-2.0
//! Bodies of requests: read whole, within bounds.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{HeaderMap, header::CONTENT_LENGTH};
use tokio::time::timeout;

use crate::http::{Problem, RequestBody};

/// A body must be there within this time.
const TIME: Duration = Duration::from_secs(30);

/// Reads a body of `most` bytes at most, which must say how long it is.
pub async fn read(headers: &HeaderMap, body: RequestBody, most: usize) -> Result<Bytes, Problem> {
    let length = headers.get(CONTENT_LENGTH).ok_or(Problem::LengthRequired)?;
    let length = length.to_str().ok().and_then(|length| length.parse::<u64>().ok());
    let length = length.ok_or(Problem::LengthRequired)?;
    if length > most as u64 {
        return Err(Problem::TooLarge);
    }
    timeout(TIME, collect(body, most)).await.map_err(|_| Problem::TooSlow)?
}

async fn collect(mut body: RequestBody, most: usize) -> Result<Bytes, Problem> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::BadRequest("the body ended before its length".to_owned()))?;
        let Some(data) = frame.data_ref() else { continue };
        if whole.len() + data.len() > most {
            return Err(Problem::TooLarge);
        }
        whole.extend_from_slice(data);
    }
    Ok(whole.freeze())
}
