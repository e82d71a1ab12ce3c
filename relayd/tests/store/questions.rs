// SPDX-License-Identifier: Apache-2.0
//! Questions about the fleet, answered from run logs that were stored the usual way.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use http_body_util::{BodyExt, Empty};
use hyper::{HeaderMap, Method, StatusCode, header};
use relayd::{
    config::DatabaseUrl,
    db::{Connection, Database},
    fleet::{
        Fleet as Service, Page, Paging, Settings, Trouble, by_node, changes,
        counts::{Counts, Wanted},
        failing, for_reading, node,
        nodes::{self, NodeStatus},
        parts::{self, By},
        run, runs,
        sets::ResultFilter,
        state::Moment,
        summary::{self, NodeCounts, Summary},
        timeline::{self, Span},
    },
    http::{Call, Caller, Service as _},
    spool::disposition::{Disposition, Outcome},
};
use tokio_util::sync::CancellationToken;

use crate::common::fleet::{Fleet, Rig, config_of};

/// Two hours, of which the last minute is now.
struct Hours {
    begin: i64,
    settings: Settings,
    c: Connection,
}

const MINUTES: i64 = 120;
const ALL: Paging = Paging { after: None, limit: 10_000 };

impl Hours {
    fn unix(&self, minute: i64) -> i64 {
        self.begin + minute * 60
    }

    fn at(&self, minute: i64) -> Moment {
        let at = DateTime::from_timestamp(self.unix(minute), 0).unwrap();
        Moment::of(&self.settings, Some(at)).unwrap()
    }

    fn now(&self) -> Moment {
        Moment::now(&self.settings)
    }

    fn shown(&self, minute: i64) -> String {
        relayd::fleet::moment::show(self.unix(minute))
    }

    fn summary(&mut self, moment: Moment, node: Option<&str>, filter: &ResultFilter) -> Summary {
        summary::summary(&mut self.c, &self.settings, &moment, node, filter).unwrap()
    }

    fn ask(&self, moment: Moment) -> by_node::Ask {
        by_node::Ask { moment, node: None, filter: ResultFilter::default(), wanted: None }
    }
}

/// The run of a node in a minute: is its file wrong?
fn run_log(node: &str, start: i64, is_wrong: bool) -> String {
    let at = DateTime::from_timestamp(start, 0).unwrap();
    let (time, start) = (at.format("%Y-%m-%dT%H:%M:%S+00:00"), at.format("%Y-%m-%d %H:%M:%S+00:00"));
    let report = |policy: &str, kind: &str, rule: &str, component: &str, message: &str| {
        format!(
            "{time} R: @@{policy}@@{kind}@@{rule}@@d-{rule}@@0@@{component}@@/etc/x@@{start}##{node}@#{message}\n"
        )
    };
    let mut text = report("Common", "control", "rudder", "start", "Start execution");
    if is_wrong {
        text += &format!("{time}     info: looking at /etc/x\n{time}  warning: cannot write\nno room left\n");
        text += &report("Files", "result_error", "r1", "File", "it is wrong");
    } else {
        text += &report("Files", "result_success", "r1", "File", "it is right");
    }
    text += &report("Packages", "audit_compliant", "r2", "Package", "it is there");
    text + &report("Common", "control", "rudder", "end", "End execution")
}

