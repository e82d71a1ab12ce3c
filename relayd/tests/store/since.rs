// SPDX-License-Identifier: Apache-2.0
//! Since when something is as it is.

use std::time::Duration;

use chrono::{DateTime, Utc};
use relayd::{
    config::DatabaseUrl,
    db::Connection,
    fleet::{Settings, changes, moment::show, sets::ResultFilter, state::Moment},
    spool::disposition::{Disposition, Outcome},
};

use crate::{
    common::fleet::{Fleet, Rig},
    hours::{ALL, add_node, run_log},
};

/// From the first run until now.
const MINUTES: i64 = 500;

/// Nodes, and in which minutes they ran: what was the file, was the package there?
fn runs() -> Vec<(&'static str, i64, bool, bool)> {
    let mut runs = Vec::new();
    for minute in (0..=495).step_by(5) {
        // Its file is wrong for a while, right again, and wrong from minute 60 on. Its package comes and goes:
        // there are more segments than are read in one go.
        let is_wrong = (20..40).contains(&minute) || minute >= 60;
        runs.push(("n0", minute, is_wrong, (minute / 5) % 2 == 0));
    }
    // Silent from minute 30 to 400; its package is gone since minute 450.
    runs.extend((0..=30).step_by(5).map(|minute| ("n1", minute, false, true)));
    runs.extend((400..=495).step_by(5).map(|minute| ("n1", minute, false, minute < 450)));
    // New, and with another result since.
    runs.extend((470..=495).step_by(5).map(|minute| ("n2", minute, minute >= 490, true)));
    runs
}

pub async fn a_change_is_dated_by_the_run_that_brought_it(url: DatabaseUrl) {
    let rig = Rig::new(url.clone(), Fleet::new(3));
    let begin = Utc::now().timestamp() - MINUTES * 60;
    let files = runs().into_iter().map(|(node, minute, is_wrong, is_there)| {
        let start = begin + minute * 60;
        let date = DateTime::from_timestamp(start, 0).unwrap().format("%Y-%m-%dT%H:%M:%S+00:00");
        let mut text = run_log(node, start, is_wrong);
        if !is_there {
            text = text.replace("audit_compliant", "audit_noncompliant");
        }
        rig.put(&format!("{date}@{node}.log.gz"), &rig.fleet.pack(node, &text))
    });
    for disposition in rig.deliver_all(files.collect()).await {
        assert_eq!(disposition, Disposition::Accepted(Outcome::Stored));
    }
    let mut c = Connection::open(&url).unwrap();
    ["n0", "n1", "n2"].iter().for_each(|node| add_node(&mut c, node, "accepted"));
    let settings = Settings::new(Duration::from_secs(300));
    let at = |minute: i64| {
        let at = DateTime::from_timestamp(begin + minute * 60, 0);
        Moment::of(&settings, at).unwrap()
    };
    let mut said = |from: Moment, to: Moment| {
        let ask = changes::Ask { from, to, node: None, filter: ResultFilter::default() };
        let found = changes::by_node(&mut c, &ask, &ALL).unwrap().items;
        let said = found.into_iter().map(|one| {
            let component = one.result.map_or_else(String::new, |result| result.component);
            (one.node_id, one.kind.as_str(), component, one.since)
        });
        said.collect::<Vec<_>>()
    };
    let one = |node: &str, kind: &'static str, component: &str, minute: i64| {
        (node.to_owned(), kind, component.to_owned(), Some(show(begin + minute * 60)))
    };
    let since_55 = [
        one("n0", "result", "File", 60),
        one("n1", "came_back", "", 400),
        one("n1", "result", "Package", 450),
        one("n2", "new", "", 470),
        one("n2", "result", "File", 490),
        one("n2", "result", "Package", 470),
    ];
    let now = Moment::now(&settings);
    assert_eq!(said(at(56), now), since_55);
    assert_eq!(said(at(56), at(499)), since_55);
    // What changed and changed back does not make it older, and what comes later does not make it newer.
    assert_eq!(said(at(11), at(71))[0], one("n0", "result", "File", 60));
    assert_eq!(said(at(24), at(91)), [one("n1", "went_silent", "", 30)]);
    assert_eq!(said(at(11), at(21))[0], one("n0", "result", "File", 20));
}
