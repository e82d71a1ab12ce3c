// SPDX-License-Identifier: Apache-2.0
//! Version 2 for nodes behind a relay: through its version 2, or through version 1 of an older one.

use std::{collections::HashSet, time::Duration};

use futures_util::{StreamExt, stream};
use hyper::{StatusCode, header::HeaderValue};
use protocol::{
    node_id::NodeId,
    remote_run::{Event, Line, LineReader, MAX_NODES, NodeEvent, RunForm, RunOrder, Targets},
};
use tokio::{
    sync::mpsc::Sender,
    time::{Instant, timeout_at},
};
use tracing::warn;

use super::{
    lines::Lines,
    local::{Task, tell},
    relays::{Answer, Post, RelayError, Relays},
};

/// Path of version 2.
pub const VERSION_2: &str = "/rudder/relay-api/2/remote-run";
/// Paths of version 1, as existing relays have them.
pub const NODES_OF_VERSION_1: &str = "/rudder/relay-api/remote-run/nodes";
/// See [`NODES_OF_VERSION_1`].
pub const ALL_OF_VERSION_1: &str = "/rudder/relay-api/remote-run/all";
/// Type of forms.
pub const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// An older relay says nothing while its nodes write nothing; its front gives up after 300 s.
const OLDER_SILENCE: Duration = Duration::from_secs(310);
/// Requests to an older relay at a time: one for each node, so that output can be told apart.
const OLDER_AT_A_TIME: usize = 8;
/// A run that began in time takes no longer.
const LONGEST_RUN: Duration = Duration::from_secs(6 * 3600);
/// Lines that make no sense before a relay is given up.
const MOST_NONSENSE: usize = 1000;

/// What nodes behind one relay are asked.
pub struct Behind<'a> {
    /// How relays are reached.
    pub relays: &'a Relays,
    /// The relay.
    pub relay: &'a NodeId,
    /// What is asked.
    pub task: &'a Task,
    /// Relays that the request has come through, with this one.
    pub hops: usize,
    /// A relay with version 2 that says nothing for so long is lost.
    pub silence: Duration,
    /// Who wants to know.
    pub events: &'a Sender<NodeEvent>,
}

/// How an exchange with a relay ended, other than well.
enum Ended {
    /// It has no version 2.
    Older,
    /// It does not do it.
    Refused(String),
    /// It cannot be reached, or was lost.
    Lost(String),
}

