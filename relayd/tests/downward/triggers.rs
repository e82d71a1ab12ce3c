// SPDX-License-Identifier: Apache-2.0
//! Connections of agents, over real TLS.

use std::{sync::Arc, time::Duration};

use hyper::Method;
use prometheus::Registry;
use protocol::{
    remote_run::{Event, RunRequest, RunRequestId},
    triggers::{MAX_REPORT, News, Receipt, ReportFrom, Taker, line, news_path, report_path},
};
use relayd::{
    config,
    http::{ServiceKind, Services},
    triggers::Triggers,
};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    harness::{BELOW, DIRECT, Fleet, PATIENCE, id},
    rig::{Answer, Client, Rig},
};

const PATIENT: [(&str, &str); 1] = [("Prefer", "wait=15")];
/// Clearly before a request would be answered because its time is over.
const AT_ONCE: Duration = Duration::from_secs(10);

struct World {
    rig: Rig,
    triggers: Triggers,
    stop: CancellationToken,
}

impl World {
    async fn new() -> Self {
        let fleet = Fleet::new();
        let (_, nodes) = watch::channel(Arc::new(fleet.table()));
        let settings = config::Triggers { wait: Duration::from_secs(15), reconnects_per_second: 100 };
        let triggers = Triggers::new(settings, nodes, &Registry::new()).unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(triggers.clone().run(stop.clone()));
        let mut services = Services::default();
        services.add(ServiceKind::Triggers, Arc::new(triggers.clone()));
        Self { rig: Rig::start_as("root", fleet, services).await, triggers, stop }
    }

    async fn direct(&self) -> Client {
        self.rig.node(&self.rig.gateway.fleet.direct).await
    }

    /// Waits until the node is connected, or not.
    async fn connected(&self, connected: bool) {
        let looked = async {
            while self.triggers.is_connected(&id(DIRECT)) != connected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, looked).await.expect("the node to be connected, or not");
    }
}

fn request() -> RunRequest {
    RunRequest {
        id: RunRequestId::new(),
        conditions: "one,two".parse().unwrap(),
        expires: chrono::Utc::now() + PATIENCE,
        output: true,
    }
}

fn news(answer: &Answer) -> News {
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_slice(&answer.body).unwrap()
}

fn offered(answer: &Answer) -> Vec<RunRequestId> {
    news(answer).runs.iter().map(|offer| offer.id).collect()
}

async fn report(client: &mut Client, run: RunRequestId, from: u64, events: &[Event]) -> (u16, Option<u64>) {
    let path = report_path(&run, ReportFrom { by: Taker::new([7; 8]), from });
    let body: String = events.iter().map(line).collect();
    let response = client.send("POST", &path, &[("Content-Type", "application/jsonl")], body).await;
    let status = response.status().as_u16();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    (status, serde_json::from_slice::<Receipt>(&body).ok().map(|receipt| receipt.next))
}

#[tokio::test]
async fn a_connected_agent_hears_at_once_and_tells_without_loss() {
    let world = World::new().await;
    let mut agent = world.direct().await;
    let first = news(&agent.get("/triggers").await);
    assert_eq!((first.pace.heartbeat, first.pace.reconnect_within), (15, 1));
    assert!(first.runs.is_empty() && !world.triggers.is_connected(&id(DIRECT)), "it did not wait");

    let waiting = tokio::spawn(async move { (agent.ask("GET", "/triggers", &PATIENT).await, agent) });
    world.connected(true).await;
    let wanted = request();
    let run = wanted.id;
    let mut events = world.triggers.ask(&id(DIRECT), wanted);
    let (answer, mut agent) = timeout(AT_ONCE, waiting).await.expect("at once").unwrap();
    let told = news(&answer);
    assert_eq!((told.runs[0].id, told.runs[0].conditions.to_string()), (run, "one,two".to_owned()));
    assert!((1..=30_000).contains(&told.runs[0].expires_in_ms) && told.runs[0].output);

    // The answer was lost: it is offered again, to an agent that does not say that it has it.
    assert_eq!(offered(&agent.ask("GET", "/triggers", &PATIENT).await), [run]);
    assert_eq!(offered(&agent.get(&news_path(&[run])).await), []);

    let output = |text: &str| Event::output(text).remove(0);
    let all = [Event::Started, output("a"), output("b"), Event::Finished { exit_status: Some(1) }];
    assert_eq!(report(&mut agent, run, 0, &all[..2]).await, (200, Some(2)));
    assert_eq!(report(&mut agent, run, 0, &all[..3]).await, (200, Some(3)), "again, and one more");
    assert_eq!(report(&mut agent, run, 4, &[]).await, (409, Some(3)), "one is missing");
    assert_eq!(report(&mut agent, run, 3, &[]).await, (200, Some(3)), "a sign of life");
    assert_eq!(report(&mut agent, run, 3, &all[3..]).await, (200, Some(4)));
    assert_eq!(report(&mut agent, run, 3, &all[3..]).await.0, 410);
    for event in all {
        assert_eq!(timeout(PATIENCE, events.recv()).await.unwrap(), Some(event));
    }
    assert_eq!(events.recv().await, None);
}

