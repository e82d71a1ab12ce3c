// SPDX-License-Identifier: Apache-2.0
//! Questions about the fleet, answered from run logs that were stored the usual way.

use std::collections::BTreeMap;

use crate::{
    asked::pages_follow_each_other,
    commands::commands_say_the_same,
    common::fleet::{Fleet, Rig},
    hours::{ALL, Hours, MINUTES, run_log, two_hours},
};
use chrono::{DateTime, Utc};
use relayd::{
    config::DatabaseUrl,
    db::Connection,
    fleet::{
        Page, Paging, Trouble, by_node, changes,
        counts::{Counts, Wanted},
        failing, node,
        nodes::{self, NodeStatus},
        parts::{self, By},
        run, runs,
        sets::ResultFilter,
        summary::NodeCounts,
        timeline::{self, Span},
    },
    spool::disposition::{Disposition, Outcome},
};

/// All questions, of the same two hours: making run logs takes longer than asking.
pub async fn questions_are_answered(url: DatabaseUrl) {
    let mut hours = two_hours(&url).await;
    the_fleet_is_summed_up(&mut hours);
    parts_add_up(&mut hours);
    any_instant_is_what_the_runs_until_then_say(&mut hours);
    what_is_wrong_comes_with_its_log_lines(&mut hours);
    what_changed_is_said_once(&mut hours);
    a_timeline_tells_each_change(&mut hours);
    runs_are_listed_and_shown(&mut hours);
    nodes_are_listed_and_shown(&mut hours);
    nothing_can_be_changed(&mut hours);
    commands_say_the_same(&url, &hours);
    pages_follow_each_other(&url).await;
    a_clock_that_was_ahead_does_not_stop_the_state(&url, &mut hours).await;
    what_was_wrong_is_known_when_its_runs_have_gone(&url, &mut hours);
}

/// Its run of next year came first; what it says with the right clock counts.
async fn a_clock_that_was_ahead_does_not_stop_the_state(url: &DatabaseUrl, hours: &mut Hours) {
    let rig = Rig::new(url.clone(), Fleet::new(2));
    let now = Utc::now().timestamp() - 5;
    for (start, is_wrong) in [(now + 366 * 86_400, false), (now, true)] {
        let date = DateTime::from_timestamp(start, 0).unwrap().format("%Y-%m-%dT%H:%M:%S+00:00");
        let packed = rig.fleet.pack("n1", &run_log("n1", start, is_wrong));
        let stored = rig.deliver_all(vec![rig.put(&format!("{date}@n1.log.gz"), &packed)]).await;
        assert_eq!(stored, [Disposition::Accepted(Outcome::Stored)]);
    }
    let summary = hours.summary(hours.now(), Some("n1"), &ResultFilter::default());
    assert_eq!(summary.nodes, NodeCounts { all: 1, failing: 1, ..NodeCounts::default() });
    let filter = nodes::Filter { status: Some(NodeStatus::Failing), ..nodes::Filter::default() };
    let failing = nodes::nodes(&mut hours.c, &hours.settings, &filter, &ALL).unwrap().items;
    let failing: Vec<_> = failing.iter().map(|node| (node.node_id.as_str(), node.last_run.clone())).collect();
    assert!(failing.contains(&("n1", Some(relayd::fleet::moment::show(now)))), "{failing:?}");
    let node = node::node(&mut hours.c, &hours.settings, "n1").unwrap();
    assert_eq!(node.node.config_id, node.runs[1].config_id, "that of the run that counts");
    assert!(node.node.config_id.is_some(), "{node:?}");
}

