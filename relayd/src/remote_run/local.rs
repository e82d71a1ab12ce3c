// SPDX-License-Identifier: Apache-2.0
//! Runs on the nodes that are attached to this server: over the connection of their agent, else by the
//! external command, else at their next contact.
//!
//! Agents are asked at once, thousands of them: that costs this server next to nothing, and what they
//! write waits with them (`triggers::run`). External commands are programs of this machine. Both take
//! turns, each of their own number; an agent that is not connected costs nothing until it comes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use protocol::{
    node_id::NodeId,
    remote_run::{Conditions, Event, NodeEvent, RunRequest, RunRequestId},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc::Sender},
    time::{Instant, error::Elapsed, sleep_until, timeout, timeout_at},
};

use super::{
    agents::Agents,
    external::{External, Running, Told},
    host::HostName,
};

/// What is asked of each node.
#[derive(Debug, Clone)]
pub struct Task {
    /// What the runs are told.
    pub conditions: Conditions,
    /// Whether what they write is wanted.
    pub output: bool,
    /// No run may begin after this.
    pub deadline: Instant,
    /// The same moment, for others.
    pub expires: DateTime<Utc>,
}

/// Runs on nodes of this server. Clones share the number of turns.
#[derive(Clone)]
pub struct Local {
    agents: Arc<dyn Agents>,
    external: Option<External>,
    commands: Arc<Semaphore>,
    commands_at_a_time: usize,
    connected: Arc<Semaphore>,
}

/// Longest time of an external command for one node; its own limit is 300 s.
const COMMAND_TIME: Duration = Duration::from_secs(3600);

impl Task {
    /// Expires after that time.
    pub fn new(conditions: Conditions, output: bool, expiry: Duration) -> Self {
        Self { conditions, output, deadline: Instant::now() + expiry, expires: Utc::now() + expiry }
    }

    /// The request for one node.
    pub fn request(&self) -> RunRequest {
        RunRequest {
            id: RunRequestId::new(),
            conditions: self.conditions.clone(),
            expires: self.expires,
            output: self.output,
        }
    }
}

impl Local {
    /// At most so many external commands, and so many connected agents, run at the same time.
    pub fn new(
        agents: Arc<dyn Agents>,
        external: Option<External>,
        max_commands: usize,
        max_agents: usize,
    ) -> Self {
        let turns = |most: usize| Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        let (commands, connected) = (turns(max_commands), turns(max_agents));
        Self { agents, external, commands_at_a_time: commands.available_permits(), commands, connected }
    }

    /// Has these nodes run and tells what happens, until each has its final event or nobody listens.
    pub async fn run(&self, nodes: Vec<(NodeId, String)>, task: &Task, events: &Sender<NodeEvent>) {
        let (by_command, asked): (Vec<_>, Vec<_>) =
            nodes.into_iter().partition(|(node, _)| self.is_by_command(node));
        let asked = join_all(asked.iter().map(|(node, _)| self.by_agent(node, task, events)));
        tokio::join!(asked, self.in_turn(by_command.into(), task, events));
    }

    /// These nodes as turns come; those that got none in time expire.
    async fn in_turn(&self, nodes: VecDeque<(NodeId, String)>, task: &Task, events: &Sender<NodeEvent>) {
        // No more wait at a time than may run: other requests get their turns in between.
        let (width, queue) = (nodes.len().min(self.commands_at_a_time), Mutex::new(nodes));
        let workers = join_all((0..width).map(|_| self.work(&queue, task, events)));
        tokio::pin!(workers);
        let is_over = tokio::select! {
            _ = &mut workers => true,
            () = sleep_until(task.deadline) => false,
        };
        while let Some((node, _)) = pop(&queue) {
            tell(events, &node, Event::Expired).await;
        }
        if !is_over {
            workers.await;
        }
    }

    async fn work(&self, queue: &Mutex<VecDeque<(NodeId, String)>>, task: &Task, events: &Sender<NodeEvent>) {
        while let Some(turn) = self.turn(task).await {
            let Some((node, host)) = pop(queue) else { return };
            self.run_one(node, host, turn, task, events).await;
        }
    }

