// SPDX-License-Identifier: Apache-2.0
//! The state of the fleet, asked for (protocol 18): compliance, changes, runs, nodes, and what other folders
//! know of nodes. The HTTP API and the command line ask the same functions.
//!
//! ```text
//! GET …/1/compliance?by=rule ─▶ Asked ─▶ questions ─▶ Question ─┐
//!                                                               ├─▶ Connection, one snapshot ─▶ Reply
//! relayd compliance --by rule ──────────────────────────────────┘
//! ```
//!
//! | file | what |
//! |---|---|
//! | `asked` | path and query of a request: read strictly, unknown members refused |
//! | [`conditions`] | conditions of queries that not everybody asks for |
//! | [`counts`] | counted results, and their percentage |
//! | [`moment`] | instants, as people and programs write them |
//! | `questions` | which function answers which path: whoever answers more adds a line there |
//! | `readers` | few connections, for reading only, with a limit on each statement |
//! | [`reply`] | answers: JSON envelope, CSV, text; pages |
//! | `whole` | lists that are sent whole, part by part |
//! | [`trouble`] | why there is no answer |
//! | [`state`] | SQL for the state of all nodes at an instant |
//! | [`sets`], [`differences`] | sets of results, taken apart and compared |
//! | [`summary`], [`parts`], [`by_node`], [`failing`] | compliance: of the fleet, by rule, by node; what is wrong |
//! | [`changes`], [`timeline`] | what changed between two instants; on a node |
//! | [`since`] | since when a node is as it is |
//! | [`events`], [`runs`], [`run`] | reports, runs, one run |
//! | [`nodes`], [`node`] | nodes, and how each of them is; one node |
//!
//! A question sees one snapshot of the database, changes nothing, is bounded in time and rows, and does not
//! run on an async thread. Lists come in pages: `limit` items, and `next`, which as `after` asks for more; tables,
//! texts and lines without `limit` as a whole, of which each part is a question.

mod asked;
pub mod by_node;
pub mod changes;
pub mod conditions;
pub mod counts;
pub(crate) mod described;
pub mod differences;
pub mod events;
pub mod failing;
pub mod moment;
pub mod node;
pub mod nodes;
pub mod parts;
mod questions;
mod readers;
pub mod reply;
pub mod run;
pub mod runs;
pub mod sets;
pub mod since;
pub mod state;
pub mod summary;
pub mod timeline;
pub mod trouble;
mod whole;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures_util::future::{BoxFuture, FutureExt};
use hyper::Response;

pub use self::{
    asked::{Asked, Paging, Query},
    readers::for_reading,
    reply::{Format, Page, Reply, Row},
    trouble::Trouble,
    whole::Extent,
};
use self::{questions::question, readers::Readers};
use crate::{
    advisories::current::Current,
    compliance,
    db::{Connection, Database},
    http::{Body, Call, Problem, Service},
    packages::updates::Offers,
};

/// A question that is understood: asked with a connection that is for reading only.
pub type Question = Box<dyn FnOnce(&mut Connection) -> Result<Reply, Trouble> + Send>;

/// What questions need besides the database.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For how long a run counts after its start, in seconds (protocol 4.5).
    pub freshness: i64,
    /// Advisories, where there are any.
    pub advisories: Option<Arc<Current>>,
    /// What is known of updates on offer.
    pub offers: Arc<Offers>,
}

impl Settings {
    /// For agents that run so often.
    pub fn new(run_interval: Duration) -> Self {
        let freshness = compliance::freshness(run_interval);
        Self { freshness, advisories: None, offers: Arc::default() }
    }

    /// With these advisories.
    pub fn with(self, advisories: Option<Arc<Current>>) -> Self {
        Self { advisories, ..self }
    }

    /// The start of the oldest run that counts at this instant, in Unix seconds.
    pub fn oldest_fresh(&self, at: DateTime<Utc>) -> i64 {
        at.timestamp().saturating_sub(self.freshness)
    }
}

/// The service.
pub struct Fleet {
    readers: Readers,
    settings: Arc<Settings>,
}

impl Fleet {
    /// Answers from this database.
    pub fn new(database: Database, settings: Settings) -> Self {
        Self { readers: Readers::new(database), settings: Arc::new(settings) }
    }

    async fn try_answer(&self, call: Call) -> Result<Response<Body>, Trouble> {
        let asked = Asked::read(&call.path, call.query.as_deref(), &call.headers)?;
        let reply = self.readers.ask(question(asked, &self.settings)?).await?;
        Ok(reply.into_response(&call, &self.readers))
    }
}

impl Service for Fleet {
    fn answer(&self, call: Call) -> BoxFuture<'_, Response<Body>> {
        async {
            let answer = self.try_answer(call).await;
            answer.unwrap_or_else(|trouble| Problem::from(trouble).into_response())
        }
        .boxed()
    }
}
