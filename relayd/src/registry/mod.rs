// SPDX-License-Identifier: Apache-2.0
//! The registry of nodes on a root: who belongs to the instance, with which keys, and who decided so.
//!
//! ```text
//! gateway ──requests──▶ service thread ──transactions──▶ database ◀── relayd node …, other roots
//!                            │  ▲                            │
//!                            │  └────── changed rows ◀───────┘  (every half second)
//!                            ▼
//!                       node table ──▶ gateway, store, tree, files of protocol 5
//! ```
//!
//! | file | what |
//! |---|---|
//! | [`record`], [`row`] | what is known of nodes; the rows it is read from |
//! | [`change`] | transactions that change something |
//! | [`enrol`], [`token`], [`program`] | who is taken in |
//! | [`lapse`] | requests that nobody repeats |
//! | [`inventory`] | what inventories say of identities |
//! | [`keys`] | a node changes its key, or gets a certificate |
//! | [`admin`], [`select`] | what operators do |
//! | [`start`], [`service`], [`job`] | the thread that owns the connection, and what it does for others |
//! | [`mirror`] | the accepted nodes in memory |
//! | [`own`], [`follow`], [`source`] | the root itself; what another program's list says, as long as that counts |
//! | [`contacts`], [`clones`] | when nodes were last heard of; two machines with one identity |
//! | [`files`] | what other programs read |
//! | [`journal`] | what the log says of nodes |
//! | [`metrics`], [`statistics`] | numbers |
//!
//! Always true: the database is the only truth, and one row in it makes all writers wait for each
//! other. The first key that claims an id keeps it. A key that was replaced or revoked never comes back
//! by itself.

pub mod admin;
mod change;
mod clones;
mod contacts;
mod enrol;
mod files;
mod follow;
mod inventory;
mod job;
mod journal;
mod keys;
mod lapse;
mod metrics;
mod mirror;
mod own;
mod program;
pub mod record;
mod row;
mod select;
mod service;
mod source;
mod start;
mod statistics;
mod token;

use std::{net::IpAddr, sync::Arc};

use protocol::{
    enrolment::{Answer, Request},
    node_id::NodeId,
};

use self::{
    change::Change,
    enrol::Claim,
    job::{Context, Queue},
    program::{Asked, Program, Question, Verdict},
};
pub use self::{
    contacts::{Contact, Contacts, Recorder},
    follow::Followed,
    inventory::{Introduced, Introduction},
    start::{Running, Settings, StartError, start},
};

/// The daemon's registry; cheap to clone.
#[derive(Clone)]
pub struct Registry {
    queue: Queue,
    program: Option<Arc<Program>>,
}

/// Why the registry does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The database does not work, or too many requests wait: later.
    #[error("the registry cannot be reached now: {0}")]
    Down(String),
    /// As many nodes wait for a decision as may: later.
    #[error("too many nodes wait for a decision; an operator has to decide about some of them first")]
    TooManyPending,
    /// What was sent is malformed.
    #[error("{0}")]
    Invalid(String),
    /// Well-formed, but not allowed.
    #[error("{0}")]
    Refused(String),
}

impl Registry {
    /// Decides about a request to be taken in, which came through `place`. Asking again is how a node
    /// hears of a decision.
    pub async fn enrol(
        &self,
        request: Request,
        place: NodeId,
        address: IpAddr,
    ) -> Result<Answer, RegistryError> {
        let program = self.program.as_deref().filter(|_| request.token().is_none() && !request.as_relay);
        let to_program = program.map(|program| (program, Question::of(&request)));
        let claimed = place.clone();
        let decide = move |change: &mut Change<'_>, context: &Context| {
            enrol::enrol(change, &Claim::of(&request, &claimed, address), &context.rules)
        };
        let replied = self.queue.ask(decide).await?;
        let answer = replied.answer;
        let Some((program, question)) = to_program.filter(|_| replied.undecided) else { return Ok(answer) };
        let accept = match program.ask(&question).await {
            Verdict::Accept => true,
            Verdict::Reject => false,
            Verdict::Leave => return Ok(answer),
        };
        let asked = Asked { answer, hostname: question.hostname, place };
        self.queue.ask(move |change, _| program::decide(change, &asked, accept).map(Ok)).await
    }

    /// Replaces the key of a node: `message` is the request of the new key (PKCS#10, PEM), signed as run
    /// logs are (protocol 2.5) with the current one.
    pub async fn roll_over(&self, node: &NodeId, message: Vec<u8>) -> Result<Answer, RegistryError> {
        let id = node.clone();
        let vouchers = self.queue.ask(move |change, _| keys::vouchers(change, &id)).await?;
        let id = node.clone();
        let read = tokio::task::spawn_blocking(move || keys::read(&id, &message, &vouchers));
        let vouched = read.await.map_err(|e| RegistryError::Down(e.to_string()))??;
        let id = node.clone();
        let work = move |change: &mut Change<'_>, context: &Context| {
            keys::roll_over(change, &id, &vouched, context.settings.key_overlap, &context.rules)
        };
        self.queue.ask(work).await
    }

    /// A certificate for a key of a node, from the built-in authority: PEM, the certificate of the
    /// authority last. `None`: there is no authority.
    pub async fn certify(&self, node: &NodeId, request: Request) -> Result<Option<Vec<u8>>, RegistryError> {
        let node = node.clone();
        let work = move |change: &mut Change<'_>, context: &Context| {
            keys::certify(change, &node, &request, &context.settings.ca)
        };
        self.queue.ask(work).await
    }

    /// Takes note of what an inventory says about the identity of its node.
    pub async fn introduce(&self, introduction: Introduction) -> Result<Introduced, RegistryError> {
        let work = move |change: &mut Change<'_>, context: &Context| {
            inventory::introduce(change, &introduction, context.settings.key_overlap, &context.rules).map(Ok)
        };
        self.queue.ask(work).await
    }

    /// Looks at the certificates of this server again.
    pub async fn reload(&self) -> Result<(), RegistryError> {
        self.queue.ask(|change, context| own::enter(change, &context.settings).map(Ok)).await
    }
}
