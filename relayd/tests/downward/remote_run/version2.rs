// SPDX-License-Identifier: Apache-2.0
//! One end for each node, heartbeats, cancelling.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use protocol::remote_run::{Counts, Event, Line, RunLine};
use serde_json::json;

use super::played::{Make, Play, finished, output, until};

#[tokio::test]
async fn each_node_asked_ends_once_and_only_exit_status_0_is_success() {
    let nodes = ["good", "bad", "gone", "refuses", "twice", "late"];
    let make = nodes.iter().fold(Make::new(), |make, node| make.node(node, node, "root"));
    let world = make.node("astray", "astray", "nowhere").start().await;
    let agency = &world.agency;
    agency.play("good", Play::Does(vec![Event::Started, output("hello"), finished(0)]));
    agency.play("bad", Play::Does(vec![Event::Started, finished(3)]));
    agency.play("gone", Play::Does(vec![Event::Started]));
    agency.play("refuses", Play::Does(vec![Event::refused("busy")]));
    agency.play("twice", Play::Does(vec![finished(1), finished(0), Event::Started]));
    let ids = ["good", "bad", "gone", "refuses", "twice", "late", "astray", "unknown"];
    let lines = world.run(json!({"nodes": ids, "conditions": ["a", "b"], "expires_in": 1})).await.all().await;

    let Some(Line::Run(RunLine::Run { nodes: 8, .. })) = lines.first() else { panic!("{lines:?}") };
    let counts =
        Counts { succeeded: 1, failed: 2, refused: 3, unreachable: 1, expired: 1, ..Counts::default() };
    assert_eq!(lines.last(), Some(&Line::Run(RunLine::End(counts))));
    let of = |node: &str| -> Vec<Event> {
        let events = lines.iter().filter_map(|line| match line {
            Line::Node(event) if event.node_id.as_str() == node => Some(event.event.clone()),
            _ => None,
        });
        events.collect()
    };
    assert_eq!(of("good"), [Event::Asked, Event::Started, output("hello"), finished(0)]);
    assert_eq!(of("bad"), [Event::Asked, Event::Started, finished(3)]);
    assert!(matches!(of("gone").last(), Some(Event::Unreachable { .. })));
    assert_eq!(of("refuses"), [Event::Asked, Event::refused("busy")]);
    assert_eq!(of("twice"), [Event::Asked, finished(1)]);
    assert_eq!(of("late"), [Event::Asked, Event::Expired]);
    for node in ["astray", "unknown"] {
        assert!(matches!(&of(node)[..], [Event::Refused { .. }]), "{node}");
    }
    let asked = agency.asked.lock().unwrap();
    assert!(asked.iter().all(|(_, request)| request.conditions.to_string() == "a,b" && request.output));
    let numbers: HashSet<_> = asked.iter().map(|(_, request)| request.id).collect();
    assert_eq!(numbers.len(), asked.len(), "each run has its own number");
}

#[tokio::test]
async fn all_is_what_is_below_and_behind_is_what_is_below_a_relay() {
    let make = Make::new().node("near", "near", "root").node("r1", "127.0.0.9", "root");
    let make = make.node("deep", "deep", "r1").node("elsewhere", "x", "nowhere");
    let world = make.start().await;
    world.agency.play("near", Play::Does(vec![finished(0)]));
    world.agency.play("r1", Play::Does(vec![finished(0)]));
    let nodes = world.run(json!({"nodes": "all"})).await.by_node().await;
    let mut ids: Vec<_> = nodes.keys().map(String::as_str).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["deep", "near", "r1"], "not this server, and nobody who is not below it");
    assert!(matches!(nodes["deep"].last(), Some(Event::Unreachable { reason }) if reason.contains("no key")));
    let nodes = world.run(json!({"nodes": "all", "behind": "r1"})).await.by_node().await;
    assert_eq!(nodes.keys().collect::<Vec<_>>(), ["deep"]);
    let body = json!({"nodes": "all", "behind": "elsewhere"}).to_string();
    let answer = world.post("/rudder/relay-api/2/remote-run", &[], &body).await;
    assert_eq!((answer.status, answer.text()), (400, "behind: elsewhere is not below this server"));
}

