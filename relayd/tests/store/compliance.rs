// SPDX-License-Identifier: Apache-2.0
//! The state of nodes over time is what a recomputation gives, in whatever order run logs come, however
//! often, and through however many writers.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    time::{Duration, Instant},
};

use diesel::sql_types::{BigInt, Nullable, Text};
use relayd::{
    compliance::{
        Compliance,
        collect::{Collected, collect},
        rebuild::{is_due, rebuild_alone, start_over},
        upkeep::Upkeep,
    },
    config::DatabaseUrl,
    db::{Connection, Database, query::Value},
    spool::disposition::Disposition,
};
use tokio_util::sync::CancellationToken;

use crate::common::fleet::{Fleet, Rig, config_of, line, number, start_of};

/// The counted results of a run: component and event type, in order.
type Results = Vec<(String, String)>;

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// What a node did: by minute of the day, its results; `None` for what was no complete run.
type Runs = BTreeMap<usize, Option<Results>>;

fn random_runs(random: &mut Random) -> Runs {
    let mut minute = 0;
    let mut runs = Runs::new();
    while runs.len() < 30 {
        // Mostly fresh, sometimes just so, sometimes a gap.
        minute += [5, 5, 5, 5, 5, 1, 4, 10, 11, 30][random.below(10)];
        let results = [
            vec![("File", "result_success"), ("Package", "audit_compliant")],
            vec![("File", "result_repaired"), ("Package", "audit_compliant")],
            vec![("File", "result_success"), ("File", "result_success")],
            vec![],
        ];
        let results = &results[[0, 0, 0, 1, 1, 2, 3][random.below(7)]];
        let results = results.iter().map(|(component, event)| ((*component).into(), (*event).into()));
        runs.insert(minute, (random.below(10) > 0).then(|| results.collect()));
    }
    runs
}

fn text(node: &str, minute: usize, run: Option<&Results>, random: &mut Random) -> String {
    let mut lines: Vec<String> = run
        .into_iter()
        .flatten()
        .flat_map(|(component, event)| {
            let message = format!("message {}", random.below(1000));
            [
                line(node, minute, "log_info", component, &message),
                line(node, minute, event, component, &message),
            ]
        })
        .collect();
    match run {
        Some(_) => lines.insert(0, line(node, minute, "control", "start", "Start execution")),
        None => lines.push(line(node, minute, "result_error", "Partial", "an inventory alone")),
    }
    lines.concat()
}

/// A segment: its first and last minute, and its results.
type Segment = (i64, i64, Results);

fn unix(minute: usize) -> i64 {
    start_of(minute).parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp()
}

/// By definition: fresh is ten minutes.
fn recomputed(runs: &Runs) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    for (minute, results) in runs.iter().filter_map(|(minute, results)| Some((*minute, results.as_ref()?))) {
        let start = unix(minute);
        let mut results = results.clone();
        results.sort();
        match segments.last_mut() {
            Some(open) if open.2 == results && start - open.1 <= 600 => open.1 = start,
            _ => segments.push((start, start, results)),
        }
    }
    segments
}

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = Text)]
    results: String,
    #[diesel(sql_type = BigInt)]
    counted: i64,
    #[diesel(sql_type = BigInt)]
    open: i64,
    #[diesel(sql_type = Nullable<Text>)]
    configid: Option<String>,
}

#[derive(diesel::QueryableByName)]
struct Entry {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    component: String,
    #[diesel(sql_type = Text)]
    eventtype: String,
}

/// What the database says, by node; checks what must hold of any state on the way.
pub fn stored(url: &DatabaseUrl) -> BTreeMap<String, Vec<Segment>> {
    let mut c = Connection::open(url).unwrap();
    let entries: Vec<Entry> = c.rows("SELECT id, component, eventtype FROM compliance_result", &[]).unwrap();
    let entries: BTreeMap<i64, (String, String)> =
        entries.into_iter().map(|entry| (entry.id, (entry.component, entry.eventtype))).collect();
    let rows: Vec<Row> = c
        .rows(
            "SELECT nodeid, since, last, results, open, configid, CAST(success + repaired + error + na \
                 + audit_compliant + audit_noncompliant + audit_error + audit_na AS bigint) AS counted \
             FROM (SELECT nodeid, since, last, set_id, CAST(1 AS bigint) AS open, configid \
                 FROM compliance_current \
                 UNION ALL SELECT nodeid, since, last, set_id, CAST(0 AS bigint), NULL \
                 FROM compliance_history) AS segment \
             JOIN compliance_set s ON s.id = segment.set_id ORDER BY nodeid, since",
            &[],
        )
        .unwrap();
    let mut nodes: BTreeMap<String, Vec<Segment>> = BTreeMap::new();
    let mut open = BTreeSet::new();
    for row in rows {
        assert!(!open.contains(&row.nodeid), "{}: history after the current state", row.nodeid);
        let ids: Vec<i64> =
            row.results.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().unwrap()).collect();
        assert!(ids.is_sorted() && ids.len() as i64 == row.counted, "{}", row.results);
        let mut results: Results = ids.iter().map(|id| entries[id].clone()).collect();
        results.sort();
        if row.open == 1 {
            assert_eq!(row.configid.as_deref(), Some("20240511-0"));
            open.insert(row.nodeid.clone());
        }
        nodes.entry(row.nodeid).or_default().push((row.since, row.last, results));
    }
    assert!(nodes.keys().all(|node| open.contains(node)));
    nodes
}

