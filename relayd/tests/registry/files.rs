// SPDX-License-Identifier: Apache-2.0
//! The files of protocol 5: written by the registry, or followed by it.

use std::{cmp::Reverse, fs, slice::from_ref, sync::Arc};

use chrono::Utc;
use protocol::{
    certificate::{self, Certificate},
    enrolment::State,
    hash::KeyHash,
    node_id::NodeId,
    node_list::NodeList,
    smime,
};
use relayd::{
    config::DatabaseUrl,
    db::Database,
    metrics::CompatibleMetrics,
    nodes::NodeTable,
    registry::{
        self, Followed,
        admin::{self, Accept, Filter},
        record::NodeState,
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    common::fleet::config_of,
    on_both,
    rig::{HOUR, Machine, Place, until},
};

on_both!(
    the_files_are_as_the_registry_is,
    the_root_is_in_the_list_with_the_keys_of_its_certificates,
    keys_of_the_root_that_were_replaced_stay_so,
    a_list_that_was_there_is_taken_over,
    a_list_is_taken_over_whole_or_not_at_all,
    what_the_files_said_last_counts_when_the_registry_becomes_the_source,
    the_registry_follows_files_of_another_program,
    which_key_of_a_list_is_the_current_one_stays_so,
    a_root_that_nobody_can_ask_works,
    a_node_of_which_only_the_hash_was_known_can_change_its_key,
    what_the_registry_has_of_a_list_is_not_written_again,
);

fn list(place: &Place) -> NodeList {
    fs::read(place.path("nodeslist.json"))
        .ok()
        .and_then(|json| NodeList::from_json(&json).ok())
        .unwrap_or_default()
}

fn bundle(place: &Place, name: &str) -> Vec<Certificate> {
    fs::read(place.path(name)).ok().and_then(|pem| certificate::read_bundle(&pem).ok()).unwrap_or_default()
}

async fn the_files_are_as_the_registry_is(place: Place) {
    let root = place.start();
    let (relay, node) = (Machine::relay("r1"), Machine::new("n1"));
    let mut c = place.connect();
    root.enrol(&relay, None).await.unwrap();
    admin::accept(&mut c, from_ref(&relay.id), "op", &Accept { as_relay: true, fingerprint: None }).unwrap();
    root.enrol(&node, None).await.unwrap();
    admin::accept(&mut c, from_ref(&node.id), "op", &Accept::default()).unwrap();
    admin::move_to(&mut c, from_ref(&node.id), &relay.id).unwrap();
    until("the list", || list(&place).is_below(&node.id, &relay.id)).await;
    until("both in the bundle", || bundle(&place, "allnodescerts.pem").len() == 2).await;
    until("the direct one", || bundle(&place, "nodescerts.pem").len() == 1).await;
    assert_eq!(bundle(&place, "nodescerts.pem")[0].node_id(), Some(&relay.id));
    let entry = list(&place).get(&relay.id).cloned().unwrap();
    assert!(entry.is_relay && entry.key_hash == Some(relay.certificate.key_hash()));
    admin::revoke(&mut c, from_ref(&node.id), "op").unwrap();
    until("revoked", || list(&place).get(&node.id).is_none()).await;
    until("out of the bundle", || bundle(&place, "allnodescerts.pem").len() == 1).await;
    root.stop().await;
}

async fn the_root_is_in_the_list_with_the_keys_of_its_certificates(place: Place) {
    let (agent, gateway, newer) = (Machine::new("root"), Machine::new("root"), Machine::new("root"));
    let paths = [place.path("agent.cert"), place.path("gateway.cert"), place.path("missing")];
    fs::write(&paths[0], agent.certificate.to_pem()).unwrap();
    fs::write(&paths[1], gateway.certificate.to_pem()).unwrap();
    let own = paths.to_vec();
    let root = place.start_with(|settings| settings.own_certificates = own.clone());
    let is_root = |table: &NodeTable, machine: &Machine| {
        table.identify(&machine.certificate).is_some_and(NodeId::is_root)
    };
    let table = root.nodes.borrow().clone();
    assert!(is_root(&table, &agent) && is_root(&table, &gateway));
    assert_eq!(table.certificates(&NodeId::root()).len(), 2);
    let stranger = root.enrol(&Machine::new("root"), None).await.unwrap();
    assert_eq!(stranger.state, State::Conflict);
    assert_eq!(root.enrol(&agent, None).await.unwrap().state, State::Accepted);

    fs::write(&paths[1], newer.certificate.to_pem()).unwrap();
    root.registry.reload().await.unwrap();
    let table = root.until("the new key", |table| is_root(table, &newer)).await;
    assert!(is_root(&table, &agent) && is_root(&table, &gateway), "valid for the overlap");
    let keys = admin::get(&mut place.connect(), &NodeId::root()).unwrap().unwrap().keys;
    let ending: Vec<_> = keys.iter().filter(|key| key.valid_until.is_some()).collect();
    assert_eq!(ending.len(), 1);
    assert_eq!(ending[0].key_hash, gateway.certificate.key_hash());
    root.stop().await;
}

async fn keys_of_the_root_that_were_replaced_stay_so(place: Place) {
    let (agent, gateway, newer) = (Machine::new("root"), Machine::new("root"), Machine::new("root"));
    let paths = [place.path("agent.cert"), place.path("gateway.cert")];
    fs::write(&paths[0], agent.certificate.to_pem()).unwrap();
    fs::write(&paths[1], gateway.certificate.to_pem()).unwrap();
    let start = || place.start_with(|settings| settings.own_certificates = paths.to_vec());
    let root = start();
    let message = smime::sign(&newer.request_pem(None), &agent.certificate, &agent.key).unwrap();
    assert_eq!(root.registry.roll_over(&agent.id, message).await.unwrap().state, State::Accepted);
    let check = |when: &str| {
        let keys = admin::get(&mut place.connect(), &NodeId::root()).unwrap().unwrap().keys;
        let is_current = |machine: &Machine| {
            let hash = machine.certificate.key_hash();
            keys.iter().any(|key| key.key_hash == hash && key.valid_until.is_none())
        };
        assert!(is_current(&newer) && is_current(&gateway) && !is_current(&agent), "{when}: {keys:?}");
    };
    check("announced");
    root.registry.reload().await.unwrap();
    check("before the agent uses it");
    fs::write(&paths[0], newer.certificate.to_pem()).unwrap();
    root.registry.reload().await.unwrap();
    check("in use");
    root.stop().await;
    fs::write(&paths[0], agent.certificate.to_pem()).unwrap();
    let root = start();
    check("with the old files again");
    root.stop().await;
}

/// A list as another program writes it: node `a` with a certificate, node `b` with a hash only.
fn write_files(place: &Place, nodes: &[&Machine]) {
    let entry = |machine: &&Machine| {
        let hash = machine.certificate.key_hash().to_string();
        let json = serde_json::json!(
            {"hostname": machine.hostname, "policy-server": "root", "key-hash": hash});
        (machine.id.to_string(), json)
    };
    let list: serde_json::Map<_, _> = nodes.iter().map(entry).collect();
    fs::write(place.path("nodeslist.json"), serde_json::Value::Object(list).to_string()).unwrap();
    fs::write(place.path("allnodescerts.pem"), nodes[0].certificate.to_pem()).unwrap();
}

async fn a_list_that_was_there_is_taken_over(place: Place) {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    write_files(&place, &[&a, &b]);
    let root = place.start();
    let table = root.nodes.borrow().clone();
    for machine in [&a, &b] {
        assert_eq!(table.identify(&machine.certificate), Some(&machine.id));
        assert_eq!(root.enrol(machine, None).await.unwrap().state, State::Accepted);
    }
    assert_eq!((table.certificates(&a.id).len(), table.signing_keys(&a.id).len()), (1, 1));
    root.stop().await;
    // Once only: what the registry says wins from then on.
    admin::revoke(&mut place.connect(), from_ref(&b.id), "op").unwrap();
    write_files(&place, &[&a, &b]);
    let root = place.start();
    assert!(!root.nodes.borrow().knows(&b.id));
    root.stop().await;
}

async fn a_list_is_taken_over_whole_or_not_at_all(place: Place) {
    let nodes: serde_json::Map<_, _> = (0..700)
        .map(|i| (format!("n{i:03}"), serde_json::json!({"hostname": "h", "policy-server": "root"})))
        .collect();
    fs::write(place.path("nodeslist.json"), serde_json::Value::Object(nodes).to_string()).unwrap();
    let (obstacle, away) = match &place.url {
        DatabaseUrl::Sqlite(_) => (
            "CREATE TRIGGER brittle BEFORE INSERT ON node WHEN NEW.nodeid = 'n600' \
             BEGIN SELECT RAISE(ABORT, 'brittle'); END",
            "DROP TRIGGER brittle",
        ),
        DatabaseUrl::Postgres(_) => (
            "ALTER TABLE node ADD CONSTRAINT brittle CHECK (nodeid <> 'n600')",
            "ALTER TABLE node DROP CONSTRAINT brittle",
        ),
    };
    let mut c = place.connect();
    c.execute(obstacle).unwrap();
    let database = Database::open(&config_of(place.url.clone())).unwrap();
    let metrics = prometheus::Registry::new();
    let compatible = CompatibleMetrics::new(&metrics).unwrap();
    assert!(registry::start(place.settings(), database, &metrics, compatible).is_err());
    c.execute(away).unwrap();
    let root = place.start();
    assert_eq!(root.nodes.borrow().list().len(), 701);
    root.stop().await;
}

async fn what_the_files_said_last_counts_when_the_registry_becomes_the_source(place: Place) {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    write_files(&place, &[&a]);
    let table = relayd::nodes::read_files(&place.settings().general).unwrap();
    let (_sender, nodes) = watch::channel(Arc::new(table));
    let stop = CancellationToken::new();
    let database = Database::open(&config_of(place.url.clone())).unwrap();
    let task = tokio::spawn(Followed::new(database, nodes, HOUR).run(stop.clone()));
    until("a", || admin::get(&mut place.connect(), &a.id).unwrap().is_some()).await;
    stop.cancel();
    task.await.unwrap().unwrap();

    write_files(&place, &[&a, &b]);
    let root = place.start();
    assert!(root.nodes.borrow().knows(&a.id) && root.nodes.borrow().knows(&b.id));
    root.stop().await;
}

async fn the_registry_follows_files_of_another_program(place: Place) {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let table = |machines: &[&Machine]| {
        write_files(&place, machines);
        let general = place.settings().general;
        Arc::new(relayd::nodes::read_files(&general).unwrap())
    };
    let (sender, nodes) = watch::channel(Arc::<NodeTable>::default());
    let stop = CancellationToken::new();
    let database = Database::open(&config_of(place.url.clone())).unwrap();
    let task = tokio::spawn(Followed::new(database, nodes, HOUR).run(stop.clone()));
    let states = || {
        let nodes = admin::list(&mut place.connect(), &Filter::default()).unwrap();
        nodes.into_iter().map(|node| (node.node_id.to_string(), node.state)).collect::<Vec<_>>()
    };
    let is = |id: &str, state| (id.to_owned(), state);
    sender.send_replace(table(&[&a, &b]));
    until("both", || states() == [is("a", NodeState::Accepted), is("b", NodeState::Accepted)]).await;
    sender.send_replace(table(&[&a]));
    until("b is gone", || states() == [is("a", NodeState::Accepted), is("b", NodeState::Revoked)]).await;
    let newer = Machine::new("a");
    sender.send_replace(table(&[&newer, &b]));
    until("b is back", || states() == [is("a", NodeState::Accepted), is("b", NodeState::Accepted)]).await;
    let details = || admin::get(&mut place.connect(), &a.id).unwrap().unwrap();
    until("the new key", || details().node.key_hash == Some(newer.certificate.key_hash())).await;
    assert_eq!(details().node.decided_by.as_deref(), Some("node list"));
    stop.cancel();
    task.await.unwrap().unwrap();
}

/// A list with these keys of node `a`, the current one first.
fn write_keys(place: &Place, keys: &[&Machine]) -> NodeList {
    let hashes: Vec<_> = keys.iter().map(|machine| machine.certificate.key_hash().to_string()).collect();
    let json = serde_json::json!({"a": {"hostname": "a.example.org", "policy-server": "root",
        "key-hash": hashes[0], "other-key-hashes": hashes[1..]}});
    fs::write(place.path("nodeslist.json"), json.to_string()).unwrap();
    let pem: Vec<u8> = keys.iter().flat_map(|machine| machine.certificate.to_pem()).collect();
    fs::write(place.path("allnodescerts.pem"), pem).unwrap();
    list(place)
}

/// A node changed its key, and the list was written during the overlap.
async fn which_key_of_a_list_is_the_current_one_stays_so(place: Place) {
    let mut keys: Vec<_> = (0..4).map(|_| Machine::new("a")).collect();
    // However hashes are sorted, this is not their order.
    keys.sort_by_key(|machine| Reverse(machine.certificate.key_hash().to_string()));
    keys.swap(0, 2);
    let [first, second, third, fourth] = &keys[..] else { panic!("four") };
    let state = |hash: &KeyHash| {
        let keys = admin::get(&mut place.connect(), &first.id).unwrap().map_or_else(Vec::new, |a| a.keys);
        let found = keys.into_iter().find(|key| key.key_hash == *hash);
        found.map(|key| key.valid_until.map(|end| end > Utc::now()))
    };
    let states = |machines: [&Machine; 3]| machines.map(|machine| state(&machine.certificate.key_hash()));
    let (current, replaced, ended) = (Some(None), Some(Some(true)), Some(Some(false)));

    write_keys(&place, &[first, second]);
    let read = || Arc::new(relayd::nodes::read_files(&place.settings().general).unwrap());
    let (sender, nodes) = watch::channel(read());
    let stop = CancellationToken::new();
    let database = Database::open(&config_of(place.url.clone())).unwrap();
    let task = tokio::spawn(Followed::new(database, nodes, HOUR).run(stop.clone()));
    until("the list", || states([first, second, third]) == [current, replaced, None]).await;
    write_keys(&place, &[third, first]);
    sender.send_replace(read());
    until("another roll", || states([third, first, second]) == [current, replaced, ended]).await;
    let version = || {
        let sql = "SELECT version AS number FROM node WHERE nodeid = 'a'";
        place.connect().number(sql, &[]).unwrap()
    };
    let before = version();
    let mut json: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("nodeslist.json")).unwrap()).unwrap();
    json["b"] = serde_json::json!({"hostname": "b", "policy-server": "root"});
    fs::write(place.path("nodeslist.json"), json.to_string()).unwrap();
    sender.send_replace(read());
    let b = Machine::new("b");
    until("b", || admin::get(&mut place.connect(), &b.id).unwrap().is_some()).await;
    assert_eq!(version(), before, "the same keys again change nothing");
    // What the files say counts, even when it is the older one.
    write_keys(&place, &[first, third]);
    sender.send_replace(read());
    until("back again", || states([first, third, second]) == [current, replaced, ended]).await;
    stop.cancel();
    task.await.unwrap().unwrap();

    // Without what the registry has seen before, the order of the others is that of the list.
    admin::delete(&mut place.connect(), from_ref(&first.id)).unwrap();
    let written = write_keys(&place, &[first, fourth, second, third]);
    let root = place.start();
    until("written again", || list(&place).get(&NodeId::root()).is_some()).await;
    assert_eq!(list(&place).get(&first.id), written.get(&first.id));
    assert_eq!(root.nodes.borrow().list().get(&first.id), written.get(&first.id));
    assert_eq!(states([fourth, second, third]), [replaced; 3]);
    root.stop().await;
}

