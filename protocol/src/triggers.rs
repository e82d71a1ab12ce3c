// SPDX-License-Identifier: Apache-2.0
//! How a node hears that it should run, and tells what came of it (protocol 16.1, 16.3).
//!
//! ```text
//! GET  /triggers?have=<run>,<run>     Prefer: wait=15      ──▶  News: runs to make, and the pace
//! POST /triggers/<run>?by=<taker>&from=<number>            ──▶  Receipt: the next number wanted
//!      one event as JSON in each line
//! ```

use std::{fmt, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::remote_run::{Conditions, Event, RunRequest, RunRequestId};

/// Where news is.
pub const TRIGGERS: &str = "/triggers";

/// Longest body of a report, in bytes; longer ones are sent in pieces.
pub const MAX_REPORT: usize = 64 * 1024;

/// Most runs that a node names in a request, and that wait for one node.
pub const MAX_RUNS: usize = 16;

/// How the agents of a server keep in touch with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "TriggerPace"))]
pub struct Pace {
    /// How long a request for news waits before it is answered without any, in seconds: the beat of the
    /// connection. The next request follows at once.
    pub heartbeat: u64,
    /// Agents whose connection was closed connect again within this time, in seconds, each at a moment of
    /// its own.
    pub reconnect_within: u64,
}

/// A run that a node should make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "TriggerOffer"))]
pub struct Offer {
    /// Its number.
    pub id: RunRequestId,
    /// What it is told.
    pub conditions: Conditions,
    /// It must have begun within this time, in milliseconds. The clocks of node and server need not agree.
    pub expires_in_ms: u64,
    /// Whether what it writes is wanted.
    pub output: bool,
}

/// An answer to a request for news.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "TriggerNews"))]
pub struct News {
    /// How to go on.
    pub pace: Pace,
    /// Runs to make, none that the node has named in its request. Those that it has taken are not offered
    /// again; others are, so a node keeps in mind which it has.
    pub runs: Vec<Offer>,
}

/// An answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "TriggerReceipt"))]
pub struct Receipt {
    /// Events before this number have arrived; those from it on have not.
    pub next: u64,
}

/// Whoever makes a run: a number that nobody else has. Where machines are copies of each other, it tells
/// which of them has taken it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Taker(u64);

/// A report's place in all that is said of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportFrom {
    /// Who reports.
    pub by: Taker,
    /// Number of the first event in the body; the first of a run has 0.
    pub from: u64,
}

/// Why a request or a report makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TriggerError {
    /// The query names something that is no number of a run.
    #[error("have: comma separated numbers of runs, at most {MAX_RUNS}")]
    Have,
    /// No such taker.
    #[error("by: 16 lower-case hexadecimal digits, which whoever makes the run has chosen at random")]
    By,
    /// No such number.
    #[error("from: the number of the first event in the body, from 0 on")]
    From,
    /// A line that is no event, or one that is not for nodes to tell.
    #[error(
        "line {0}: expected one of the events started, output, finished, refused and unreachable as JSON, nothing after a final one"
    )]
    Event(usize),
}

impl Pace {
    /// How much later than expected the other side may be heard of before the connection counts as dead.
    /// With a heartbeat of at most 20 s that is noticed within 30 s.
    pub fn tolerance(&self) -> Duration {
        Duration::from_millis((self.heartbeat.saturating_mul(500)).clamp(1_000, 10_000))
    }

    /// Longest time in which nothing may be heard of a connection that is alive.
    pub fn longest_silence(&self) -> Duration {
        Duration::from_secs(self.heartbeat).saturating_add(self.tolerance())
    }
}

impl Offer {
    /// What a node is told of a request at this moment.
    pub fn of(request: &RunRequest, now: DateTime<Utc>) -> Self {
        let left = (request.expires - now).num_milliseconds().max(0).unsigned_abs();
        let RunRequest { id, conditions, output, .. } = request.clone();
        Self { id, conditions, expires_in_ms: left, output }
    }
}

/// Path and query of a request for news by a node that has these runs in hand.
pub fn news_path(have: &[RunRequestId]) -> String {
    match have {
        [] => TRIGGERS.to_owned(),
        have => {
            let have: Vec<_> = have.iter().take(MAX_RUNS).map(ToString::to_string).collect();
            format!("{TRIGGERS}?have={}", have.join(","))
        }
    }
}

/// The runs that a request for news says the node has.
pub fn have(query: Option<&str>) -> Result<Vec<RunRequestId>, TriggerError> {
    let Some(list) = parameter(query, "have").filter(|list| !list.is_empty()) else { return Ok(vec![]) };
    if list.split(',').count() > MAX_RUNS {
        return Err(TriggerError::Have);
    }
    list.split(',').map(|id| id.parse().map_err(|_| TriggerError::Have)).collect()
}

/// Path and query of a report.
pub fn report_path(run: &RunRequestId, ReportFrom { by, from }: ReportFrom) -> String {
    format!("{TRIGGERS}/{run}?by={by}&from={from}")
}

