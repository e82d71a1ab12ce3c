// SPDX-License-Identifier: Apache-2.0
//! One request to the local API, whose answer comes line by line.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST},
};
use protocol::remote_run::{Line, LineReader, RunOrder};
use tokio::time::timeout;

use crate::{api::client, cli::CliError, config::LocalAddress, remote_run::VERSION_2, upstream::with_causes};

/// The daemon says something each five seconds.
const SILENCE: Duration = Duration::from_secs(20);
/// Longest text of a refusal that is read.
const LONGEST_REFUSAL: usize = 4096;

/// A request that was taken.
pub struct Asked {
    body: Incoming,
    reader: LineReader,
}

impl Asked {
    /// Sends the request to the daemon that listens there.
    pub async fn send(listen: &LocalAddress, order: &RunOrder) -> Result<Self, CliError> {
        let place = client::place(listen);
        let lost = |error: hyper::Error| away(&place, &with_causes(&error));
        let mut sender = client::connect(listen).await.map_err(|error| away(&place, &error.why))?;
        let body = Bytes::from(order.to_json());
        let request = Request::post(VERSION_2)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_LENGTH, body.len())
            .body(Full::new(body))
            .map_err(CliError::failed)?;
        let answer = timeout(SILENCE, sender.send_request(request)).await;
        let answer = answer.map_err(|_| away(&place, &"it does not answer"))?.map_err(lost)?;
        match answer.status() {
            StatusCode::OK => Ok(Self { body: answer.into_body(), reader: LineReader::default() }),
            StatusCode::BAD_REQUEST => Err(CliError::usage(refusal(answer).await)),
            StatusCode::NOT_FOUND => Err(CliError::unasked(
                "the daemon has no remote runs: set remote_run.enabled = true, and restart it",
            )),
            status => {
                Err(CliError::unasked(format!("the daemon answers {status}: {}", refusal(answer).await)))
            }
        }
    }

    /// The next lines; `None` at the end of the answer.
    pub async fn lines(&mut self) -> Result<Option<Vec<Line>>, String> {
        let frame = timeout(SILENCE, self.body.frame()).await;
        let frame = frame.map_err(|_| format!("the daemon was silent for {} s", SILENCE.as_secs()))?;
        let Some(frame) = frame else { return Ok(None) };
        let frame =
            frame.map_err(|e| format!("the answer of the daemon was cut off: {}", with_causes(&e)))?;
        let (mut lines, mut bad) = (Vec::new(), None);
        if let Some(data) = frame.data_ref() {
            self.reader.push(data, |line| match line {
                Ok(line) => lines.push(line),
                Err(error) => bad = Some(error),
            });
        }
        match bad {
            None => Ok(Some(lines)),
            Some(error) => Err(format!("the daemon answers with nonsense ({error}); is it another version?")),
        }
    }
}

async fn refusal(answer: Response<Incoming>) -> String {
    let body = http_body_util::Limited::new(answer.into_body(), LONGEST_REFUSAL).collect().await;
    body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default()
}

fn away(place: &str, why: &dyn std::fmt::Display) -> CliError {
    CliError::unasked(format!(
        "cannot ask the daemon at {place}: {why}; is it running, with general.listen as in this configuration?"
    ))
}