/// `n0` runs each 5 minutes and is wrong from minute 60 on; `n1` is right and stops after minute 60; `n2` never
/// ran; `n3` is not accepted.
async fn two_hours(url: &DatabaseUrl) -> Hours {
    let rig = Rig::new(url.clone(), Fleet::new(2));
    let begin = Utc::now().timestamp() - MINUTES * 60;
    let mut files = Vec::new();
    for (node, last, wrong_from) in [("n0", 115, 60), ("n1", 60, 200)] {
        for minute in (0..=last).step_by(5) {
            let start = begin + minute * 60;
            let date = DateTime::from_timestamp(start, 0).unwrap().format("%Y-%m-%dT%H:%M:%S+00:00");
            let text = run_log(node, start, minute >= wrong_from);
            files.push(rig.put(&format!("{date}@{node}.log.gz"), &rig.fleet.pack(node, &text)));
        }
    }
    for disposition in rig.deliver_all(files).await {
        assert_eq!(disposition, Disposition::Accepted(Outcome::Stored));
    }
    let mut c = Connection::open(url).unwrap();
    for (node, state) in [("n0", "accepted"), ("n1", "accepted"), ("n2", "accepted"), ("n3", "pending")] {
        c.execute(&format!(
            "INSERT INTO node (nodeid, hostname, state, role, policy_server, requested, version) \
             VALUES ('{node}', '{node}.example.org', '{state}', 'node', 'root', 0, 1)"
        ))
        .unwrap();
    }
    let settings = Settings::new(Duration::from_secs(300));
    Hours { begin, settings, c: for_reading(c).unwrap() }
}

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
        assert_eq!((one.run.as_str(), one.message.as_str()), (&*hours.shown(run), "it is wrong"));
        let logs: Vec<_> =
            one.logs.iter().map(|log| (log.event_type.as_str(), log.message.as_str())).collect();
        assert_eq!(logs, [("log_info", "looking at /etc/x"), ("log_warn", "cannot write\nno room left")]);
    }
    let right = by_node::Ask { wanted: "audit_compliant".parse().ok(), ..hours.ask(hours.at(30)) };
    let first = failing::failing(&mut hours.c, &right, &Paging { after: None, limit: 1 }).unwrap();
    assert_eq!((first.items.len(), first.next.as_deref()), (1, Some("n0")));
    let second = failing::failing(&mut hours.c, &right, &Paging { after: first.next, limit: 1 }).unwrap();
    assert_eq!((second.items[0].node_id.as_str(), second.next), ("n1", None));
    assert!(second.items[0].logs.is_empty());
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
    let same = changes::by_component(&mut hours.c, &ask, 10).unwrap().items;
    assert_eq!((same.len(), same[0].nodes, same[0].result.component.as_str()), (1, 1, "File"));
    assert_eq!(same[0].among, ["n0.example.org"]);
    // From nothing to something: every result is new.
    ask = changes::Ask { from: hours.at(-1), to: hours.at(30), ..ask };
    let found = changes::by_node(&mut hours.c, &ask, &ALL).unwrap().items;
    assert_eq!(found.iter().filter(|one| one.kind.as_str() == "came_back").count(), 2);
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

    let start = run::last_start(&mut hours.c, "n0").unwrap().unwrap();
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
    assert!(matches!(run::run(&mut hours.c, "n0", start + 1, &ALL), Err(Trouble::Nothing)));
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
    assert!(matches!(node::node(&mut hours.c, &hours.settings, "n9"), Err(Trouble::Nothing)));
}

fn nothing_can_be_changed(hours: &mut Hours) {
    for sql in ["DELETE FROM node", "CREATE TABLE new_one (a bigint)"] {
        assert!(hours.c.run(sql, &[]).is_err(), "{sql}");
        assert!(hours.c.snapshot(|c| c.run(sql, &[])).is_err(), "{sql}");
    }
}

