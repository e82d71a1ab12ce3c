// SPDX-License-Identifier: Apache-2.0
//! Old traces: what broke off, was refused or was claimed once says nothing about the present when a later run was
//! stored. Each check that finds something with a date asks here; so what has been overtaken is never an error, and
//! never comes before a real cause.

use chrono::{DateTime, Utc};

use super::{
    files::Seen,
    gather::Evidence,
    stored::{Run, Stored},
};
use crate::finding::{Finding, Level};

/// When a trace was left.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// By the run that began then, by the node's clock.
    Run(DateTime<Utc>),
    /// Then, by the clock of a server.
    Here(DateTime<Utc>),
}

impl When {
    /// By its name, or else by when it was last written.
    pub(super) fn of(file: &Seen) -> Option<Self> {
        file.start.map(Self::Run).or(file.modified.map(Self::Here))
    }
}

/// Whether a later run was stored. What has no date may be from now.
pub(super) fn is_overtaken(e: &Evidence<'_>, when: Option<When>) -> bool {
    when.zip(e.stored()).is_some_and(|(when, stored)| is_before_last(when, stored))
}

fn is_before_last(when: When, stored: &Stored) -> bool {
    stored.runs.first().is_some_and(|last| match when {
        When::Run(start) => start < last.start,
        When::Here(at) => at < came(last),
    })
}

/// When a run was stored, as far as that is known.
fn came(run: &Run) -> DateTime<Utc> {
    run.stored.unwrap_or(run.start)
}

/// The finding about a trace: only a warning when it has been overtaken.
pub(super) fn judged(e: &Evidence<'_>, when: Option<When>, finding: Finding) -> Finding {
    match is_overtaken(e, when) {
        true => Finding { text: format!("{}; later runs were stored", finding.text), ..finding }
            .at_most(Level::Warning),
        false => finding,
    }
}

/// The file to tell about: the first that has not been overtaken, if there is one.
pub(super) fn telling<'f>(
    e: &Evidence<'_>,
    files: impl Iterator<Item = &'f Seen> + Clone,
) -> Option<&'f Seen> {
    let open = files.clone().find(|file| !is_overtaken(e, When::of(file)));
    open.or_else(|| files.clone().next())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn only_what_is_older_than_the_last_run_is_overtaken() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let ago = |minutes| now - TimeDelta::minutes(minutes);
        // Its clock is an hour ahead; it came ten minutes ago.
        let run = Run { start: ago(-50), stored: Some(ago(10)) };
        let stored = |runs| Stored { node: None, runs, last_log: None, now };
        let last = stored(vec![run, Run { start: ago(5), stored: None }]);
        for (when, expected) in [
            (When::Run(ago(-49)), true),
            (When::Run(ago(-50)), false),
            (When::Here(ago(11)), true),
            (When::Here(ago(9)), false),
        ] {
            assert_eq!(is_before_last(when, &last), expected, "{when:?}");
            assert!(!is_before_last(when, &stored(Vec::new())), "no run overtakes anything: {when:?}");
        }
    }
}
