// SPDX-License-Identifier: Apache-2.0
//! What happens to one node that is asked to run (protocol 16.2).

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer};

use crate::node_id::NodeId;

/// Longest line of output in one event, in bytes; longer ones are passed on in pieces.
pub const MAX_OUTPUT_LINE: usize = 8192;

/// Something that happened to a node. In JSON an object whose member `event` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "RunEvent"))]
pub enum Event {
    /// The node was told, or is being told as soon as it can be reached.
    Asked,
    /// The run began.
    Started,
    /// A line of output, without its line end.
    Output {
        /// At most [`MAX_OUTPUT_LINE`] bytes.
        line: String,
        /// What the node wrote after this is left out: it was too much.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        truncated: bool,
    },
    /// The run ended. Final.
    Finished {
        /// Exit status of the run, as a shell has it (128 and the signal, when one killed it). `None`:
        /// whoever ran it does not tell, so it is not known whether anything was done.
        exit_status: Option<i32>,
    },
    /// The node, or a server on the way, does not do it. Final.
    Refused {
        /// Why.
        reason: String,
    },
    /// The node, or a server on the way, could not be reached or was lost. Final.
    Unreachable {
        /// Why.
        reason: String,
    },
    /// The time was over before it was done. Final.
    Expired,
}

/// How it ended for a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Exit status 0, and nothing else.
    Succeeded,
    /// Another exit status.
    Failed(i32),
    /// It ended, and nobody knows how.
    Unknown,
    /// See [`Event::Refused`].
    Refused,
    /// See [`Event::Unreachable`].
    Unreachable,
    /// See [`Event::Expired`].
    Expired,
}

/// An event, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
pub struct NodeEvent {
    /// The node.
    pub node_id: NodeId,
    /// When it happened, by the clock of whoever noticed it first.
    #[cfg_attr(feature = "json-schema", schemars(with = "String"))]
    #[serde(serialize_with = "milliseconds")]
    pub time: DateTime<Utc>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl Event {
    /// Events for a line of output, in pieces when it is long. Never none.
    pub fn output(mut text: &str) -> Vec<Self> {
        let mut events = Vec::new();
        while text.len() > MAX_OUTPUT_LINE {
            let (piece, rest) = text.split_at(super::prefix(text, MAX_OUTPUT_LINE).len());
            events.push(Self::Output { line: piece.to_owned(), truncated: false });
            text = rest;
        }
        events.push(Self::Output { line: text.to_owned(), truncated: false });
        events
    }

    /// The event for a node that cannot be reached.
    pub fn unreachable(reason: impl Into<String>) -> Self {
        Self::Unreachable { reason: reason.into() }
    }

    /// The event for a node that is refused.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    /// How it ended, if this is an end.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Asked | Self::Started | Self::Output { .. } => None,
            Self::Finished { exit_status: Some(0) } => Some(Outcome::Succeeded),
            Self::Finished { exit_status: Some(status) } => Some(Outcome::Failed(*status)),
            Self::Finished { exit_status: None } => Some(Outcome::Unknown),
            Self::Refused { .. } => Some(Outcome::Refused),
            Self::Unreachable { .. } => Some(Outcome::Unreachable),
            Self::Expired => Some(Outcome::Expired),
        }
    }

    /// Whether nothing comes after it.
    pub fn is_final(&self) -> bool {
        self.outcome().is_some()
    }

    /// Whether the texts are as short as they must be.
    pub fn is_bounded(&self) -> bool {
        match self {
            Self::Output { line, .. } => line.len() <= MAX_OUTPUT_LINE,
            Self::Refused { reason } | Self::Unreachable { reason } => reason.len() <= MAX_OUTPUT_LINE,
            Self::Asked | Self::Started | Self::Finished { .. } | Self::Expired => true,
        }
    }
}

impl Outcome {
    /// Only this is success.
    pub fn is_success(self) -> bool {
        self == Self::Succeeded
    }
}

impl NodeEvent {
    /// An event of this moment.
    pub fn now(node_id: NodeId, event: Event) -> Self {
        Self { node_id, time: Utc::now(), event }
    }

    /// Whether nothing comes after it for this node.
    pub fn is_final(&self) -> bool {
        self.event.is_final()
    }
}

pub(super) fn milliseconds<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn long_lines_come_in_pieces_and_whole(text in "\\PC{0,40}", times in 0..600_usize) {
            let text = text.repeat(times);
            let events = Event::output(&text);
            prop_assert!(!events.is_empty() && events.iter().all(Event::is_bounded));
            let joined: String = events.iter().map(|event| match event {
                Event::Output { line, truncated: false } => line.as_str(),
                other => panic!("{other:?}"),
            }).collect();
            prop_assert_eq!(joined, text);
        }
    }

    #[test]
    fn only_exit_status_0_is_success() {
        let ends = [
            Event::Finished { exit_status: None },
            Event::Finished { exit_status: Some(1) },
            Event::refused("no"),
            Event::unreachable("no"),
            Event::Expired,
        ];
        assert!(ends.iter().all(|end| end.is_final() && !end.outcome().unwrap().is_success()));
        assert!(Event::Finished { exit_status: Some(0) }.outcome().unwrap().is_success());
    }
}
