// SPDX-License-Identifier: Apache-2.0
//! Do the clocks of this server, of those around it, and of the node agree?

use chrono::{DateTime, Utc};

use super::{files::Seen, gather::Evidence, schedule};
use crate::{
    finding::{Finding, TOLERATED_BETWEEN_CLOCKS as TOLERATED},
    status::date,
};

pub(super) const NAME: &str = "clock";

pub(super) fn check(e: &Evidence<'_>) -> Vec<Finding> {
    here(e).into_iter().chain(of_node(e)).collect()
}

/// The clock of this server, by those of the others.
fn here(e: &Evidence<'_>) -> Option<Finding> {
    let upstream = e.config.upstream.as_ref();
    let above = e.uplink.as_ref().and_then(|uplink| uplink.as_ref().ok().copied().flatten());
    let database = e.stored().map(|stored| (stored.now, "its database".to_owned()));
    let above = above.zip(upstream.map(|upstream| upstream.host.clone()));
    let (other, name) = database.into_iter().chain(above).find(|(other, _)| is_apart(*other, e.now))?;
    let text = format!("this server has {}, {name} has {}", date(e.now), date(other));
    let remedy = "set the wrong one right, and keep it so: `timedatectl set-ntp true`";
    Some(Finding::error(NAME, "this server", text, remedy))
}

/// The clock of the node, by what it wrote and when that came.
fn of_node(e: &Evidence<'_>) -> Option<Finding> {
    let remedy = "set it right there, and keep it so: `timedatectl set-ntp true`";
    let run = e.stored().and_then(|stored| stored.runs.first());
    let came = run.and_then(|run| run.stored.map(|stored| (run.start, stored)));
    // Nothing comes before it was written.
    let mut dates = came
        .into_iter()
        .chain(e.files.waiting.iter().filter_map(dates))
        .chain(e.files.failed.iter().filter_map(|failed| dates(&failed.file)));
    if let Some((start, came)) = dates.find(|(start, came)| *start - *came > TOLERATED) {
        let text = format!("its clock is ahead: a run log that came at {} says {}", date(came), date(start));
        return Some(Finding::error(NAME, e.name(), text, remedy));
    }
    // Old ones come late after an outage; when all of the last came late, the clock is behind.
    let runs = &e.stored()?.runs;
    let behind = |run: &super::stored::Run| run.stored.is_some_and(|stored| stored - run.start > TOLERATED);
    let newest = runs.first()?;
    let is_new = newest.stored.is_some_and(|stored| e.now - stored <= schedule::tolerated(runs));
    if is_new && runs.len() > 1 && runs.iter().take(3).all(behind) {
        let text = format!(
            "its clock is behind, or its run logs come late: the last one, stored at {}, says {}",
            newest.stored.map(date).unwrap_or_default(),
            date(newest.start)
        );
        return Some(Finding::error(NAME, e.name(), text, remedy));
    }
    None
}

fn dates(file: &Seen) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    file.start.zip(file.modified)
}

fn is_apart(one: DateTime<Utc>, other: DateTime<Utc>) -> bool {
    (one - other).abs() > TOLERATED
}