impl ReportFrom {
    /// From the query of a report.
    pub fn parse(query: Option<&str>) -> Result<Self, TriggerError> {
        let by = parameter(query, "by").and_then(|text| text.parse().ok()).ok_or(TriggerError::By)?;
        let from = match parameter(query, "from") {
            None => 0,
            Some(text) if text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map_err(|_| TriggerError::From)?
            }
            Some(_) => return Err(TriggerError::From),
        };
        Ok(Self { by, from })
    }
}

fn parameter<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    query?.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// Events of a report. Empty lines are nothing.
pub fn events(body: &[u8]) -> Result<Vec<Event>, TriggerError> {
    let mut events: Vec<Event> = vec![];
    for (index, line) in body.split(|b| *b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let event = serde_json::from_slice::<Event>(line).ok();
        let fits = |event: &Event| {
            let is_told_by_nodes = !matches!(event, Event::Asked | Event::Expired);
            is_told_by_nodes && event.is_bounded() && !events.last().is_some_and(Event::is_final)
        };
        events.push(event.filter(fits).ok_or(TriggerError::Event(index + 1))?);
    }
    Ok(events)
}

/// An event as a line of a report, with its end.
pub fn line(event: &Event) -> String {
    // Only maps with keys that are no texts cannot be written.
    let mut line = serde_json::to_string(event).unwrap_or_default();
    line.push('\n');
    line
}

impl Taker {
    /// From random bytes.
    pub fn new(random: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(random))
    }
}

impl fmt::Display for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Taker {
    type Err = TriggerError;

    fn from_str(text: &str) -> Result<Self, TriggerError> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != 16 || !text.bytes().all(is_hex) {
            return Err(TriggerError::By);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| TriggerError::By)
    }
}

impl TryFrom<String> for Taker {
    type Error = TriggerError;

    fn try_from(text: String) -> Result<Self, TriggerError> {
        text.parse()
    }
}

impl From<Taker> for String {
    fn from(taker: Taker) -> String {
        taker.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read() {
        let ids: Vec<_> = (0..3).map(|_| RunRequestId::new()).collect();
        for count in 0..3 {
            let path = news_path(&ids[..count]);
            let query = path.split_once('?').map(|(_, query)| query);
            assert_eq!(have(query), Ok(ids[..count].to_vec()));
        }
        let place = ReportFrom { by: Taker::new([0, 1, 2, 3, 4, 5, 6, 255]), from: 17 };
        let path = report_path(&ids[0], place);
        let (path, query) = path.split_once('?').unwrap();
        assert_eq!(path, format!("/triggers/{}", ids[0]));
        assert_eq!(ReportFrom::parse(Some(query)), Ok(place));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let id = RunRequestId::new().to_string();
        let many = vec![id.as_str(); MAX_RUNS + 1].join(",");
        for list in ["x", &format!("{id},"), &format!("{id},../x"), &many] {
            assert_eq!(have(Some(&format!("have={list}"))), Err(TriggerError::Have), "{list}");
        }
        for by in ["", "1", "0123456789ABCDEF", "0123456789abcdefa", "+123456789abcdef"] {
            assert_eq!(ReportFrom::parse(Some(&format!("by={by}"))), Err(TriggerError::By), "{by}");
        }
        for from in ["", "-1", "+1", "1e3", "9999999999999999999999"] {
            let query = format!("by=0123456789abcdef&from={from}");
            assert_eq!(ReportFrom::parse(Some(&query)), Err(TriggerError::From), "{from}");
        }
        assert_eq!(ReportFrom::parse(None), Err(TriggerError::By));
    }

    #[test]
    fn a_report_holds_what_nodes_may_tell() {
        let told = [
            Event::Started,
            Event::output("a \"b\"\u{7}").remove(0),
            Event::Finished { exit_status: Some(3) },
        ];
        let body: String = told.iter().map(line).collect::<Vec<_>>().join("\n");
        assert_eq!(events(body.as_bytes()), Ok(told.to_vec()));
        assert_eq!(events(b""), Ok(vec![]));
        for (body, at) in [
            ("{\"event\":\"asked\"}\n", 1),
            ("\n{\"event\":\"expired\"}", 2),
            ("{\"event\":\"finished\",\"exit_status\":0}\n{\"event\":\"started\"}", 2),
            ("started", 1),
            ("{\"event\":\"started\"", 1),
            ("\u{0}", 1),
        ] {
            assert_eq!(events(body.as_bytes()), Err(TriggerError::Event(at)), "{body:?}");
        }
        let long = format!("{{\"event\":\"output\",\"line\":\"{}\"}}", "a".repeat(9000));
        assert_eq!(events(long.as_bytes()), Err(TriggerError::Event(1)));
    }

    #[test]
    fn a_silent_link_is_noticed_within_half_a_minute() {
        for heartbeat in 0..=20 {
            let pace = Pace { heartbeat, reconnect_within: 1 };
            assert!(pace.longest_silence() <= Duration::from_secs(30), "{heartbeat}");
            assert!(pace.tolerance() >= Duration::from_secs(1), "{heartbeat}");
        }
    }
}