#[tokio::test]
async fn output_is_capped_with_a_mark_and_the_end_is_told_all_the_same() {
    let mut make = Make::new().node("loud", "h", "root").node("quiet", "h", "root");
    make.settings.max_output = 1000;
    let world = make.start().await;
    let mut all = vec![Event::Started];
    all.extend(vec![output(&"x".repeat(99)); 5000]);
    all.push(finished(0));
    world.agency.play("loud", Play::Does(all));
    world.agency.play("quiet", Play::Does(vec![finished(0)]));
    let nodes = world.run(json!({"nodes": ["loud", "quiet"]})).await.by_node().await;
    let lines: Vec<_> = nodes["loud"]
        .iter()
        .filter_map(|event| match event {
            Event::Output { line, truncated } => Some((line.len(), *truncated)),
            _ => None,
        })
        .collect();
    assert_eq!(lines.len(), 11);
    assert!(lines[..10].iter().all(|line| *line == (99, false)) && lines[10] == (0, true));
    assert_eq!(nodes["loud"].last(), Some(&finished(0)));
}

#[tokio::test]
async fn silence_is_filled_and_a_client_that_goes_away_cancels() {
    let world = Make::new().node("n", "h", "root").start().await;
    world.agency.play("n", Play::Runs);
    // Before the first silence can begin.
    let (start, mut beats) = (Instant::now(), 0);
    let mut told = world.run(json!({"nodes": ["n"]})).await;
    while beats < 3 {
        beats += usize::from(matches!(told.next().await, Some(Line::Run(RunLine::Heartbeat { .. }))));
    }
    assert!(start.elapsed() >= Duration::from_millis(800), "not without need");
    drop(told);
    until("the run is cancelled", || world.agency.cancelled.lock().unwrap().len() == 1).await;
}

#[tokio::test]
async fn asynchronous_means_that_nobody_waits() {
    let world = Make::new().node("n", "h", "root").start().await;
    world.agency.play("n", Play::Runs);
    let lines = world.run(json!({"nodes": ["n"], "asynchronous": true, "output": false})).await.all().await;
    assert!(matches!(lines[..], [Line::Run(RunLine::Run { nodes: 1, .. })]), "{lines:?}");
    until("it runs", || world.agency.running().len() == 1).await;
    assert!(!world.agency.asked.lock().unwrap()[0].1.output);
    world.agency.end(&"n".parse().unwrap()).await;
    assert!(world.agency.cancelled.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_stops_says_so_for_each_node() {
    let world = Make::new().node("a", "h", "root").node("b", "h", "root").start().await;
    world.agency.play("a", Play::Runs);
    world.agency.play("b", Play::Runs);
    let told = world.run(json!({"nodes": ["a", "b"]})).await;
    until("both run", || world.agency.running().len() == 2).await;
    world.rig.gateway.stop.cancel();
    let nodes = told.by_node().await;
    for node in ["a", "b"] {
        assert!(
            matches!(nodes[node].last(), Some(Event::Unreachable { reason }) if reason.contains("stopping"))
        );
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let world = Make::new().start().await;
    let path = "/rudder/relay-api/2/remote-run";
    for (body, said) in [
        (json!({"nodes": ["a", "-b"]}).to_string(), "nodes[1]: a node id starts with"),
        (json!({"nodes": vec!["a"; 100_000]}).to_string(), "nodes: names 100000 nodes"),
        (json!({"nodes": "all", "conditions": ["a;b"]}).to_string(), "conditions[0]: invalid condition: a;b"),
        ("{".to_owned(), "the body is not JSON"),
        (String::new(), "the body is not JSON"),
    ] {
        let answer = world.post(path, &[("Content-Length", &body.len().to_string())], &body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.text().starts_with(said), "{}", answer.text());
    }
    let huge = format!("{{\"nodes\":\"{}\"}}", "a".repeat(2 << 20));
    assert_eq!(world.post(path, &[], &huge).await.status, 413);
    let circle = world.post(path, &[("relayd-hops", "20")], r#"{"nodes":"all"}"#).await;
    assert_eq!(circle.status, 400, "{}", circle.text());
}
