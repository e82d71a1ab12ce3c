// SPDX-License-Identifier: Apache-2.0
//! Is the database reached, does it take run logs, and did it take one without a run?

use super::gather::Evidence;
use crate::{
    config::RunLogOutput,
    db,
    finding::{Finding, split},
    spool::disposition::printable,
    status::date,
};

pub(super) const NAME: &str = "database";

pub(super) fn check(e: &Evidence<'_>) -> Vec<Finding> {
    let place = db::place(&e.config.database.url);
    let mut found = Vec::new();
    match &e.stored {
        None => return Vec::new(),
        Some(Err(trouble)) => {
            let late =
                "see what it does: is it locked, overloaded, or not reached? --wait gives it more time";
            found.push(trouble.finding(NAME, &place, late));
        }
        Some(Ok(_)) => {}
    }
    let stores = e.config.run_logs.output == RunLogOutput::Database;
    if let (true, Some(details)) = (stores, e.outlet_down()) {
        let (cause, remedy) = split(&details, "see what the database says of it; files wait meanwhile");
        found.push(Finding::error(NAME, &place, format!("it takes nothing: {cause}"), remedy));
    }
    found.extend(partial(e, &place));
    found
}

/// A run log without the report of its start is stored, and makes no run.
fn partial(e: &Evidence<'_>, place: &str) -> Option<Finding> {
    let stored = e.stored()?;
    let log = stored.last_log.as_ref()?;
    let is_newer = stored.runs.iter().all(|run| run.start != log.start && run.start < log.start);
    is_newer.then(|| {
        let text = format!(
            "the run log of {} was stored ({}), but has no start and end: no run is recorded for it",
            date(log.start),
            printable(&log.file)
        );
        let remedy =
            "on the node, see why its run logs are incomplete: is the agent killed, or its disk full?";
        Finding::error(NAME, place, text, remedy)
    })
}
