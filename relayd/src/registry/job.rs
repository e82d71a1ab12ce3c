// SPDX-License-Identifier: Apache-2.0
//! What the service does for those who ask: work in a transaction that many share, and an answer after
//! its commit.

use std::sync::mpsc::{SyncSender, TrySendError};

use diesel::QueryResult;
use protocol::enrolment::{Answer, State};
use tokio::sync::oneshot;

use super::{
    RegistryError,
    change::Change,
    enrol::{Replied, Rules},
    inventory::Introduced,
    keys::Voucher,
    metrics::PUT_OFF,
    start::Settings,
};

/// What work needs besides the transaction.
pub(super) struct Context {
    pub(super) settings: Settings,
    pub(super) rules: Rules,
}

/// Something to do for somebody who waits.
pub(super) trait Job: Send {
    /// Does it. When the transaction fails, it is done again in another one.
    fn work(&mut self, change: &mut Change<'_>, context: &Context) -> QueryResult<()>;

    /// After the commit: tells who waits how it ended; who has gone will ask again. Returns the label
    /// under which the answer counts.
    fn settle(self: Box<Self>) -> Option<&'static str>;

    /// Tells who waits that it was not done.
    fn put_off(self: Box<Self>, error: RegistryError);
}

/// Where jobs wait.
#[derive(Clone)]
pub(super) struct Queue(SyncSender<Box<dyn Job>>);

impl Queue {
    pub(super) fn new(sender: SyncSender<Box<dyn Job>>) -> Self {
        Self(sender)
    }

    /// Has work done, and waits for how it ends.
    pub(super) async fn ask<T, F>(&self, work: F) -> Result<T, RegistryError>
    where
        T: Counted + Send + 'static,
        F: FnMut(&mut Change<'_>, &Context) -> QueryResult<Result<T, RegistryError>> + Send + 'static,
    {
        let (reply, replied) = oneshot::channel();
        let job = Box::new(Asked { work, done: None, reply });
        self.0.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => RegistryError::Down("too many requests wait".into()),
            TrySendError::Disconnected(_) => stopping(),
        })?;
        replied.await.unwrap_or_else(|_| Err(stopping()))
    }
}

fn stopping() -> RegistryError {
    RegistryError::Down("it is stopping".into())
}

struct Asked<T, F> {
    work: F,
    done: Option<Result<T, RegistryError>>,
    reply: oneshot::Sender<Result<T, RegistryError>>,
}

impl<T, F> Job for Asked<T, F>
where
    T: Counted + Send,
    F: FnMut(&mut Change<'_>, &Context) -> QueryResult<Result<T, RegistryError>> + Send,
{
    fn work(&mut self, change: &mut Change<'_>, context: &Context) -> QueryResult<()> {
        self.done = Some((self.work)(change, context)?);
        Ok(())
    }

    fn settle(self: Box<Self>) -> Option<&'static str> {
        let done = self.done.unwrap_or_else(|| Err(stopping()));
        let label = match &done {
            Ok(done) => done.label(),
            Err(RegistryError::Down(_) | RegistryError::TooManyPending) => Some(PUT_OFF),
            Err(RegistryError::Invalid(_) | RegistryError::Refused(_)) => Some(State::Refused.as_str()),
        };
        drop(self.reply.send(done));
        label
    }

    fn put_off(self: Box<Self>, error: RegistryError) {
        drop(self.reply.send(Err(error)));
    }
}

/// The answer to a request, which counts by what it says.
pub(super) trait Counted {
    fn label(&self) -> Option<&'static str>;
}

impl Counted for Answer {
    fn label(&self) -> Option<&'static str> {
        Some(self.state.as_str())
    }
}

impl Counted for Replied {
    fn label(&self) -> Option<&'static str> {
        self.answer.label()
    }
}

impl Counted for Introduced {
    fn label(&self) -> Option<&'static str> {
        Some(match self {
            Self::Taken => State::Accepted.as_str(),
            Self::Answered(answer) => answer.state.as_str(),
            Self::BadSignature => State::Refused.as_str(),
            Self::TooManyPending => PUT_OFF,
        })
    }
}

/// A certificate, or word that there is no authority: not about being taken in.
impl Counted for Option<Vec<u8>> {
    fn label(&self) -> Option<&'static str> {
        None
    }
}

/// To be answered yet.
impl Counted for Vec<Voucher> {
    fn label(&self) -> Option<&'static str> {
        None
    }
}

/// Nobody was answered.
impl Counted for () {
    fn label(&self) -> Option<&'static str> {
        None
    }
}