fn the_fleet_is_summed_up(hours: &mut Hours) {
    let all = ResultFilter::default();
    let now = hours.summary(hours.now(), None, &all);
    assert_eq!(now.nodes, NodeCounts { all: 3, compliant: 0, failing: 1, no_answer: 2 });
    assert_eq!(now.results, Counts { error: 1, audit_compliant: 1, no_answer: 2, ..Counts::default() });
    assert_eq!((now.compliance, now.freshness), (Some(25.0), 600));
    let early = hours.summary(hours.at(30), None, &all);
    assert_eq!(early.nodes, NodeCounts { all: 3, compliant: 2, failing: 0, no_answer: 1 });
    assert_eq!((early.compliance, early.at), (Some(100.0), hours.shown(30)));
    // Before anything ran.
    let none = hours.summary(hours.at(-1), None, &all);
    assert_eq!((none.nodes.no_answer, none.compliance), (3, None));
    // The whole and the sum over all that passes a filter are made in different ways.
    let everything = ResultFilter { component: Some("*".into()), ..all.clone() };
    for moment in [hours.now(), hours.at(30), hours.at(65), hours.at(90)] {
        let (whole, summed) = (hours.summary(moment, None, &all), hours.summary(moment, None, &everything));
        assert_eq!((whole.results, whole.compliance), (summed.results, summed.compliance));
        assert_eq!(whole.nodes.failing, summed.nodes.failing);
        assert_eq!(whole.nodes.no_answer, summed.nodes.no_answer + 1, "n2 has no results");
    }
    let files = ResultFilter { rule: Some("r1".into()), policy: Some("Files".into()), ..all.clone() };
    let files = hours.summary(hours.now(), Some("n0"), &files);
    assert_eq!(files.results, Counts { error: 1, ..Counts::default() });
    let nobody = ResultFilter { component: Some("F_le".into()), ..all };
    assert_eq!(hours.summary(hours.now(), None, &nobody).nodes, NodeCounts::default());
}

fn parts_add_up(hours: &mut Hours) {
    let mut ask = parts::Ask {
        moment: hours.now(),
        by: By::Rule,
        node: None,
        filter: ResultFilter::default(),
        wanted: None,
    };
    let rules = parts::parts(&mut hours.c, &ask, &ALL).unwrap().items;
    let seen: Vec<_> = rules.iter().map(|part| (part.rule_id.as_str(), part.nodes, part.results)).collect();
    let wrong = Counts { error: 1, no_answer: 1, ..Counts::default() };
    let right = Counts { audit_compliant: 1, no_answer: 1, ..Counts::default() };
    assert_eq!(seen, [("r1", 2, wrong), ("r2", 2, right)]);
    ask.wanted = Some(Wanted::Failing);
    let failing = parts::parts(&mut hours.c, &ask, &ALL).unwrap().items;
    assert_eq!(failing.iter().map(|part| part.rule_id.as_str()).collect::<Vec<_>>(), ["r1"]);
    ask = parts::Ask { by: By::Component, wanted: None, moment: hours.at(30), ..ask };
    let first = parts::parts(&mut hours.c, &ask, &Paging { after: None, limit: 1 }).unwrap();
    let second = parts::parts(&mut hours.c, &ask, &Paging { after: first.next.clone(), limit: 1 }).unwrap();
    assert_eq!((first.items.len(), second.items.len(), second.next), (1, 1, None));
    let file = &first.items[0];
    assert_eq!((file.component.as_deref(), file.directive_id.as_deref()), (Some("File"), Some("d-r1")));
    assert_eq!(file.results, Counts { success: 2, ..Counts::default() });
    ask.by = By::Directive;
    let refused = parts::parts(&mut hours.c, &ask, &Paging { after: first.next, limit: 1 });
    assert!(matches!(refused, Err(Trouble::Asked(_))), "a place in another list");
}

/// By definition, from when the runs were.
fn expected(minute: i64) -> BTreeMap<&'static str, NodeStatus> {
    let of = |last_run: i64, wrong_from: i64| {
        let last = (0..=last_run).step_by(5).take_while(|run| *run <= minute).last();
        match last {
            Some(last) if minute - last <= 10 && last >= wrong_from => NodeStatus::Failing,
            Some(last) if minute - last <= 10 => NodeStatus::Compliant,
            _ => NodeStatus::NoAnswer,
        }
    };
    BTreeMap::from([("n0", of(115, 60)), ("n1", of(60, 200)), ("n2", NodeStatus::NoAnswer)])
}