#[tokio::test]
async fn of_two_connections_of_a_node_the_newer_one_counts() {
    let world = World::new().await;
    let (mut old, mut new) = (world.direct().await, world.direct().await);
    let old = tokio::spawn(async move { old.ask("GET", "/triggers", &PATIENT).await });
    world.connected(true).await;
    let new = tokio::spawn(async move { new.ask("GET", "/triggers", &PATIENT).await });
    let replaced = timeout(PATIENCE, old).await.unwrap().unwrap();
    assert_eq!(
        (replaced.status, replaced.header("retry-after")),
        (409, Some("15")),
        "not to come back at once"
    );
    let wanted = request();
    let run = wanted.id;
    let _events = world.triggers.ask(&id(DIRECT), wanted);
    assert_eq!(offered(&timeout(PATIENCE, new).await.unwrap().unwrap()), [run]);
}

#[tokio::test]
async fn who_goes_is_not_connected_any_more_and_who_is_revoked_hears_nothing() {
    let world = World::new().await;
    let mut agent = world.direct().await;
    let gone = tokio::spawn(async move { agent.ask("GET", "/triggers", &PATIENT).await });
    world.connected(true).await;
    gone.abort();
    world.connected(false).await;

    let mut agent = world.direct().await;
    let revoked = tokio::spawn(async move { agent.ask("GET", "/triggers", &PATIENT).await });
    world.connected(true).await;
    world.rig.gateway.nodes.send_replace(Arc::new(world.rig.gateway.fleet.table_without(DIRECT)));
    world.connected(false).await;
    assert!(timeout(PATIENCE, revoked).await.unwrap().is_err(), "the connection was closed");
}

#[tokio::test]
async fn a_server_that_stops_lets_its_agents_go_and_ends_their_runs() {
    let world = World::new().await;
    let mut agent = world.direct().await;
    let waiting = tokio::spawn(async move { agent.ask("GET", "/triggers", &PATIENT).await });
    world.connected(true).await;
    let mut events = world.triggers.ask(&id(BELOW), request());
    world.stop.cancel();
    assert!(matches!(timeout(PATIENCE, events.recv()).await.unwrap(), Some(Event::Unreachable { .. })));
    assert_eq!(events.recv().await, None);
    world.rig.gateway.stop.cancel();
    let answer = timeout(AT_ONCE, waiting).await.expect("at once").unwrap();
    assert!(news(&answer).runs.is_empty());
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let world = World::new().await;
    let wanted = request();
    let run = wanted.id;
    let mut events = world.triggers.ask(&id(DIRECT), wanted);
    let good = report_path(&run, ReportFrom { by: Taker::new([1; 8]), from: 0 });
    let long = format!("{{\"event\":\"output\",\"line\":\"{}\"}}\n", "x".repeat(5000));
    let other = format!("/triggers/{}?by=0123456789abcdef", RunRequestId::new());
    let upper = format!("/triggers/{}?by=0123456789abcdef", run.to_string().to_uppercase());
    let event = "{\"event\":\"finished\",\"exit_status\":0}".to_owned();
    for (path, body, status) in [
        (good.clone(), "no event".to_owned(), 400),
        (good.clone(), "{\"event\":\"expired\"}".to_owned(), 400),
        (good.clone(), format!("{event}\n{event}"), 400),
        (good.clone(), long.repeat(MAX_REPORT / long.len() + 1), 413),
        (format!("/triggers/{run}"), event.clone(), 400),
        (format!("/triggers/{run}?by=x"), event.clone(), 400),
        (format!("/triggers/{run}?by=0123456789abcdef&from=-1"), event.clone(), 400),
        ("/triggers/..%2f..%2fetc?by=0123456789abcdef".to_owned(), event.clone(), 404),
        (format!("/triggers/{run}/x?by=0123456789abcdef"), event.clone(), 404),
        (other, event.clone(), 410),
    ] {
        let mut agent = world.direct().await;
        let response = agent.send("POST", &path, &[], body).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
    }
    if upper.contains(|c: char| c.is_ascii_uppercase()) {
        assert_eq!(world.direct().await.send("POST", &upper, &[], event.clone()).await.status(), 404);
    }
    let mut agent = world.direct().await;
    assert_eq!(agent.get("/triggers?have=x").await.status, 400);
    for method in [Method::PUT, Method::HEAD, Method::POST, Method::DELETE] {
        assert_eq!(world.direct().await.ask(method.as_str(), "/triggers", &[]).await.status, 404, "{method}");
    }
    // Another node knows nothing of the run.
    let mut below = world.rig.node(&world.rig.gateway.fleet.below).await;
    assert_eq!(below.send("POST", &good, &[], event.clone()).await.status(), 410);
    let mut stranger = world.rig.node(&world.rig.gateway.fleet.stranger).await;
    assert_eq!(stranger.get("/triggers").await.status, 403);
    // Bodies without a length are not taken here either.
    let chunked = [("Transfer-Encoding", "chunked")];
    let answer = world.direct().await.send("POST", &good, &chunked, event).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["connection"]), (411, &"close".parse().unwrap()));
    assert!(events.try_recv().is_err(), "nothing of all that arrived");
}
