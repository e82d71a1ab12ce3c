// SPDX-License-Identifier: Apache-2.0
//! Does the node run, and does it send?

use chrono::{DateTime, TimeDelta, Utc};
use protocol::node_list::NextHop;

use super::{
    Verdict,
    gather::Evidence,
    stored::{Run, Stored},
};
use crate::{finding::Finding, spool::clock::short, status::date};

pub(super) const NAME: &str = "schedule";

/// How often agents run, when runs do not show it.
const INTERVAL: TimeDelta = TimeDelta::minutes(5);
/// A run counts for its interval and this (protocol 4.5).
const GRACE: TimeDelta = TimeDelta::minutes(5);

/// How old the last run of a node may be: how often it usually runs, and five minutes.
pub(super) fn tolerated(runs: &[Run]) -> TimeDelta {
    usual_interval(runs) + GRACE
}

/// The middle one of the times between its runs.
fn usual_interval(runs: &[Run]) -> TimeDelta {
    let mut gaps: Vec<_> = runs.windows(2).map(|pair| pair[0].start - pair[1].start).collect();
    gaps.retain(|gap| *gap > TimeDelta::zero());
    gaps.sort_unstable();
    // Two runs by hand say nothing.
    if gaps.len() < 3 { INTERVAL } else { gaps[gaps.len() / 2].max(INTERVAL) }
}

pub(super) fn verdict(e: &Evidence<'_>) -> Verdict {
    let Some(stored) = e.stored() else { return Verdict::Unknown };
    match stored.runs.first() {
        None => Verdict::Missing,
        Some(run) if is_fresh(run, stored, e.now) => Verdict::Fresh,
        Some(_) => Verdict::Stale,
    }
}

/// A run from the future, of a clock that is ahead, is as old as it has been here.
fn is_fresh(run: &Run, stored: &Stored, now: DateTime<Utc>) -> bool {
    let began = run.stored.map_or(run.start, |stored| stored.min(run.start));
    now - began <= tolerated(&stored.runs)
}

pub(super) fn check(e: &Evidence<'_>) -> Vec<Finding> {
    let Some(stored) = e.stored() else { return elsewhere(e).into_iter().collect() };
    let interval = short(usual_interval(&stored.runs).to_std().unwrap_or_default());
    let text = match stored.runs.first() {
        Some(run) if is_fresh(run, stored, e.now) => {
            let ago = short((e.now - run.start).to_std().unwrap_or_default());
            return vec![Finding::fine(
                NAME,
                format!("its last run began {ago} ago; it runs every {interval}"),
            )];
        }
        Some(run) => {
            let came = run.stored.map(|stored| format!(" and came at {}", date(stored))).unwrap_or_default();
            let began = date(run.start);
            format!(
                "its last run began at {began}{came}; it runs every {interval}, and nothing has come since"
            )
        }
        None => "no run of it was ever stored, and nothing of it is here".to_owned(),
    };
    vec![Finding::error(NAME, e.name(), with_contact(e, stored, text), remedy(e))]
}

/// A node that asks for things, and sends nothing, has another reason than one that is away.
fn with_contact(e: &Evidence<'_>, stored: &Stored, text: String) -> String {
    let heard = stored.node.as_ref().and_then(|node| node.node.last_contact);
    match heard {
        Some(heard) if e.now - heard <= tolerated(&stored.runs) => format!(
            "{text}; but it is there: last heard of at {}. Are its reports off, or are its policies the initial ones?",
            date(heard)
        ),
        Some(heard) => format!("{text}; last heard of at {}", date(heard)),
        None => text,
    }
}

fn remedy(e: &Evidence<'_>) -> String {
    let id = e.node.as_ref().map_or("NODE", |node| node.as_str());
    let on_node = "on the node: `agent status` says when it runs and what it could not send, `agent run` and `agent send` run and send now, \
                   `systemctl status relayd-agent` whether it is scheduled";
    let hop = e.list.as_ref().ok().zip(e.node.as_ref());
    match hop.map(|(list, node)| list.next_hop(node, &e.config.general.node_id)) {
        Some(Ok(NextHop::Relay(relay))) => {
            format!("first `relayd why id:{id}` on the relay {relay}, over which it comes; then {on_node}")
        }
        _ => on_node.to_owned(),
    }
}

/// A relay does not know which runs there were.
fn elsewhere(e: &Evidence<'_>) -> Option<Finding> {
    e.config.upstream.as_ref().filter(|_| e.stored.is_none()).map(|upstream| {
        let text = "which runs of it are stored is known on the root only";
        let remedy = format!("`relayd why {}` there; then on the node: `agent status`", e.asked);
        Finding::unknown(NAME, &upstream.host, text, remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_often_a_node_runs_is_seen_from_its_runs() {
        let runs = |minutes: &[i64]| -> Vec<Run> {
            let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
            minutes.iter().map(|ago| Run { start: start - TimeDelta::minutes(*ago), stored: None }).collect()
        };
        for (ago, expected) in [
            (&[][..], 5),
            (&[0, 60], 5),
            (&[0, 60, 120, 180, 240], 60),
            // One outage, and one run by hand, change nothing.
            (&[0, 1, 61, 121, 500, 560, 620], 60),
            (&[0, 1, 2, 3, 4], 5),
        ] {
            assert_eq!(usual_interval(&runs(ago)), TimeDelta::minutes(expected), "{ago:?}");
        }
    }
}