fn any_instant_is_what_the_runs_until_then_say(hours: &mut Hours) {
    for minute in -2..MINUTES {
        let ask = hours.ask(hours.at(minute));
        let nodes = by_node::nodes(&mut hours.c, &ask, &ALL).unwrap().items;
        let seen: BTreeMap<_, _> = nodes.iter().map(|node| (node.node_id.as_str(), node.status)).collect();
        assert_eq!(seen, expected(minute), "minute {minute}");
        // With a filter, sets are taken apart; nodes without such results are left out.
        let filter = ResultFilter { rule: Some("r1".into()), ..ResultFilter::default() };
        let filtered = by_node::Ask { filter, ..ask };
        for node in by_node::nodes(&mut hours.c, &filtered, &ALL).unwrap().items {
            assert_eq!((node.status, node.results.all()), (seen[node.node_id.as_str()], 1));
        }
    }
    let silent = by_node::Ask { wanted: Some(Wanted::NoAnswer), ..hours.ask(hours.now()) };
    let silent = by_node::nodes(&mut hours.c, &silent, &ALL).unwrap().items;
    assert_eq!(silent.iter().map(|node| node.node_id.as_str()).collect::<Vec<_>>(), ["n1", "n2"]);
}

fn what_is_wrong_comes_with_its_log_lines(hours: &mut Hours) {
    for (moment, run) in [(hours.now(), 115), (hours.at(93), 90)] {
        let ask = hours.ask(moment);
        let found = failing::failing(&mut hours.c, &ask, &ALL).unwrap().items;
        let [one] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((one.hostname.as_str(), one.status.as_str()), ("n0.example.org", "error"));
        assert_eq!((one.run.clone(), one.message.as_str()), (Some(hours.shown(run)), "it is wrong"));
        let logs: Vec<_> =
            one.logs.iter().map(|log| (log.event_type.as_str(), log.message.as_str())).collect();
        assert_eq!(logs, [("log_info", "looking at /etc/x"), ("log_warn", "cannot write\nno room left")]);
    }
    let right = by_node::Ask { wanted: "audit_compliant".parse().ok(), ..hours.ask(hours.at(30)) };
    let first = failing::failing(&mut hours.c, &right, &Paging { after: None, limit: 1 }).unwrap();
    assert_eq!((first.items.len(), first.next.as_deref()), (1, Some("\"n0\"")));
    let second = failing::failing(&mut hours.c, &right, &Paging { after: first.next, limit: 1 }).unwrap();
    assert_eq!((second.items[0].node_id.as_str(), second.next), ("n1", None));
    assert!(second.items[0].logs.is_empty());
}

/// As after retention, which keeps the history for longer than the runs: those from minute 30 on have gone.
fn what_was_wrong_is_known_when_its_runs_have_gone(url: &DatabaseUrl, hours: &mut Hours) {
    let ask = hours.ask(hours.at(93));
    let with_run = failing::failing(&mut hours.c, &ask, &ALL).unwrap().items;
    let mut writer = Connection::open(url).unwrap();
    let from = writer.timestamp(&hours.unix(30).to_string());
    for (table, date) in [("ruddersysevents", "executiontimestamp"), ("reportsexecution", "date")] {
        writer.execute(&format!("DELETE FROM {table} WHERE {date} >= {from}")).unwrap();
    }
    let found = failing::failing(&mut hours.c, &ask, &ALL).unwrap().items;
    let without = failing::Found { run: None, message: String::new(), logs: vec![], ..with_run[0].clone() };
    assert_eq!((with_run.len(), found), (1, vec![without]));
    let files = ResultFilter { component: Some("Pack*".into()), ..ResultFilter::default() };
    let right = by_node::Ask { filter: files, wanted: "audit_compliant".parse().ok(), ..ask };
    let found = failing::failing(&mut hours.c, &right, &ALL).unwrap().items;
    let seen: Vec<_> = found.iter().map(|one| (one.node_id.as_str(), one.component.as_str())).collect();
    assert_eq!(seen, [("n0", "Package")]);
}

