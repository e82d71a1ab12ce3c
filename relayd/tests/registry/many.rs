// SPDX-License-Identifier: Apache-2.0
//! Many at once: two roots on one database, a database that goes away, a thousand newcomers.

use std::{collections::HashSet, slice::from_ref, sync::Arc, time::Duration};

use protocol::{
    enrolment::State,
    node_id::NodeId,
    private_key::{self, KeyKind},
};
use relayd::{
    config::DatabaseUrl,
    registry::{
        RegistryError,
        admin::{self, Accept, Filter},
        record::NodeState,
    },
};

use crate::{
    common::cluster::Cluster,
    on_both,
    rig::{HOUR, Machine, Place, until},
};

on_both!(two_roots_take_a_thousand_nodes_in_and_none_is_lost_or_doubled, two_roots_agree);

const NODES: usize = 1000;

async fn two_roots_take_a_thousand_nodes_in_and_none_is_lost_or_doubled(place: Place) {
    let roots = [place.start(), place.start()];
    let machines: Vec<_> = (0..NODES).map(|i| Machine::new(&format!("n{i}"))).collect();
    let hosts: Vec<_> = machines.iter().map(|machine| machine.hostname.clone()).collect();
    let tokens = admin::create_tokens(&mut place.connect(), &hosts, HOUR, "op").unwrap();
    // Each node asks both roots, as one whose first answer is late does.
    let asked = machines.iter().zip(&tokens).flat_map(|(machine, token)| {
        roots.iter().map(move |root| async move {
            loop {
                match root.enrol(machine, Some(&token.text)).await {
                    Ok(answer) => return answer.state,
                    Err(RegistryError::Down(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
    });
    let states = futures_util::future::join_all(asked).await;
    assert!(states.iter().all(|state| *state == State::Accepted));
    let used: HashSet<_> = admin::list_tokens(&mut place.connect())
        .unwrap()
        .into_iter()
        .filter_map(|token| token.used_by)
        .collect();
    assert_eq!(used.len(), NODES);
    assert_eq!(admin::list(&mut place.connect(), &Filter::default()).unwrap().len(), NODES + 1);
    for root in roots {
        let table = root.until("all", |table| table.list().len() == NODES + 1).await;
        assert!(machines.iter().all(|machine| table.identify(&machine.certificate) == Some(&machine.id)));
        root.stop().await;
    }
}

async fn two_roots_agree(place: Place) {
    let roots = [place.start(), place.start()];
    let (first, second) = (Machine::new("n1"), Machine::new("n1"));
    let (one, two) = tokio::join!(roots[0].enrol(&first, None), roots[1].enrol(&second, None));
    let states = [one.unwrap().state, two.unwrap().state];
    assert!(states.contains(&State::Pending) && states.contains(&State::Conflict), "{states:?}");
    admin::accept(&mut place.connect(), from_ref(&first.id), "op", &Accept::default()).unwrap();
    let mut keys = HashSet::new();
    for root in &roots {
        let table = root.until("accepted", |table| table.knows(&first.id)).await;
        keys.insert(table.list().get(&first.id).unwrap().key_hash.clone());
    }
    assert_eq!(keys.len(), 1, "one key has the id, on both");
    admin::delete(&mut place.connect(), from_ref(&first.id)).unwrap();
    for root in roots {
        root.until("deleted", |table| !table.knows(&first.id)).await;
        root.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_down_nodes_stay_and_newcomers_are_put_off() {
    let cluster = Cluster::start("on");
    let url = DatabaseUrl::Postgres(cluster.url("postgres", &cluster.create_database()));
    let place = Place { url, directory: tempfile::tempdir().unwrap() };
    let root = place.start();
    let machine = Machine::new("n1");
    root.enrol(&machine, None).await.unwrap();
    admin::accept(&mut place.connect(), from_ref(&machine.id), "op", &Accept::default()).unwrap();
    root.until("accepted", |table| table.knows(&machine.id)).await;

    cluster.down();
    let other = Machine::new("n2");
    assert!(matches!(root.enrol(&other, None).await, Err(RegistryError::Down(_))));
    let up = |root: &crate::rig::Root| {
        let families = root.metrics.gather();
        let family = families.iter().find(|family| family.name() == "relayd_registry_up").unwrap();
        family.get_metric()[0].get_gauge().get_value()
    };
    until("the metric says so", || up(&root) == 0.0).await;
    assert!(root.nodes.borrow().knows(&machine.id));

    cluster.up();
    until("the database is back", || place_answers(&place)).await;
    let deadline = tokio::time::Instant::now() + crate::rig::SOON;
    let answer = loop {
        match root.enrol(&other, None).await {
            Ok(answer) => break answer,
            Err(RegistryError::Down(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(answer.state, State::Pending);
    assert_eq!(root.enrol(&machine, None).await.unwrap().state, State::Accepted, "it was committed");
    until("the metric says so", || up(&root) == 1.0).await;
    root.stop().await;
}

/// Answers may be lost, acceptances not: what a node was told is committed, and no token serves two.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_crashes_between_loses_and_doubles_nobody() {
    let cluster = Cluster::start("on");
    let url = DatabaseUrl::Postgres(cluster.url("postgres", &cluster.create_database()));
    let place = Place { url, directory: tempfile::tempdir().unwrap() };
    let root = place.start();
    let machines: Vec<_> = (0..300).map(|i| Machine::new(&format!("n{i}"))).collect();
    let hosts: Vec<_> = machines.iter().map(|machine| machine.hostname.clone()).collect();
    let tokens = admin::create_tokens(&mut place.connect(), &hosts, HOUR, "op").unwrap();
    let accepted = std::sync::atomic::AtomicUsize::new(0);
    let asked = machines.iter().zip(&tokens).enumerate().map(|(i, (machine, token))| {
        let (root, accepted) = (&root, &accepted);
        async move {
            tokio::time::sleep(Duration::from_millis(3 * i as u64)).await;
            while root.enrol(machine, Some(&token.text)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            accepted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let crash = async {
        until("some are in", || accepted.load(std::sync::atomic::Ordering::Relaxed) > 30).await;
        tokio::task::block_in_place(|| cluster.down());
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::task::block_in_place(|| cluster.up());
    };
    tokio::join!(futures_util::future::join_all(asked), crash);
    let mut c = place.connect();
    let used = admin::list_tokens(&mut c).unwrap();
    let users: HashSet<_> = used.iter().filter_map(|token| token.used_by.as_ref()).collect();
    assert_eq!(users.len(), machines.len());
    let accepted = Filter { states: vec![NodeState::Accepted], ..Filter::default() };
    assert_eq!(admin::list(&mut c, &accepted).unwrap().len(), machines.len() + 1);
    root.until("all", |table| table.list().len() == machines.len() + 1).await;
    root.stop().await;
}

/// The role that `relayd database migrate --grant-to` makes fit can do all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_create_nothing_runs_the_registry() {
    use diesel::connection::SimpleConnection;
    let owner = crate::rig::postgres();
    drop(owner.connect());
    let cluster = crate::common::cluster::shared();
    let DatabaseUrl::Postgres(url) = &owner.url else { unreachable!("it is PostgreSQL") };
    let database = url.split(['/', '?']).nth(3).unwrap();
    let role = format!("registrar_{database}");
    let revoke = "REVOKE CREATE ON SCHEMA public FROM PUBLIC";
    cluster.connect(database).batch_execute(&format!("CREATE ROLE {role} LOGIN; {revoke}")).unwrap();
    relayd::db::migrations::grant_to(&mut owner.connect(), &role).unwrap();
    let url = DatabaseUrl::Postgres(cluster.url(&role, database));
    let place = Place { url, directory: tempfile::tempdir().unwrap() };
    let root = place.start();
    let machine = Machine::new("n1");
    root.enrol(&machine, None).await.unwrap();
    root.enrol(&Machine::new("n1"), None).await.unwrap();
    let mut c = place.connect();
    admin::accept(&mut c, from_ref(&machine.id), "op", &Accept::default()).unwrap();
    root.until("accepted", |table| table.knows(&machine.id)).await;
    admin::create_tokens(&mut c, from_ref(&machine.hostname), HOUR, "op").unwrap();
    admin::resolve(&mut c, from_ref(&machine.id), "op").unwrap();
    admin::delete(&mut c, from_ref(&machine.id)).unwrap();
    root.until("deleted", |table| !table.knows(&machine.id)).await;
    root.stop().await;
}

fn place_answers(place: &Place) -> bool {
    relayd::db::Connection::open(&place.url).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_that_the_database_refuses_keeps_nobody_else_out() {
    let place = crate::rig::sqlite();
    let root = place.start();
    let poison = "CREATE TRIGGER poison BEFORE INSERT ON node WHEN NEW.nodeid = 'poison' \
                  BEGIN SELECT RAISE(ABORT, 'no such luck'); END";
    place.connect().execute(poison).unwrap();
    let machines: Vec<_> =
        (0..20).map(|i| Machine::new(&if i == 7 { "poison".to_owned() } else { format!("n{i}") })).collect();
    let asked = machines.iter().map(|machine| root.enrol(machine, None));
    let answers = futures_util::future::join_all(asked).await;
    for (machine, answer) in machines.iter().zip(answers) {
        match machine.id.as_str() {
            "poison" => assert!(matches!(answer, Err(RegistryError::Down(_))), "{answer:?}"),
            _ => assert_eq!(answer.unwrap().state, State::Pending),
        }
    }
    root.stop().await;
}

/// A list of 50,000 nodes is taken over, and one of them revoked.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_instance_is_taken_over_and_changes() {
    const MANY: usize = 50_000;
    let place = crate::rig::sqlite();
    let list: String = (0..MANY)
        .map(|i| {
            let hash = protocol::hash::KeyHash::sha256_of(format!("key {i}").as_bytes());
            let hash = serde_json::to_string(&hash).unwrap();
            format!(r#""n{i}": {{"hostname": "h{i}", "policy-server": "root", "key-hash": {hash}}}"#)
        })
        .collect::<Vec<_>>()
        .join(",\n");
    std::fs::write(place.path("nodeslist.json"), format!("{{{list}}}")).unwrap();
    // Takes them over: no node is lost when the registry becomes the source.
    let root = place.start();
    assert_eq!(root.nodes.borrow().list().len(), MANY + 1);
    let before = Arc::clone(&root.nodes.borrow());
    let node: NodeId = "n77".parse().unwrap();
    admin::revoke(&mut place.connect(), from_ref(&node), "op").unwrap();
    root.until("revoked", |table| !table.knows(&node)).await;
    assert!(before.knows(&node), "snapshots do not change");
    root.stop().await;
    let key = private_key::generate(KeyKind::P256).unwrap();
    let again = place.start();
    assert_eq!(again.nodes.borrow().list().len(), MANY);
    assert_eq!(again.enrol(&Machine::with_key("n77", key), None).await.unwrap().state, State::Conflict);
    again.stop().await;
}