impl Behind<'_> {
    /// Has the nodes run. Each gets a final event, unless nobody listens.
    pub async fn run(&self, nodes: Vec<NodeId>) {
        // Each request names so many at most; all are under way at once.
        let parts: Vec<Vec<NodeId>> = nodes.chunks(MAX_NODES).map(<[NodeId]>::to_vec).collect();
        stream::iter(parts).for_each_concurrent(None, |part| self.part(part)).await;
    }

    async fn part(&self, nodes: Vec<NodeId>) {
        let mut left: HashSet<NodeId> = nodes.iter().cloned().collect();
        let ended = match self.ask(nodes).await {
            Ok(answer) => {
                let longest = self.task.deadline + LONGEST_RUN;
                let followed = timeout_at(longest, self.follow(answer, &mut left)).await;
                followed.unwrap_or_else(|_| Err(Ended::Lost(format!("relay {} comes to no end", self.relay))))
            }
            Err(ended) => Err(ended),
        };
        let end = match ended {
            Ok(()) => return,
            Err(Ended::Older) => return self.by_version_1(left).await,
            Err(Ended::Refused(why)) => Event::refused(why),
            Err(Ended::Lost(why)) => {
                warn!(relay = %self.relay, nodes = left.len(), reason = %why, "remote run: nodes behind a relay are lost");
                Event::unreachable(why)
            }
        };
        for node in &left {
            tell(self.events, node, end.clone()).await;
        }
    }

    async fn ask(&self, nodes: Vec<NodeId>) -> Result<Answer, Ended> {
        let left = self.task.deadline.saturating_duration_since(Instant::now());
        let order = RunOrder {
            targets: Targets::Nodes(nodes),
            conditions: self.task.conditions.clone(),
            output: self.task.output,
            expires_in: Some(Duration::from_secs(left.as_secs().max(1))),
            asynchronous: false,
        };
        let post = Post {
            path: VERSION_2,
            content_type: HeaderValue::from_static("application/json"),
            body: order.to_json().into(),
            hops: self.hops,
            answer: self.silence,
        };
        let answer = self.relays.post(self.relay, post).await.map_err(|error| self.lost(&error))?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND => Err(Ended::Older),
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                Err(Ended::Refused(format!("relay {} refuses: {status}", self.relay)))
            }
            status => Err(Ended::Lost(format!("relay {} answers {status}", self.relay))),
        }
    }

    /// Passes on what the relay tells of these nodes, until each has its final event.
    async fn follow(&self, mut answer: Answer, left: &mut HashSet<NodeId>) -> Result<(), Ended> {
        let (mut reader, mut nonsense) = (LineReader::default(), 0);
        while !left.is_empty() {
            let piece = answer.next(self.silence).await.map_err(|error| self.lost(&error))?;
            let Some(piece) = piece else {
                return Err(Ended::Lost(format!("relay {} ended its answer too early", self.relay)));
            };
            let mut found = Vec::new();
            reader.push(&piece, |line| match line {
                Ok(Line::Node(event)) => found.push(event),
                Ok(Line::Run(_)) => {}
                Err(error) => {
                    if nonsense == 0 {
                        let error = error.to_string();
                        warn!(relay = %self.relay, error = %error.escape_debug(), "remote run: a relay answers with nonsense");
                    }
                    nonsense += 1;
                }
            });
            for event in found {
                // Of a node that it was not asked about, or that is at its end.
                if !left.contains(&event.node_id) {
                    nonsense += 1;
                    continue;
                }
                if event.is_final() {
                    left.remove(&event.node_id);
                }
                if self.events.send(event).await.is_err() {
                    return Ok(());
                }
            }
            if nonsense > MOST_NONSENSE {
                return Err(Ended::Lost(format!("relay {} answers with nonsense", self.relay)));
            }
        }
        Ok(())
    }

    /// An older relay tells neither which node wrote what nor how it ended: it is asked for one node
    /// after the other, and that the answer ended is all that is known.
    async fn by_version_1(&self, nodes: HashSet<NodeId>) {
        stream::iter(nodes)
            .for_each_concurrent(OLDER_AT_A_TIME, |node| async move {
                let end = self.one_by_version_1(&node).await;
                tell(self.events, &node, end).await;
            })
            .await;
    }

    async fn one_by_version_1(&self, node: &NodeId) -> Event {
        if Instant::now() >= self.task.deadline {
            return Event::Expired;
        }
        tell(self.events, node, Event::Asked).await;
        let form = RunForm {
            // Output as it comes, or none but the end.
            asynchronous: self.task.output,
            keep_output: self.task.output,
            conditions: self.task.conditions.clone(),
            nodes: Some(vec![node.clone()]),
            bad_ids: 0,
        };
        let post = Post {
            path: NODES_OF_VERSION_1,
            content_type: FORM,
            body: form.to_body().into(),
            hops: self.hops,
            answer: OLDER_SILENCE,
        };
        match self.pass_output(node, post).await {
            Ok(()) => Event::Finished { exit_status: None },
            Err(Ended::Refused(why)) => Event::refused(why),
            Err(Ended::Lost(why)) => Event::unreachable(why),
            Err(Ended::Older) => Event::refused(format!("relay {} has no remote runs", self.relay)),
        }
    }

    async fn pass_output(&self, node: &NodeId, post: Post) -> Result<(), Ended> {
        let mut answer = self.relays.post(self.relay, post).await.map_err(|error| self.lost(&error))?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(Ended::Older),
            status if status.is_client_error() => {
                return Err(Ended::Refused(format!("relay {} refuses: {status}", self.relay)));
            }
            status => return Err(Ended::Lost(format!("relay {} answers {status}", self.relay))),
        }
        let mut lines = Lines::default();
        while let Some(piece) = answer.next(OLDER_SILENCE).await.map_err(|error| self.lost(&error))? {
            let mut found = Vec::new();
            lines.push(&piece, |line| found.push(line.to_vec()));
            for line in found {
                self.output(node, &line).await?;
            }
        }
        match lines.rest() {
            Some(line) => self.output(node, &line).await,
            None => Ok(()),
        }
    }

    async fn output(&self, node: &NodeId, line: &[u8]) -> Result<(), Ended> {
        for event in Event::output(&String::from_utf8_lossy(line)) {
            let sent = self.events.send(NodeEvent::now(node.clone(), event)).await;
            sent.map_err(|_| Ended::Lost("nobody listens".to_owned()))?;
        }
        Ok(())
    }

    fn lost(&self, error: &RelayError) -> Ended {
        Ended::Lost(format!("relay {}: {error}", self.relay))
    }
}