fn what_changed_is_said_once(hours: &mut Hours) {
    let mut ask =
        changes::Ask { from: hours.at(30), to: hours.now(), node: None, filter: ResultFilter::default() };
    let found = changes::by_node(&mut hours.c, &ask, &ALL).unwrap().items;
    let seen: Vec<_> = found
        .iter()
        .map(|one| {
            let step = one.result.as_ref().map(|one| (one.was.as_deref(), one.is.as_deref()));
            (one.node_id.as_str(), one.kind.as_str(), one.since.clone(), step)
        })
        .collect();
    let step = (Some("success"), Some("error"));
    let expected = [
        ("n0", "result", Some(hours.shown(60)), Some(step)),
        ("n1", "went_silent", Some(hours.shown(60)), None),
    ];
    assert_eq!(seen, expected);
    let same = changes::by_component(&mut hours.c, &ask, &ALL).unwrap().items;
    assert_eq!((same.len(), same[0].nodes, same[0].result.component.as_str()), (1, 1, "File"));
    assert_eq!(same[0].among, ["n0.example.org"]);
    // From nothing to something: every result is new.
    ask = changes::Ask { from: hours.at(-1), to: hours.at(30), ..ask };
    let found = changes::by_node(&mut hours.c, &ask, &ALL).unwrap().items;
    assert_eq!(found.iter().filter(|one| one.kind.as_str() == "new").count(), 2);
    let new = found.iter().filter_map(|one| one.result.as_ref()).filter(|one| one.was.is_none());
    assert_eq!(new.count(), 4);
    ask = changes::Ask { from: hours.at(61), to: hours.at(64), ..ask };
    assert!(changes::by_node(&mut hours.c, &ask, &ALL).unwrap().items.is_empty());
}

fn a_timeline_tells_each_change(hours: &mut Hours) {
    let now = Utc::now().timestamp();
    let settings = hours.settings.clone();
    let of = |c: &mut Connection, node: &str, span: Span, paging: &Paging| {
        timeline::timeline(c, &settings, now, node, span, paging).unwrap()
    };
    let all = of(&mut hours.c, "n0", Span::default(), &ALL).items;
    let [new, old] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((new.since.clone(), new.last.clone()), (hours.shown(60), hours.shown(115)));
    assert_eq!((old.since.clone(), old.last.clone()), (hours.shown(0), hours.shown(55)));
    assert_eq!((new.silent_from.clone(), old.silent_from.clone()), (None, None));
    assert_eq!((new.changes.len(), old.changes.len()), (1, 0));
    assert_eq!((new.compliance, old.compliance), (Some(50.0), Some(100.0)));
    let first = of(&mut hours.c, "n0", Span::default(), &Paging { after: None, limit: 1 });
    assert_eq!((&first.items[0], first.items.len()), (new, 1));
    let second = of(&mut hours.c, "n0", Span::default(), &Paging { after: first.next, limit: 1 });
    assert_eq!((&second.items[0], second.next), (old, None));
    let early = Span { from: None, to: Some(hours.unix(30)) };
    assert_eq!(of(&mut hours.c, "n0", early, &ALL).items, std::slice::from_ref(old));
    let silent = of(&mut hours.c, "n1", Span::default(), &ALL).items;
    assert_eq!(silent[0].silent_from, Some(hours.shown(70)));
    assert!(of(&mut hours.c, "n2", Span::default(), &ALL).items.is_empty());
}

