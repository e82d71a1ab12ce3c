// SPDX-License-Identifier: Apache-2.0
//! A parsed run log that travels with its text: nothing is copied between parser and database.

use protocol::{
    node_id::NodeId,
    run_log::{self, Report, RunLog, RunLogError},
};

self_cell::self_cell!(
    /// A run log and the text it borrows from.
    pub(super) struct Parsed {
        owner: String,
        #[covariant]
        dependent: RunLog,
    }
);

impl Parsed {
    /// Parses, and leaves out the reports of the given event types.
    pub(super) fn parse(
        text: String,
        node: &NodeId,
        skip_event_types: &[String],
    ) -> Result<Self, RunLogError> {
        Self::try_new(text, |text| {
            let mut log = run_log::parse(text, node)?;
            log.reports.retain(|report| skip_event_types.iter().all(|skip| skip != report.event_type));
            Ok(log)
        })
    }

    /// The run log.
    pub(super) fn log(&self) -> &RunLog<'_> {
        self.borrow_dependent()
    }

    /// About how many bytes of memory it holds.
    pub(super) fn weight(&self) -> usize {
        self.borrow_owner().capacity() + self.log().reports.capacity() * size_of::<Report<'_>>()
    }
}
