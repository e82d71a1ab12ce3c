// SPDX-License-Identifier: Apache-2.0
//! Runs that are asked for, taken, told of, and those that are not.

use protocol::{
    hash::KeyHash,
    node_list::NodeEntry,
    remote_run::RunRequestId,
    triggers::{ReportFrom, Taker},
};
use tokio::{sync::watch, time::timeout};

use super::{run::Reported, *};
use crate::nodes::NodeTable;

const SOON: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_secs(5);

fn id(id: &str) -> NodeId {
    id.parse().unwrap()
}

fn table(nodes: &[&str]) -> Arc<NodeTable> {
    let entry = || NodeEntry {
        hostname: "h".into(),
        key_hash: Some(KeyHash::Sha256([7; 32])),
        other_key_hashes: Vec::new(),
        policy_server: NodeId::root(),
        is_relay: false,
    };
    Arc::new(NodeTable::new(nodes.iter().map(|node| (id(node), entry())).collect(), Vec::new()))
}

fn triggers() -> (watch::Sender<Arc<NodeTable>>, Triggers) {
    let (sender, nodes) = watch::channel(table(&["a", "b"]));
    let settings = config::Triggers { wait: WAIT, reconnects_per_second: 2 };
    (sender, Triggers::new(settings, nodes, &Registry::new()).unwrap())
}

fn request(expires_in: Duration) -> RunRequest {
    RunRequest {
        id: RunRequestId::new(),
        conditions: "one,two".parse().unwrap(),
        expires: chrono::Utc::now() + expires_in,
        output: true,
    }
}

fn place(by: u8, from: u64) -> ReportFrom {
    ReportFrom { by: Taker::new([by; 8]), from }
}

fn output(text: &str) -> Event {
    Event::output(text).remove(0)
}

async fn all(mut events: mpsc::Receiver<Event>) -> Vec<Event> {
    let mut all = vec![];
    while let Some(event) = timeout(SOON, events.recv()).await.expect("an event in time") {
        all.push(event);
    }
    all
}

impl Triggers {
    fn offered(&self, node: &str, have: &[RunRequestId]) -> Vec<RunRequestId> {
        self.table().offers(&id(node), have, Instant::now()).into_iter().map(|offer| offer.id).collect()
    }

    fn reported(&self, node: &str, run: RunRequestId, place: ReportFrom, events: &[Event]) -> Reported {
        self.table().report(&id(node), run, place, events, Instant::now())
    }

    fn swept(&self, after: Duration) {
        let pace = self.pace_of(&self.table());
        self.table().sweep(Instant::now() + after, pace);
    }
}

#[tokio::test]
async fn a_run_is_offered_until_it_is_taken_and_told_of_once() {
    let (_nodes, triggers) = triggers();
    let request = request(SOON);
    let run = request.id;
    let events = triggers.ask(&id("a"), request);
    assert_eq!(triggers.offered("b", &[]), []);
    assert_eq!(triggers.offered("a", &[]), [run]);
    assert_eq!(triggers.offered("a", &[]), [run], "the first answer may be lost");
    assert_eq!(triggers.offered("a", &[run]), []);

    let (first, second) = ([Event::Started, output("1")], [output("1"), output("2")]);
    assert!(matches!(triggers.reported("b", run, place(1, 0), &first), Reported::Gone), "not its run");
    assert!(matches!(triggers.reported("a", run, place(1, 0), &first), Reported::Arrived(2, None)));
    assert_eq!(triggers.offered("a", &[]), [], "it is taken");
    assert!(matches!(triggers.reported("a", run, place(2, 0), &first), Reported::Another));
    // Again because the answer was lost, and more than before.
    assert!(matches!(triggers.reported("a", run, place(1, 1), &second), Reported::Arrived(3, None)));
    assert!(matches!(triggers.reported("a", run, place(1, 5), &[]), Reported::Gap(3)));
    let end = Event::Finished { exit_status: Some(0) };
    assert!(matches!(triggers.reported("a", run, place(1, 3), std::slice::from_ref(&end)), Reported::Over));
    assert!(matches!(triggers.reported("a", run, place(1, 3), std::slice::from_ref(&end)), Reported::Gone));
    assert_eq!(all(events).await, [Event::Started, output("1"), output("2"), end]);
}

#[tokio::test]
async fn what_is_late_ends() {
    let (_nodes, triggers) = triggers();
    let (late, taken) = (request(Duration::ZERO), request(Duration::from_secs(1)));
    let run = taken.id;
    let (late, taken) = (triggers.ask(&id("a"), late), triggers.ask(&id("b"), taken));
    assert_eq!(triggers.offered("a", &[]), [], "too late");
    triggers.reported("b", run, place(1, 0), &[Event::Started]);
    triggers.swept(Duration::from_secs(2));
    assert_eq!(all(late).await, [Event::Expired]);
    triggers.swept(WAIT * 3);
    triggers.reported("b", run, place(1, 1), &[output("still there")]);
    triggers.swept(WAIT * 5);
    let told = all(taken).await;
    assert_eq!(told[..2], [Event::Started, output("still there")]);
    assert!(matches!(&told[2..], [Event::Unreachable { reason }] if reason.contains("no word")), "{told:?}");
    assert!(matches!(triggers.reported("b", run, place(1, 2), &[]), Reported::Gone));
}