/// Without a gateway nobody keeps a handle.
async fn a_root_that_nobody_can_ask_works(place: Place) {
    let a = Machine::new("a");
    write_files(&place, &[&a]);
    let database = Database::open(&config_of(place.url.clone())).unwrap();
    let metrics = prometheus::Registry::new();
    let compatible = CompatibleMetrics::new(&metrics).unwrap();
    let running = registry::start(place.settings(), database, &metrics, compatible).unwrap();
    let nodes = running.nodes.clone();
    let stop = CancellationToken::new();
    let task = tokio::spawn(running.run(stop.clone()));
    assert!(nodes.borrow().knows(&a.id));
    admin::revoke(&mut place.connect(), from_ref(&a.id), "op").unwrap();
    until("revoked", || task.is_finished() || !nodes.borrow().knows(&a.id)).await;
    assert!(!task.is_finished(), "{:?}", task.await);
    stop.cancel();
    task.await.unwrap().unwrap();
}

async fn a_node_of_which_only_the_hash_was_known_can_change_its_key(place: Place) {
    let (a, b, newer) = (Machine::new("a"), Machine::new("b"), Machine::new("b"));
    write_files(&place, &[&a, &b]);
    let root = place.start();
    let message = || smime::sign(&newer.request_pem(None), &b.certificate, &b.key).unwrap();
    let error = root.registry.roll_over(&b.id, message()).await.unwrap_err().to_string();
    assert!(error.contains("agent enroll"), "says what helps: {error}");
    assert_eq!(root.enrol(&b, None).await.unwrap().state, State::Accepted);
    assert_eq!(root.registry.roll_over(&b.id, message()).await.unwrap().state, State::Accepted);
    root.stop().await;
}

