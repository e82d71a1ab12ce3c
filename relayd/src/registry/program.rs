// SPDX-License-Identifier: Apache-2.0
//! A program that decides about newcomers instead of an operator (`enrolment.program`).
//!
//! It gets the request on its standard input and node id and host name as its last arguments. Exit
//! status 0 accepts, 1 rejects; anything else, also that it takes too long, leaves it to an operator.

use std::{process::Stdio, time::Duration};

use diesel::QueryResult;
use protocol::enrolment::{Answer, Request, State};
use tokio::{io::AsyncWriteExt, process::Command, sync::Semaphore, time::timeout};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::{
    change::Change,
    record::{NodeState, Role},
    row,
};
use crate::config;

/// What the program says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Reject,
    /// It cannot tell.
    Leave,
}

/// What it is asked.
pub(super) struct Question {
    node_id: String,
    hostname: String,
    request: Zeroizing<Vec<u8>>,
}

/// The program.
pub(super) struct Program {
    command: Vec<String>,
    limit: Duration,
    running: Semaphore,
}

/// Who decided.
const BY: &str = "program";
/// Programs at the same time; nodes that come meanwhile ask again anyway.
const AT_A_TIME: usize = 4;

impl Question {
    pub(super) fn of(request: &Request) -> Self {
        Self {
            node_id: request.node_id.to_string(),
            hostname: request.hostname.clone(),
            request: request.to_pem(),
        }
    }
}

impl Program {
    /// The program of the configuration, if there is one.
    pub(super) fn of(settings: &config::Enrolment) -> Option<Self> {
        (!settings.program.is_empty()).then(|| Self {
            command: settings.program.clone(),
            limit: settings.program_timeout,
            running: Semaphore::new(AT_A_TIME),
        })
    }

    /// Asks the program, unless it is busy enough.
    pub(super) async fn ask(&self, question: &Question) -> Verdict {
        let Ok(_running) = self.running.try_acquire() else { return Verdict::Leave };
        let verdict = match timeout(self.limit, self.run(question)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => {
                warn!("enrolment.program cannot be run: {error}; nodes wait for an operator");
                Verdict::Leave
            }
            Err(_) => {
                warn!(node_id = question.node_id, "enrolment.program took longer than {:?}", self.limit);
                Verdict::Leave
            }
        };
        info!(node_id = question.node_id, hostname = question.hostname, "enrolment.program: {verdict:?}");
        verdict
    }

    async fn run(&self, question: &Question) -> std::io::Result<Verdict> {
        let (program, arguments) = self.command.split_first().ok_or(std::io::ErrorKind::NotFound)?;
        let mut child = Command::new(program)
            .args(arguments)
            .arg(&question.node_id)
            .arg(&question.hostname)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // It need not read what it does not want to know.
            let _ = input.write_all(&question.request).await;
        }
        Ok(match child.wait().await?.code() {
            Some(0) => Verdict::Accept,
            Some(1) => Verdict::Reject,
            _ => Verdict::Leave,
        })
    }
}

/// What the policy program says counts if the node still waits, with the key that it was asked about.
pub(super) fn decide(change: &mut Change<'_>, asked: &Answer, accept: bool) -> QueryResult<Answer> {
    let id = &asked.node_id;
    let node = row::node(change.connection, id)?;
    let keys = row::keys(change.connection, id)?;
    let hash = asked.key_hash.to_string();
    let waits = node
        .is_some_and(|node| node.state == NodeState::Pending.as_str() && node.role == Role::Node.as_str());
    if !waits || !keys.iter().any(|key| key.key_hash == hash && key.valid_until.is_none()) {
        return Ok(asked.clone());
    }
    let (state, word) =
        if accept { (NodeState::Accepted, State::Accepted) } else { (NodeState::Rejected, State::Rejected) };
    change.decide(id, state, Role::Node, BY)?;
    let detail = format!("{state} by the program of the root");
    Ok(Answer { state: word, detail, retry_after: None, ..asked.clone() })
}
