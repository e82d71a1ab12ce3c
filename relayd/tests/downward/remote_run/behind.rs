// SPDX-License-Identifier: Apache-2.0
//! Relays that are silent, cut, talk nonsense, or are older.

use std::{collections::HashSet, time::Duration};

use protocol::remote_run::{Event, Line, NodeEvent, RunOrder, Targets};
use serde_json::json;

use super::played::{Make, Play, finished, output};
use crate::harness::{id, new_identity};

/// A node at the root, and two behind each relay.
fn make(relays: &[&'static str]) -> Make {
    let make = Make::new().node("near", "near", "root");
    relays.iter().fold(make, |make, relay| {
        let make = make.relay(relay);
        ["a", "b"].iter().fold(make, |make, node| make.node(&format!("{relay}-{node}"), "h", relay))
    })
}

fn unreachable(events: &[Event], reason: &str) -> bool {
    matches!(events.last(), Some(Event::Unreachable { reason: said }) if said.contains(reason))
}

#[tokio::test]
async fn a_relay_is_asked_for_its_nodes_and_what_it_says_is_passed_on() {
    let world = make(&["r1"]).start().await;
    world.agency.play("r1", Play::Does(vec![finished(0)]));
    world.agency.play("near", Play::Does(vec![finished(0)]));
    let told =
        world.run(json!({"nodes": "all", "conditions": ["x"], "output": false, "expires_in": 60})).await;
    let mut asked = world.relays["r1"].take().await;
    assert!(asked.head.starts_with("POST /rudder/relay-api/2/remote-run HTTP/1.1\r\n"), "{}", asked.head);
    assert!(asked.head.contains("relayd-hops: 1\r\n"), "{}", asked.head);
    let order = RunOrder::from_json(asked.body.as_bytes()).unwrap();
    assert_eq!(order.targets, Targets::Nodes(vec![id("r1-a"), id("r1-b")]));
    assert_eq!(
        (order.conditions.to_string().as_str(), order.output, order.asynchronous),
        ("x", false, false)
    );
    assert!((50..=60).contains(&order.expires_in.unwrap().as_secs()));
    let peer = asked.stream.ssl().peer_certificate().expect("the root shows who it is");
    assert!(format!("{:?}", peer.subject_name()).contains("root"));
    asked.begin().await;
    for event in [Event::Asked, Event::Started, output("hi"), finished(0)] {
        asked.event("r1-a", event).await;
    }
    asked.event("r1-b", Event::Expired).await;
    let nodes = told.by_node().await;
    // Its final events are there: nobody waits for the end of its answer.
    asked.closed().await;
    assert_eq!(nodes["r1-a"], [Event::Asked, Event::Started, output("hi"), finished(0)]);
    assert_eq!(nodes["r1-b"], [Event::Expired]);
    for node in ["near", "r1"] {
        assert_eq!(nodes[node].last(), Some(&finished(0)));
    }
}

#[tokio::test]
async fn relays_that_fail_lose_their_own_nodes_and_hold_up_nobody() {
    let relays = ["silent", "cut", "ends", "garbage", "gigantic", "liar", "refuses"];
    let mut make = make(&relays);
    // Longer than all that the others do may take on a busy machine.
    make.pace.silence = Duration::from_secs(10);
    let world = make.start().await;
    world.agency.play("near", Play::Does(vec![finished(0)]));
    for relay in relays {
        world.agency.play(relay, Play::Does(vec![finished(0)]));
    }
    let mut told = world.run(json!({"nodes": "all"})).await;

    let mut silent = world.relays["silent"].take().await;
    silent.begin().await;
    silent.event("silent-a", Event::Started).await;

    let mut cut = world.relays["cut"].take().await;
    cut.begin().await;
    cut.event("cut-a", finished(0)).await;
    cut.raw(b"40\r\n{\"node_id\":\"cut-b\",\"ti").await;
    drop(cut);

    let mut ends = world.relays["ends"].take().await;
    ends.begin().await;
    ends.event("ends-a", finished(2)).await;
    ends.end().await;

    let mut garbage = world.relays["garbage"].take().await;
    garbage.begin().await;
    garbage.say("\u{0}{}[]\n{\"node_id\":1}\n\r\n").await;
    garbage.event("garbage-a", finished(0)).await;
    let nonsense = "nonsense\n".repeat(600);
    garbage.say(&nonsense).await;
    garbage.say(&nonsense).await;

    let mut gigantic = world.relays["gigantic"].take().await;
    gigantic.begin().await;
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..20 {
        gigantic.say(&piece).await;
    }
    gigantic.say("\n").await;
    gigantic.event("gigantic-a", finished(0)).await;
    gigantic.event("gigantic-b", finished(1)).await;

    let mut liar = world.relays["liar"].take().await;
    liar.begin().await;
    for node in ["near", "cut-b", "silent-a", "root", "liar-a"] {
        liar.event(node, finished(0)).await;
    }
    liar.event("liar-a", finished(1)).await;
    liar.event("liar-b", Event::refused("no")).await;

    let mut refuses = world.relays["refuses"].take().await;
    refuses.raw(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;

    // The others are through before the silent one is given up.
    let mut over = HashSet::new();
    let mut events: Vec<NodeEvent> = Vec::new();
    while over.len() < 20 {
        let event = told.event().await;
        if event.is_final() {
            assert!(over.insert(event.node_id.clone()), "a second end: {event:?}");
            assert!(!event.node_id.as_str().starts_with("silent-"), "{event:?}");
        }
        events.push(event);
    }
    while let Some(line) = told.next().await {
        if let Line::Node(event) = line {
            assert!(!event.is_final() || over.insert(event.node_id.clone()), "a second end: {event:?}");
            events.push(event);
        }
    }
    let of = |node: &str| -> Vec<Event> {
        events
            .iter()
            .filter(|event| event.node_id.as_str() == node)
            .map(|event| event.event.clone())
            .collect()
    };
    for node in ["silent-a", "silent-b"] {
        assert!(unreachable(&of(node), "silent for 10 s"), "{:?}", of(node));
    }
    assert_eq!(of("cut-a"), [finished(0)]);
    assert!(unreachable(&of("cut-b"), "lost"), "{:?}", of("cut-b"));
    assert_eq!(of("ends-a"), [finished(2)]);
    assert!(unreachable(&of("ends-b"), "too early"));
    assert_eq!(of("garbage-a"), [finished(0)]);
    assert!(unreachable(&of("garbage-b"), "nonsense"));
    assert_eq!((of("gigantic-a"), of("gigantic-b")), (vec![finished(0)], vec![finished(1)]));
    assert_eq!((of("liar-a"), of("liar-b")), (vec![finished(0)], vec![Event::refused("no")]));
    assert!(matches!(of("refuses-a")[..], [Event::Refused { .. }]));
    assert_eq!(of("near"), [Event::Asked, finished(0)], "not what the liar says");
}

#[tokio::test]
async fn an_impostor_is_told_nothing() {
    let world = make(&["r1"]).start().await;
    let told = world.run(json!({"nodes": ["r1-a"]})).await;
    let impostor = new_identity("r1");
    let (taken, nodes) = tokio::join!(world.relays["r1"].take_as(impostor), told.by_node());
    assert!(taken.is_err(), "no request reaches it");
    assert!(unreachable(&nodes["r1-a"], "not trusted"), "{nodes:?}");
}

#[tokio::test]
async fn ten_thousand_nodes_behind_one_relay() {
    let mut make = Make::new().relay("r1");
    for number in 0..10_000 {
        make = make.node(&format!("n{number}"), "h", "r1");
    }
    let world = make.start().await;
    let told = world.run(json!({"nodes": "all", "behind": "r1"})).await;
    let relay = async {
        let mut asked = world.relays["r1"].take().await;
        asked.begin().await;
        for part in 0..100 {
            let mut lines = Vec::new();
            for number in part * 100..(part + 1) * 100 {
                for event in [Event::Started, output("R: a line of output"), finished(number % 2)] {
                    lines.extend(Line::Node(NodeEvent::now(id(&format!("n{number}")), event)).to_json());
                }
            }
            asked.say(&lines).await;
        }
        asked.closed().await;
    };
    let ((), nodes) = tokio::join!(relay, told.by_node());
    assert_eq!(nodes.len(), 10_000);
    assert!(nodes.values().all(|events| events.len() == 3));
}

#[tokio::test]
async fn an_older_relay_is_asked_node_by_node_and_never_counts_as_success() {
    let world = make(&["old"]).start().await;
    let told = world.run(json!({"nodes": ["old-a", "old-b"], "conditions": ["x", "y"]})).await;
    let relay = async {
        let mut new = world.relays["old"].take().await;
        new.raw(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNOT FOUND").await;
        for _ in 0..2 {
            let mut asked = world.relays["old"].take().await;
            assert!(asked.head.starts_with("POST /rudder/relay-api/remote-run/nodes HTTP/1.1\r\n"));
            let node = asked.body.rsplit('=').next().unwrap().to_owned();
            let form = format!("keep_output=true&asynchronous=true&classes=x%2Cy&nodes={node}");
            assert_eq!(asked.body, form);
            asked.begin().await;
            asked.say(format!("{node} says this\nand")).await;
            asked.say(" that").await;
            if node == "old-a" {
                asked.end().await;
            }
        }
    };
    let ((), nodes) = tokio::join!(relay, told.by_node());
    let says = |node: &str| output(&format!("{node} says this"));
    let ended = Event::Finished { exit_status: None };
    assert_eq!(nodes["old-a"], [Event::Asked, says("old-a"), output("and that"), ended]);
    assert_eq!(nodes["old-b"][..2], [Event::Asked, says("old-b")]);
    assert!(unreachable(&nodes["old-b"], "lost"), "cut off: {:?}", nodes["old-b"]);
}