async fn what_the_registry_has_of_a_list_is_not_written_again(place: Place) {
    let machine = Machine::new("a");
    let table = |certificates: std::ops::Range<i64>| {
        write_files(&place, &[&machine]);
        let pem: Vec<u8> = certificates
            .flat_map(|_| Machine::with_key("a", machine.key.clone()).certificate.to_pem())
            .collect();
        fs::write(place.path("allnodescerts.pem"), pem).unwrap();
        Arc::new(relayd::nodes::read_files(&place.settings().general).unwrap())
    };
    let (many, other) = (table(0..30), table(0..20));
    let (sender, nodes) = watch::channel(many.clone());
    let database = Database::open(&config_of(place.url.clone())).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(Followed::new(database, nodes, HOUR).run(stop.clone()));
    let known = || admin::get(&mut place.connect(), &machine.id).unwrap().map(|node| node.certificates);
    let fingerprints = || known().unwrap().into_iter().map(|one| one.fingerprint).collect::<Vec<_>>();
    let version = || place.connect().number("SELECT version AS number FROM node_registry", &[]).unwrap();
    until("known", || known().is_some_and(|all| all.len() == 16)).await;
    let (before, first) = (version(), fingerprints());
    // Each is looked at after the one before it.
    sender.send_replace(many);
    sender.send_replace(other.clone());
    until("the others", || fingerprints() != first && fingerprints().len() == 16).await;
    assert_eq!(version(), before + 1, "one change");
    let second = fingerprints();
    sender.send_replace(other);
    sender.send_replace(table(0..1));
    until("the only one", || fingerprints().len() == 1).await;
    assert_eq!(version(), before + 2, "one more change");
    assert!(second.iter().all(|one| !first.contains(one)));
    stop.cancel();
    task.await.unwrap().unwrap();
}
