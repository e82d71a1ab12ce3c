// SPDX-License-Identifier: Apache-2.0
//! The answer to an enrolment or key roll-over.

use serde::{Deserialize, Serialize};

use crate::{hash::KeyHash, node_id::NodeId};

/// How it stands with a node and the key that it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "EnrolmentState"))]
pub enum State {
    /// The node is known by this key.
    Accepted,
    /// Somebody has to decide; asking again tells.
    Pending,
    /// Somebody decided against it.
    Rejected,
    /// It was accepted once and is not any more.
    Revoked,
    /// The request itself cannot be granted: its token is not good, its key was retired.
    Refused,
    /// The id belongs to another key, or the key to another id.
    Conflict,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Accepted, Self::Pending, Self::Rejected, Self::Revoked, Self::Refused, Self::Conflict];

    /// The HTTP status of an answer with this state.
    pub const fn status(self) -> u16 {
        match self {
            Self::Accepted => 200,
            Self::Pending => 202,
            Self::Rejected | Self::Revoked | Self::Refused => 403,
            Self::Conflict => 409,
        }
    }

    /// The word, as JSON has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Pending => "pending",
            Self::Rejected => "rejected",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
            Self::Conflict => "conflict",
        }
    }
}

/// What the root answers to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "EnrolmentAnswer"))]
pub struct Answer {
    /// How it stands.
    pub state: State,
    /// The node.
    pub node_id: NodeId,
    /// The key of the request: what the operator sees, and should compare.
    pub key_hash: KeyHash,
    /// In words, for the person at the node.
    pub detail: String,
    /// When to ask again, in seconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Whether the root issues certificates.
    #[serde(default)]
    pub has_ca: bool,
}

/// Longest detail that is read, in characters.
const MAX_DETAIL: usize = 1000;

impl Answer {
    /// One line of JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("an answer consists of texts and numbers");
        json.push(b'\n');
        json
    }

    /// Reads an answer. Its detail can go to a terminal: control characters are replaced, and it has
    /// at most 1000 characters.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        let answer: Self = serde_json::from_slice(json)?;
        let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        let detail = answer.detail.chars().take(MAX_DETAIL).map(printable).collect();
        Ok(Self { detail, ..answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_back_and_details_are_safe_to_print() {
        for state in State::ALL {
            let answer = Answer {
                state,
                node_id: NodeId::root(),
                key_hash: KeyHash::sha256_of(b""),
                detail: "waits for you".into(),
                retry_after: (state == State::Pending).then_some(5),
                has_ca: true,
            };
            let json = answer.to_json();
            assert!(String::from_utf8_lossy(&json).contains(&format!("\"state\":\"{}\"", state.as_str())));
            assert_eq!(Answer::from_json(&json).unwrap(), answer);
        }
        let hash = KeyHash::sha256_of(b"");
        let json = format!(
            r#"{{"state":"pending","node_id":"x","key_hash":"{hash}","detail":"a\u001b[31m\nb","more":1}}"#
        );
        let answer = Answer::from_json(json.as_bytes()).unwrap();
        assert_eq!(
            (&*answer.detail, answer.retry_after, answer.has_ca),
            ("a\u{fffd}[31m\u{fffd}b", None, false)
        );
        for json in ["", "{}", "[]", r#"{"state":"Accepted"}"#] {
            assert!(Answer::from_json(json.as_bytes()).is_err(), "{json}");
        }
    }
}
