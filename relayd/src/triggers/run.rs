// SPDX-License-Identifier: Apache-2.0
//! One run on one node, from the request to its one final event.

use chrono::Utc;
use protocol::{
    remote_run::{Event, RunRequest, RunRequestId},
    triggers::{Offer, ReportFrom, Taker},
};
use tokio::{
    sync::mpsc::{self, OwnedPermit, Receiver, Sender},
    time::Instant,
};

/// Events of a run that wait for whoever asked, beside the final one, for which there is always room. What a
/// node has to say beyond that waits with the node.
const EVENTS: usize = 64;
/// The same, of one run among very many; and in all, more or less: they are up to 8 KiB each.
const FEWEST_EVENTS: usize = 2;
const EVENTS_IN_ALL: usize = 2048;

/// A run.
pub struct Run {
    request: RunRequest,
    /// When it must have begun.
    deadline: Instant,
    stage: Stage,
    offered: bool,
    events: Sender<Event>,
    last_word: OwnedPermit<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The node has not said anything of it.
    Waiting,
    /// The node makes it.
    Taken {
        /// Which machine, should there be copies.
        by: Taker,
        /// Number of the next event.
        next: u64,
        /// When it last said something.
        heard: Instant,
    },
}

/// What became of a report.
pub enum Reported {
    /// Events before this number have arrived. With a sender: there is no room for more, and it tells when there is.
    Arrived(u64, Option<Sender<Event>>),
    /// All have arrived, the final one was among them.
    Over,
    /// Events before those reported are missing; from this number on.
    Gap(u64),
    /// Another machine has taken the run.
    Another,
    /// The run was cancelled, or its time is over.
    Gone,
}

impl Run {
    /// A run that nobody has heard of yet, beside so many others, and what happens to it.
    pub fn new(request: RunRequest, others: usize, now: Instant) -> (Self, Receiver<Event>) {
        let (events, receiver) =
            mpsc::channel((EVENTS_IN_ALL / (others + 1)).clamp(FEWEST_EVENTS, EVENTS) + 1);
        let last_word = events.clone().try_reserve_owned();
        let last_word = last_word.unwrap_or_else(|_| unreachable!("the channel is empty and open"));
        let left = (request.expires - Utc::now()).to_std().unwrap_or_default();
        let run =
            Self { deadline: now + left, request, stage: Stage::Waiting, offered: false, events, last_word };
        (run, receiver)
    }

    /// Its number.
    pub fn id(&self) -> RunRequestId {
        self.request.id
    }

    /// Ends it with a final event.
    pub fn end(self, event: Event) {
        debug_assert!(event.is_final());
        self.last_word.send(event);
    }

    /// Whether nobody wants to know any more.
    pub fn is_cancelled(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether the node has not taken it.
    pub fn is_waiting(&self) -> bool {
        self.stage == Stage::Waiting
    }

    /// Whether it was not begun in time.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.is_waiting() && now >= self.deadline
    }

    /// Whether the node has taken it, and said nothing for so long.
    pub fn is_silent_since(&self, then: Option<Instant>) -> bool {
        matches!((self.stage, then), (Stage::Taken { heard, .. }, Some(then)) if heard <= then)
    }

    /// What the node is told, unless that is no use any more; and whether for the first time.
    pub fn offer(&mut self, now: Instant) -> Option<(Offer, bool)> {
        if !self.is_waiting() || self.is_cancelled() || now >= self.deadline {
            return None;
        }
        let is_first = !std::mem::replace(&mut self.offered, true);
        Some((Offer::of(&self.request, Utc::now()), is_first))
    }

    /// Takes what is new of a report, as far as there is room. The first report takes the run.
    ///
    /// Gives the final event beside, when it is there: the run is to be ended with it.
    pub fn report(&mut self, place: ReportFrom, events: &[Event], now: Instant) -> (Reported, Option<Event>) {
        if self.is_cancelled() || self.is_expired(now) {
            return (Reported::Gone, None);
        }
        let mut next = match self.stage {
            Stage::Waiting => 0,
            Stage::Taken { by, .. } if by != place.by => return (Reported::Another, None),
            Stage::Taken { next, .. } => next,
        };
        if place.from > next {
            return (Reported::Gap(next), None);
        }
        let known = usize::try_from(next - place.from).unwrap_or(usize::MAX);
        let mut rest = None;
        let mut end = None;
        for event in events.iter().skip(known) {
            if event.is_final() {
                end = Some(event.clone());
            } else if self.events.try_send(event.clone()).is_err() {
                rest = Some(self.events.clone());
                break;
            }
            next += 1;
        }
        self.stage = Stage::Taken { by: place.by, next, heard: now };
        match end {
            Some(_) => (Reported::Over, end),
            None => (Reported::Arrived(next, rest), None),
        }
    }
}
