// SPDX-License-Identifier: Apache-2.0
//! The files of protocol 5: written by the registry, or followed by it.

use std::{fs, slice::from_ref};

use protocol::{
    certificate::{self, Certificate},
    enrolment::State,
    node_id::NodeId,
    node_list::NodeList,
};
use relayd::{
    db::Database,
    nodes::NodeTable,
    registry::{
        Followed,
        admin::{self, Accept, Filter},
        record::NodeState,
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    common::fleet::config_of,
    on_both,
    rig::{Machine, Place, until},
};

on_both!(
    the_files_are_as_the_registry_is,
    the_root_is_in_the_list_with_the_keys_of_its_certificates,
    a_list_that_was_there_is_taken_over,
    the_registry_follows_files_of_another_program,
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

async fn the_registry_follows_files_of_another_program(place: Place) {
    let (a, b) = (Machine::new("a"), Machine::new("b"));
    let table = |machines: &[&Machine]| {
        write_files(&place, machines);
        let general = place.settings().general;
        std::sync::Arc::new(relayd::nodes::read_files(&general).unwrap())
    };
    let (sender, nodes) = watch::channel(std::sync::Arc::<NodeTable>::default());
    let stop = CancellationToken::new();
    let database = Database::open(&config_of(place.url.clone())).unwrap();
    let task = tokio::spawn(Followed::new(database, nodes).run(stop.clone()));
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