/// Two roots, each with its writers, get run logs in any order and some of them several times.
pub async fn any_order_gives_the_recomputed_state(url: DatabaseUrl) {
    let mut random = Random(1);
    let fleet = Fleet::new(5);
    let second = Rig::over(url.clone(), Fleet::new(0), fleet.table(), &[]);
    let first = Rig::new(url.clone(), fleet);
    let mut nodes: BTreeMap<String, Runs> = BTreeMap::new();
    let mut waiting = Vec::new();
    for node in (0..5).map(|i| format!("n{i}")) {
        let runs = random_runs(&mut random);
        for (minute, run) in &runs {
            let file = first.put_run(&node, *minute, &text(&node, *minute, run.as_ref(), &mut random));
            let copies = [1, 1, 1, 2, 3][random.below(5)];
            waiting.extend(std::iter::repeat_n((node.clone(), *minute, file), copies));
        }
        nodes.insert(node, runs);
    }
    // Mostly those with the usual results first: the others then fall into long segments.
    let usual = |(node, minute, _): &(String, usize, _)| {
        nodes[node][minute]
            .as_ref()
            .is_some_and(|results| results.len() == 2 && results[0].1 == "result_success")
    };
    waiting.sort_by_key(|run| !usual(run));
    let mut came: BTreeMap<String, Runs> = BTreeMap::new();
    while !waiting.is_empty() {
        let mut parts = [Vec::new(), Vec::new()];
        for _ in 0..waiting.len().min(1 + random.below(40)) {
            let place = random.below(waiting.len()).min(random.below(waiting.len()));
            let (node, minute, file) = waiting.remove(place);
            let run = nodes[&node][&minute].clone();
            came.entry(node).or_default().insert(minute, run);
            parts[random.below(2)].push(file);
        }
        let [a, b] = parts;
        let (a, b) = tokio::join!(first.deliver_all(a), second.deliver_all(b));
        assert!(a.iter().chain(&b).all(|d| matches!(d, Disposition::Accepted(_))), "{a:?} {b:?}");
        let expected: BTreeMap<String, Vec<Segment>> = came
            .iter()
            .map(|(node, runs)| (node.clone(), recomputed(runs)))
            .filter(|(_, segments)| !segments.is_empty())
            .collect();
        assert_eq!(stored(&url), expected);
    }
    assert_eq!(came, nodes);
    assert!(number(&url, "SELECT count(*) FROM compliance_history") > 20);
    // Four kinds of runs: results and sets are shared.
    assert_eq!(number(&url, "SELECT count(*) FROM compliance_result"), 3);
    assert_eq!(number(&url, "SELECT count(*) FROM compliance_set"), 4);
}