async fn get(service: &Service, path: &str, query: &str) -> (StatusCode, HeaderMap, String) {
    let call = Call {
        caller: Caller::Operator,
        method: Method::GET,
        path: path.to_owned(),
        rest: String::new(),
        query: Some(query.to_owned()),
        headers: HeaderMap::new(),
        body: Empty::new().map_err(|never| match never {}).boxed(),
        stop: CancellationToken::new(),
    };
    let (head, body) = service.answer(call).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

async fn pages_follow_each_other(url: &DatabaseUrl) {
    let database = Database::open(&config_of(url.clone())).unwrap();
    let service = Service::new(database, Settings::new(Duration::from_secs(300)));
    let (mut link, mut seen) = (Some("/rudder/relay-api/1/nodes?limit=1&name=n*".to_owned()), Vec::new());
    while let Some(next) = link {
        let (path, query) = next.split_once('?').unwrap();
        let (status, headers, body) = get(&service, path, query).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let json: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&json["result"], &json["action"]), (&"success".into(), &"getNodes".into()));
        seen.extend(json["data"]["items"].as_array().unwrap().iter().map(|node| node["node_id"].clone()));
        let next = headers.get(header::LINK).map(|link| link.to_str().unwrap());
        link = next.map(|link| link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned());
    }
    assert_eq!(seen, ["n0", "n1", "n2", "n3"]);
    let compliance = "/rudder/relay-api/1/compliance";
    let (_, headers, table) = get(&service, compliance, "by=node&status=failing&format=csv").await;
    assert_eq!(headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    let lines: Vec<_> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("node_id,") && lines[1].starts_with("n0,"), "{table}");
    for (path, query) in [
        (compliance, "by=nobody"),
        (compliance, "status=failing"),
        (compliance, "at=tomorrow"),
        (compliance, "at=2999-01-01"),
        (compliance, "by=rule&limit=0"),
        (compliance, "by=rule&by=rule"),
        (compliance, "by=rule&status=wrong"),
        (compliance, "format=csv"),
        (compliance, "format=xml"),
        ("/rudder/relay-api/1/changes", ""),
        ("/rudder/relay-api/1/changes", "from=1h&to=2h"),
        ("/rudder/relay-api/1/runs", "after=x"),
    ] {
        let (status, _, text) = get(&service, path, query).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}?{query}: {text}");
    }
    let (status, _, _) = get(&service, "/rudder/relay-api/1/nodes/%ff", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

/// The program itself, whether the daemon runs or not.
fn commands_say_the_same(url: &DatabaseUrl, hours: &Hours) {
    let directory = tempfile::tempdir().unwrap();
    let url = match url {
        DatabaseUrl::Postgres(url) => url.clone(),
        DatabaseUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
    };
    let main = format!(
        "[general]\nnode_id = \"root\"\n[processing.reporting]\noutput = \"database\"\n\
         [output.database]\nurl = \"{url}\"\n"
    );
    std::fs::write(directory.path().join("main.conf"), main).unwrap();
    let run = |arguments: &[&str]| {
        let mut relayd = std::process::Command::new(env!("CARGO_BIN_EXE_relayd"));
        let output = relayd.arg("-c").arg(directory.path()).args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let said = |arguments: &[&str]| {
        let (code, out, err) = run(arguments);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    };
    let summary = said(&["compliance"]);
    assert!(summary.contains("nodes       3: 0 compliant, 1 failing, 2 without answer\n"), "{summary}");
    assert!(summary.contains("results     4: 1 error, 1 audit_compliant, 2 no_answer\n"), "{summary}");
    let json: serde_json::Value =
        serde_json::from_str(&said(&["compliance", "--at", "90m", "--json"])).unwrap();
    assert_eq!((&json["compliance"], &json["nodes"]["compliant"]), (&100.0.into(), &2.into()));
    let failing = said(&["compliance", "failing", "--node", "N0.example.org"]);
    let lines: Vec<_> = failing.lines().map(str::trim).collect();
    let expected =
        ["log_info: looking at /etc/x", "log_warn: cannot write", "log_warn: no room left", "it is wrong"];
    assert!(lines[0].starts_with("NODE") && lines[1].starts_with("n0.example.org  error"), "{failing}");
    assert_eq!(lines[2..], expected, "{failing}");
    let rules = said(&["compliance", "--by", "rule", "--csv", "--status", "failing"]);
    assert_eq!(rules.lines().nth(1), Some("r1,,,,2,0.00,0,0,1,0,0,0,0,0,1"), "{rules}");
    let changes = said(&["compliance", "changes", "--from", "90m", "--by", "component"]);
    assert!(changes.contains("success → error  r1"), "{changes}");
    let timeline = said(&["compliance", "timeline", "n0.example.org"]);
    assert_eq!(timeline.lines().count(), 4, "{timeline}");
    let nodes = said(&["nodes", "--status", "no_answer"]);
    assert!(nodes.ends_with("2 nodes\n") && nodes.contains("n1.example.org"), "{nodes}");
    assert!(said(&["nodes", "show", "n0"]).contains("status       failing, 50.00 %\n"));
    let runs = said(&["runs", "--node", "n1", "--limit", "5"]);
    assert!(runs.lines().count() == 7 && runs.ends_with("… and more; see --limit\n"), "{runs}");
    let text = said(&["runs", "show", "n0", &hours.shown(0), "--text"]);
    assert!(text.lines().count() == 4 && text.starts_with("R: @@Common@@control@@"), "{text}");
    assert!(said(&["runs", "show", "n0"]).contains("    log_warn: no room left\n    it is wrong\n"));
    assert!(said(&["compliance", "rebuild"]).starts_with("built from 37 runs of 2 nodes"));
    assert_eq!(said(&["compliance", "timeline", "n0.example.org"]), timeline);
    for (code, arguments) in [
        (4, &["nodes", "show", "nobody"][..]),
        (4, &["runs", "show", "n2"]),
        (2, &["compliance", "--status", "failing"]),
        (2, &["compliance", "--at", "tomorrow"]),
        (2, &["compliance", "--csv"]),
        (2, &["compliance", "changes"]),
    ] {
        let (seen, out, err) = run(arguments);
        assert!(seen == code && out.is_empty() && !err.is_empty(), "{arguments:?}: {seen} {out} {err}");
    }
}