#[tokio::test]
async fn a_run_that_expired_or_was_cancelled_is_not_begun() {
    let (_nodes, triggers) = triggers();
    let (expired, cancelled) = (request(Duration::ZERO), request(SOON));
    let ids = [expired.id, cancelled.id];
    let _expired = triggers.ask(&id("a"), expired);
    drop(triggers.ask(&id("a"), cancelled));
    assert_eq!(triggers.offered("a", &[]), []);
    for run in ids {
        assert!(matches!(triggers.reported("a", run, place(1, 0), &[Event::Started]), Reported::Gone));
    }
    triggers.swept(Duration::ZERO);
    assert_eq!(triggers.table().metrics().runs.get(), 0);
}

#[tokio::test]
async fn a_slow_reader_gets_everything_and_holds_little() {
    let (_nodes, triggers) = triggers();
    let request = request(SOON);
    let run = request.id;
    let events = triggers.ask(&id("a"), request);
    let said: Vec<_> =
        (0..500).map(|n| output(&n.to_string())).chain([Event::Finished { exit_status: None }]).collect();
    let Reported::Arrived(next, Some(_)) = triggers.reported("a", run, place(1, 0), &said) else {
        panic!("there is no room for all")
    };
    assert!((1..500).contains(&next), "{next}");
    let reader = tokio::spawn(all(events));
    let mut next = next;
    while let Reported::Arrived(more, full) =
        triggers.reported("a", run, place(1, next), &said[next as usize..])
    {
        next = more;
        if let Some(full) = full {
            let _ = timeout(SOON, full.reserve()).await.unwrap();
        }
    }
    assert_eq!(reader.await.unwrap(), said);
}

#[tokio::test]
async fn runs_of_very_many_hold_little_each() {
    let names: Vec<_> = (0..1500).map(|n| format!("n{n}")).collect();
    let (nodes, triggers) = triggers();
    nodes.send_replace(table(&names.iter().map(String::as_str).collect::<Vec<_>>()));
    let said = vec![output("x"); 100];
    let mut held = 0;
    let mut kept = vec![];
    for name in &names {
        let request = request(SOON);
        let run = request.id;
        kept.push(triggers.ask(&id(name), request));
        let Reported::Arrived(next, Some(_)) = triggers.reported(name, run, place(1, 0), &said) else {
            panic!("there is no room for all")
        };
        assert!(next >= 2, "{next}");
        held += next;
    }
    assert!(held < 15_000, "{held} events");
}

#[tokio::test]
async fn too_many_runs_and_those_of_strangers_are_refused() {
    let (nodes, triggers) = triggers();
    let mut kept: Vec<_> =
        (0..protocol::triggers::MAX_RUNS).map(|_| triggers.ask(&id("a"), request(SOON))).collect();
    let refused = all(triggers.ask(&id("a"), request(SOON))).await;
    assert!(
        matches!(&refused[..], [Event::Refused { reason }] if reason.contains("wait already")),
        "{refused:?}"
    );
    let refused = all(triggers.ask(&id("c"), request(SOON))).await;
    assert!(matches!(&refused[..], [Event::Refused { .. }]), "{refused:?}");

    // A node that is revoked.
    let stop = CancellationToken::new();
    let running = tokio::spawn(triggers.clone().run(stop.clone()));
    let of_b = triggers.ask(&id("b"), request(SOON));
    nodes.send_replace(table(&["b"]));
    let ended = all(kept.remove(0)).await;
    assert!(
        matches!(&ended[..], [Event::Unreachable { reason }] if reason.contains("not know")),
        "{ended:?}"
    );
    // The end of the server is the end of what it was asked for.
    stop.cancel();
    let ended = all(of_b).await;
    assert!(
        matches!(&ended[..], [Event::Unreachable { reason }] if reason.contains("stopping")),
        "{ended:?}"
    );
    running.await.unwrap().unwrap();
    assert!(matches!(&all(triggers.ask(&id("b"), request(SOON))).await[..], [Event::Unreachable { .. }]));
}

#[tokio::test]
async fn the_newest_connection_of_a_node_counts() {
    let (_nodes, triggers) = triggers();
    let a = id("a");
    assert!(!triggers.is_connected(&a));
    let (first, bell) = triggers.table().begin(&a);
    let (second, _) = triggers.table().begin(&a);
    timeout(SOON, bell.notified()).await.expect("the first one is told");
    assert!(!triggers.table().is_newest(&a, first) && triggers.table().is_newest(&a, second));
    triggers.table().end(&a, first, None);
    assert!(triggers.is_connected(&a), "the end of the first is not that of the second");
    assert_eq!(triggers.table().metrics().connected.get(), 1);

    let next = Instant::now() + Duration::from_secs(1);
    triggers.table().end(&a, second, Some(next));
    assert!(triggers.is_connected(&a), "the next request is on its way");
    triggers.swept(Duration::from_secs(2));
    assert!(!triggers.is_connected(&a), "it did not come");
    let (third, _) = triggers.table().begin(&a);
    triggers.table().end(&a, third, None);
    assert!(!triggers.is_connected(&a), "the client has gone");
    assert_eq!(triggers.table().metrics().connected.get(), 0);
    assert!(triggers.table().is_empty());
}

#[tokio::test]
async fn the_pace_follows_the_number_of_agents() {
    let (_nodes, triggers) = triggers();
    assert_eq!(triggers.pace_of(&triggers.table()), Pace { heartbeat: 5, reconnect_within: 1 });
    for number in 0..9 {
        triggers.table().begin(&id(&format!("n{number}")));
    }
    assert_eq!(triggers.pace_of(&triggers.table()).reconnect_within, 5, "two a second");
}