/// What was stored before there was state is taken in: then it is as if there had always been some.
pub async fn a_rebuild_gives_the_same_state(url: DatabaseUrl) {
    let mut random = Random(2);
    let rig = Rig::new(url.clone(), Fleet::new(3));
    let mut nodes: BTreeMap<String, Runs> = BTreeMap::new();
    let mut files = Vec::new();
    for node in (0..3).map(|i| format!("n{i}")) {
        let runs = random_runs(&mut random);
        for (minute, run) in &runs {
            files.push(rig.put_run(&node, *minute, &text(&node, *minute, run.as_ref(), &mut random)));
        }
        nodes.insert(node, runs);
    }
    rig.deliver_all(files).await;
    let expected: BTreeMap<String, Vec<Segment>> =
        nodes.iter().map(|(node, runs)| (node.clone(), recomputed(runs))).collect();
    assert_eq!(stored(&url), expected);

    let mut c = Connection::open(&url).unwrap();
    let state = ["compliance_current", "compliance_history", "compliance_set", "compliance_result"];
    for table in state {
        c.run(&format!("DELETE FROM {table}"), &[]).unwrap();
    }
    c.run("UPDATE compliance_generation SET generation = generation + 1", &[]).unwrap();
    let compliance = Compliance::new(Duration::from_secs(300));
    let mut rebuild = |limit: u64| {
        rebuild_alone(&mut c, &compliance, 1, |_, so_far| match so_far.nodes < limit {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
        .unwrap()
        .unwrap()
    };
    // Nothing is due: the tables were there from the start.
    let mut other = Connection::open(&url).unwrap();
    assert!(!is_due(&mut other).unwrap());
    start_over(&mut other).unwrap();
    // Interrupted, it goes on where it was.
    let part = rebuild(1);
    assert!(!part.finished && is_due(&mut other).unwrap());
    assert_eq!(stored(&url).into_keys().collect::<Vec<_>>(), ["n0"]);
    let rest = rebuild(u64::MAX);
    assert!(rest.finished && !is_due(&mut other).unwrap());
    let complete = nodes.values().flat_map(BTreeMap::values).flatten().count() as u64;
    assert_eq!((part.nodes + rest.nodes, part.runs + rest.runs), (3, complete));
    assert_eq!(stored(&url), expected);

    // What is older than all runs that are still there stays, up to the first of them.
    let day = 86_400;
    let first = expected["n1"][0].0;
    let set = format!(
        "SELECT max(id) FROM compliance_set WHERE id NOT IN \
         (SELECT set_id FROM compliance_history WHERE nodeid = 'n1' AND since = {first})"
    );
    c.run(
        &format!(
            "INSERT INTO compliance_history (nodeid, since, last, set_id) \
             VALUES ('n1', {}, {}, ({set})), ('n1', {}, {}, ({set}))",
            first - 2 * day,
            first - day,
            first - day + 700,
            first + 5
        ),
        &[],
    )
    .unwrap();
    start_over(&mut c).unwrap();
    rebuild_alone(&mut c, &compliance, 1, |_, _| ControlFlow::Continue(())).unwrap();
    let mut again = stored(&url);
    let older: Vec<_> =
        again.get_mut("n1").unwrap().drain(..2).map(|(since, last, _)| (since, last)).collect();
    assert_eq!(older, [(first - 2 * day, first - day), (first - day + 700, first - 1)]);
    assert_eq!(again, expected);

    // The daemon does what is due.
    let before = stored(&url);
    start_over(&mut c).unwrap();
    let stop = CancellationToken::new();
    let upkeep = Upkeep::new(Database::open(&config_of(url.clone())).unwrap(), Duration::from_secs(300));
    let task = tokio::spawn(upkeep.run(stop.clone()));
    let deadline = Instant::now() + Duration::from_secs(30);
    while is_due(&mut c).unwrap() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    task.await.unwrap().unwrap();
    assert_eq!(stored(&url), before);
}

/// What no run has any more goes, also while run logs are stored; ids that writers know are looked up anew.
pub async fn garbage_goes_and_nothing_else(url: DatabaseUrl) {
    let rig = Rig::new(url.clone(), Fleet::new(1));
    let run = |minute: usize, component: &str| {
        let start = line("n0", minute, "control", "start", "");
        let results = ["Shared", component].map(|c| line("n0", minute, "result_success", c, ""));
        start + &results.concat()
    };
    for (minute, component) in ["A", "B", "A", "C"].into_iter().enumerate() {
        let disposition = rig.deliver("n0", minute, &run(minute, component)).await;
        assert!(matches!(disposition, Disposition::Accepted(_)), "{disposition:?}");
    }
    let mut c = Connection::open(&url).unwrap();
    assert_eq!(collect(&mut c).unwrap(), Collected::default());
    let before = stored(&url);
    // As retention does: the first two segments are too old.
    c.run("DELETE FROM compliance_history WHERE last < $1", &[Value::Int(unix(2))]).unwrap();
    assert_eq!(collect(&mut c).unwrap(), Collected { sets: 1, results: 1 });
    assert_eq!(stored(&url)["n0"], before["n0"][2..]);
    // The writer knew the ids of B.
    assert_eq!(number(&url, "SELECT count(*) FROM compliance_result WHERE component = 'B'"), 0);
    rig.deliver("n0", 4, &run(4, "B")).await;
    let expected =
        vec![("B".to_owned(), "result_success".to_owned()), ("Shared".into(), "result_success".into())];
    assert_eq!(stored(&url)["n0"].last().unwrap(), &(unix(4), unix(4), expected));
}