    /// Waits for a turn to run an external command; `None` when the time is over.
    pub async fn turn(&self, task: &Task) -> Option<SemaphorePermit<'_>> {
        timeout_at(task.deadline, self.commands.acquire()).await.ok()?.ok()
    }

    /// Waits for a turn to ask an agent. One that is not connected needs none: it may never come.
    ///
    /// **Errors**: the time is over.
    pub async fn agent_turn(
        &self,
        node: &NodeId,
        task: &Task,
    ) -> Result<Option<SemaphorePermit<'_>>, Elapsed> {
        if !self.is_connected(node) {
            return Ok(None);
        }
        Ok(timeout_at(task.deadline, self.connected.acquire()).await?.ok())
    }

    /// Whether the agent of this node keeps a connection.
    pub fn is_connected(&self, node: &NodeId) -> bool {
        self.agents.is_connected(node)
    }

    /// The external command, if it is there.
    pub fn external(&self) -> Option<&External> {
        self.external.as_ref().filter(|external| external.is_there())
    }

    /// What happens on a node whose agent is asked.
    pub fn ask(&self, node: &NodeId, task: &Task) -> tokio::sync::mpsc::Receiver<Event> {
        self.agents.ask(node, task.request())
    }

    /// Whether the external command is the way to a node.
    fn is_by_command(&self, node: &NodeId) -> bool {
        !self.is_connected(node) && self.external().is_some()
    }

    async fn run_one(
        &self,
        node: NodeId,
        host: String,
        turn: SemaphorePermit<'_>,
        task: &Task,
        events: &Sender<NodeEvent>,
    ) {
        // It may have connected while it waited for its turn.
        if self.is_by_command(&node) {
            return self.by_command(&node, &host, task, events).await;
        }
        drop(turn);
        self.by_agent(&node, task, events).await;
    }

    /// Over the connection of the agent, or at its next contact.
    async fn by_agent(&self, node: &NodeId, task: &Task, events: &Sender<NodeEvent>) {
        let Ok(_turn) = self.agent_turn(node, task).await else {
            return tell(events, node, Event::Expired).await;
        };
        // Before it is told: a client that takes its time must not hold up the nodes.
        let mut happens = self.ask(node, task);
        tell(events, node, Event::Asked).await;
        while let Some(event) = happens.recv().await {
            let is_final = event.is_final();
            if events.send(NodeEvent::now(node.clone(), event)).await.is_err() || is_final {
                return;
            }
        }
        tell(events, node, Event::unreachable("the connection of the node ended before its run did")).await;
    }

    async fn by_command(&self, node: &NodeId, host: &str, task: &Task, events: &Sender<NodeEvent>) {
        let end = match (self.external(), HostName::parse(host)) {
            (None, _) => Event::refused("the external command is gone"),
            (_, None) => Event::refused("its host name in the node list is none, so no command is given it"),
            (Some(external), Some(host)) => {
                tell(events, node, Event::Asked).await;
                match external.start(&[host], &task.conditions) {
                    Err(error) => Event::refused(format!(
                        "cannot run {}: {error}; see remote_run.command and use_sudo",
                        external.program.display()
                    )),
                    Ok(running) => {
                        tell(events, node, Event::Started).await;
                        let followed = timeout(COMMAND_TIME, follow(running, node, task.output, events));
                        match followed.await {
                            Ok(Some(exit_status)) => Event::Finished { exit_status: Some(exit_status) },
                            // Nobody listens.
                            Ok(None) => return,
                            Err(_) => Event::unreachable("the external command took more than an hour"),
                        }
                    }
                }
            }
        };
        tell(events, node, end).await;
    }
}

fn pop<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// Passes on what a command writes; its exit status, or `None` when nobody listens.
async fn follow(
    mut running: Running,
    node: &NodeId,
    output: bool,
    events: &Sender<NodeEvent>,
) -> Option<i32> {
    loop {
        // Also while it writes nothing: it is of no use any more.
        let told = tokio::select! {
            told = running.next() => told?,
            () = events.closed() => return None,
        };
        match told {
            Told::Exit(status) => return Some(status),
            Told::Output(line) | Told::Error(line) if output => {
                for event in Event::output(&String::from_utf8_lossy(&line)) {
                    events.send(NodeEvent::now(node.clone(), event)).await.ok()?;
                }
            }
            Told::Output(_) | Told::Error(_) => {}
        }
    }
}

/// Sends an event; nobody may be there to hear it.
pub async fn tell(events: &Sender<NodeEvent>, node: &NodeId, event: Event) {
    let _ = events.send(NodeEvent::now(node.clone(), event)).await;
}