fn runs_are_listed_and_shown(hours: &mut Hours) {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let Page { items, next } =
            runs::runs(&mut hours.c, &runs::Filter::default(), &Paging { after, limit: 7 }).unwrap();
        all.extend(items);
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all.len(), 24 + 13);
    let keys: Vec<_> = all.iter().map(|run| (std::cmp::Reverse(&run.start), &run.node_id)).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "newest first, each once: {keys:?}");
    for run in &all {
        let is_wrong = run.node_id == "n0" && run.start >= hours.shown(60);
        assert_eq!(run.compliance, Some(if is_wrong { 50.0 } else { 100.0 }), "{run:?}");
    }
    let some = runs::Filter {
        node: Some("n1".into()),
        from: Some(hours.unix(10)),
        to: Some(hours.unix(30)),
        config_id: None,
    };
    assert_eq!(runs::runs(&mut hours.c, &some, &ALL).unwrap().items.len(), 4);

    let start = run::last_start(&mut hours.c, "n0").unwrap();
    assert_eq!(start, hours.unix(115));
    let whole = run::run(&mut hours.c, "n0", start, &ALL).unwrap();
    assert!(whole.complete && whole.next.is_none());
    let kinds: Vec<_> = whole.reports.iter().map(|one| (one.event_type.as_str(), one.logs.len())).collect();
    let expected = [("control", 0), ("result_error", 2), ("audit_compliant", 0), ("control", 0)];
    assert_eq!(kinds, expected);
    // Log lines are not torn from their report.
    let part = run::run(&mut hours.c, "n0", start, &Paging { after: None, limit: 3 }).unwrap();
    assert_eq!(part.reports, whole.reports[..1]);
    let rest = run::run(&mut hours.c, "n0", start, &Paging { after: part.next, limit: 100 }).unwrap();
    assert_eq!(rest.reports, whole.reports[1..]);
    let (text, _) = run::text(&mut hours.c, "n0", start, &ALL).unwrap();
    let log = run_log("n0", start, true);
    let parsed = protocol::run_log::parse(&log, &"n0".parse().unwrap()).unwrap();
    assert_eq!(text, parsed.to_string());
    assert!(matches!(run::run(&mut hours.c, "n0", start + 1, &ALL), Err(Trouble::Missing(_))));
}

fn nodes_are_listed_and_shown(hours: &mut Hours) {
    let mut list = |filter: nodes::Filter| {
        let nodes = nodes::nodes(&mut hours.c, &hours.settings, &filter, &ALL).unwrap().items;
        nodes.into_iter().map(|node| node.node_id).collect::<Vec<_>>()
    };
    let of = |status| nodes::Filter { status: Some(status), ..nodes::Filter::default() };
    assert_eq!(list(nodes::Filter::default()), ["n0", "n1", "n2", "n3"]);
    assert_eq!(list(of(NodeStatus::Failing)), ["n0"]);
    assert_eq!(list(of(NodeStatus::NoAnswer)), ["n1", "n2", "n3"]);
    assert!(list(of(NodeStatus::Compliant)).is_empty());
    let named = |name: &str| nodes::Filter { name: Some(name.into()), ..nodes::Filter::default() };
    assert_eq!(list(named("N?.EXAMPLE.org")).len(), 4);
    assert!(list(named("n_.example.org")).is_empty(), "wild cards of SQL are none here");
    let answer = node::node(&mut hours.c, &hours.settings, "n0").unwrap();
    assert_eq!((answer.node.status, answer.rules.len(), answer.runs.len()), (NodeStatus::Failing, 2, 10));
    assert!(matches!(node::node(&mut hours.c, &hours.settings, "n9"), Err(Trouble::Missing(_))));
}

fn nothing_can_be_changed(hours: &mut Hours) {
    for sql in ["DELETE FROM node", "CREATE TABLE new_one (a bigint)"] {
        assert!(hours.c.run(sql, &[]).is_err(), "{sql}");
        assert!(hours.c.snapshot(|c| c.run(sql, &[])).is_err(), "{sql}");
    }
}
