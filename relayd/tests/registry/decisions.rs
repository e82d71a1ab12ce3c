// SPDX-License-Identifier: Apache-2.0
//! Relays, places in the tree, the policy program, limits: who may be what, and where.

use std::{fs, os::unix::fs::PermissionsExt, slice::from_ref, time::Duration};

use protocol::{enrolment::State, node_id::NodeId};
use relayd::registry::{
    RegistryError,
    admin::{self, Accept, Filter, Outcome},
    record::{NodeState, Role, TokenState},
};

use crate::{
    on_both,
    rig::{ADDRESS, HOUR, Machine, Place, SOON, until},
};

on_both!(
    nobody_becomes_a_relay_without_an_operator,
    nodes_hang_below_relays_only_and_can_be_moved,
    a_subtree_is_not_moved_too_far_down,
    a_program_decides_about_newcomers,
    a_program_is_asked_about_a_node_once_at_a_time,
    only_so_many_may_wait,
    requests_that_nobody_repeats_lapse,
    operators_find_what_they_mean,
    a_rejected_node_hears_it_and_may_be_accepted_later,
    a_token_can_expire_and_be_taken_back,
    a_token_grants_the_host_name_and_the_place_that_it_came_with,
    what_waits_stays_what_was_looked_at,
    a_verdict_counts_only_for_what_the_program_was_asked_about,
);

async fn nobody_becomes_a_relay_without_an_operator(place: Place) {
    let root = place.start();
    let mut c = place.connect();
    let relay = Machine::relay("r1");
    let token = admin::create_tokens(&mut c, from_ref(&relay.hostname), HOUR, "op").unwrap().remove(0);
    assert_eq!(root.enrol(&relay, Some(&token.text)).await.unwrap().state, State::Pending);
    assert_eq!(admin::list_tokens(&mut c).unwrap()[0].state, TokenState::Usable, "not used up");
    let plain = Accept::default();
    let outcomes = admin::accept(&mut c, from_ref(&relay.id), "op", &plain).unwrap();
    assert!(matches!(&outcomes[0].1, Outcome::Refused(why) if why.contains("--relay")), "{outcomes:?}");
    let as_relay = Accept { as_relay: true, fingerprint: None };
    assert_eq!(admin::accept(&mut c, from_ref(&relay.id), "op", &as_relay).unwrap()[0].1, Outcome::Done);
    let table = root.until("a relay", |table| table.knows(&relay.id)).await;
    assert!(table.list().get(&relay.id).unwrap().is_relay);

    // A node can be made one, and learns what it is.
    let node = Machine::new("n1");
    root.enrol(&node, None).await.unwrap();
    admin::accept(&mut c, from_ref(&node.id), "op", &plain).unwrap();
    let asking = Machine { as_relay: true, ..node };
    let answer = root.enrol(&asking, None).await.unwrap();
    assert!(answer.state == State::Accepted && answer.detail.contains("--relay"), "{answer:?}");
    assert_eq!(admin::accept(&mut c, from_ref(&asking.id), "op", &as_relay).unwrap()[0].1, Outcome::Done);
    assert_eq!(admin::get(&mut c, &asking.id).unwrap().unwrap().node.role, Role::Relay);
    root.stop().await;
}

async fn nodes_hang_below_relays_only_and_can_be_moved(place: Place) {
    let root = place.start();
    let mut c = place.connect();
    let (upper, lower) = (Machine::relay("upper"), Machine::relay("lower"));
    let node = Machine::new("n1");
    let below =
        |machine: &Machine, id: &NodeId| root.registry.enrol(machine.request(None), id.clone(), ADDRESS);
    let answer = below(&node, &upper.id).await.unwrap();
    assert!(answer.state == State::Refused && answer.detail.contains("not a relay"), "{answer:?}");
    let as_relay = Accept { as_relay: true, fingerprint: None };
    root.enrol(&upper, None).await.unwrap();
    assert_eq!(below(&lower, &upper.id).await.unwrap().state, State::Refused, "not accepted yet");
    admin::accept(&mut c, from_ref(&upper.id), "op", &as_relay).unwrap();
    below(&lower, &upper.id).await.unwrap();
    admin::accept(&mut c, from_ref(&lower.id), "op", &as_relay).unwrap();
    below(&node, &lower.id).await.unwrap();
    admin::accept(&mut c, from_ref(&node.id), "op", &Accept::default()).unwrap();
    root.until("below", |table| table.list().is_below(&node.id, &upper.id)).await;

    let below_upper = Filter { below: Some(upper.id.clone()), ..Filter::default() };
    assert_eq!(admin::list(&mut c, &below_upper).unwrap().len(), 2);
    let outcomes = admin::move_to(&mut c, from_ref(&upper.id), &lower.id).unwrap();
    assert!(matches!(&outcomes[0].1, Outcome::Refused(why) if why.contains("below it")), "{outcomes:?}");
    let outcomes = admin::move_to(&mut c, from_ref(&upper.id), &upper.id).unwrap();
    assert!(matches!(&outcomes[0].1, Outcome::Refused(why) if why.contains("itself")), "{outcomes:?}");
    assert!(admin::move_to(&mut c, from_ref(&lower.id), &node.id).is_err(), "no relay");
    let outcomes = admin::delete(&mut c, from_ref(&lower.id)).unwrap();
    assert!(matches!(&outcomes[0].1, Outcome::Refused(why) if why.contains("below it")), "{outcomes:?}");
    assert_eq!(admin::move_to(&mut c, from_ref(&node.id), &NodeId::root()).unwrap()[0].1, Outcome::Done);
    root.until("moved", |table| !table.list().is_below(&node.id, &upper.id)).await;
    let every = admin::revoke(&mut c, &[NodeId::root(), "x".parse().unwrap()], "op").unwrap();
    assert!(matches!(&every[0].1, Outcome::Refused(_)) && every[1].1 == Outcome::NotFound, "{every:?}");
    root.stop().await;
}

async fn a_subtree_is_not_moved_too_far_down(place: Place) {
    // A chain of 20 relays; elsewhere a relay with a node below it, and a node.
    let server_of = |i: usize| if i == 1 { "root".to_owned() } else { format!("r{:02}", i - 1) };
    let chain = (1..=20).map(|i| (format!("r{i:02}"), server_of(i), "relay"));
    let others = [("r21", "root", "relay"), ("n1", "r21", "node"), ("n2", "root", "node")];
    let others = others.map(|(id, server, role)| (id.to_owned(), server.to_owned(), role));
    let nodes: serde_json::Map<_, _> = chain
        .chain(others)
        .map(|(id, server, role)| {
            (id, serde_json::json!({"hostname": "h", "policy-server": server, "role": role}))
        })
        .collect();
    fs::write(place.path("nodeslist.json"), serde_json::Value::Object(nodes).to_string()).unwrap();
    let root = place.start();
    let mut c = place.connect();
    let id = |text: &str| text.parse::<NodeId>().unwrap();
    let mut put =
        |what: &str, below: &str| admin::move_to(&mut c, &[id(what)], &id(below)).unwrap().remove(0).1;
    for (what, below) in [("r21", "r19"), ("n2", "r20")] {
        let outcome = put(what, below);
        assert!(
            matches!(&outcome, Outcome::Refused(why) if why.contains("20 levels")),
            "{what}: {outcome:?}"
        );
    }
    assert_eq!(put("r21", "r18"), Outcome::Done);
    assert_eq!(put("n2", "r19"), Outcome::Done);
    assert_eq!(put("n2", "r21"), Outcome::Done);
    root.stop().await;
}

async fn a_program_decides_about_newcomers(place: Place) {
    let script = place.path("policy");
    let text = "#!/bin/sh\ngrep -q 'BEGIN CERTIFICATE REQUEST' || exit 3\n[ \"$1\" = extra ] || exit 3\n\
                case $3 in good*) exit 0;; bad*) exit 1;; slow*) sleep 60;; esac\nexit 2\n";
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let root = place.start_with(|settings| {
        let enrolment = settings.enrolment.as_mut().unwrap();
        enrolment.program = vec![script.to_str().unwrap().into(), "extra".into()];
        // For the slow one; the others have all the time that a busy machine may need to start a program.
        enrolment.program_timeout = Duration::from_secs(5);
    });
    for (host, state) in [
        ("good.example.org", State::Accepted),
        ("bad.example.org", State::Rejected),
        ("odd.example.org", State::Pending),
        ("slow.example.org", State::Pending),
    ] {
        let machine = Machine { hostname: host.into(), ..Machine::new(&host.replace('.', "-")) };
        assert_eq!(root.enrol(&machine, None).await.unwrap().state, state, "{host}");
        assert_eq!(root.enrol(&machine, None).await.unwrap().state, state, "{host} again");
    }
    let relay = Machine { hostname: "good.example.org".into(), ..Machine::relay("r1") };
    assert_eq!(root.enrol(&relay, None).await.unwrap().state, State::Pending, "that takes an operator");
    let accepted = admin::get(&mut place.connect(), &"good-example-org".parse().unwrap()).unwrap().unwrap();
    assert_eq!(accepted.node.decided_by.as_deref(), Some("program"));
    root.stop().await;
}

async fn a_program_is_asked_about_a_node_once_at_a_time(place: Place) {
    let (script, calls, go) = (place.path("policy"), place.path("calls"), place.path("go"));
    let text = format!(
        "#!/bin/sh\necho $1 >> '{}'\nwhile [ $1 = n1 ] && [ ! -e '{}' ]; do sleep 0.05; done\n",
        calls.display(),
        go.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let root = place.start_with(|settings| {
        let enrolment = settings.enrolment.as_mut().unwrap();
        enrolment.program = vec![script.to_str().unwrap().into()];
        enrolment.program_timeout = SOON;
    });
    let calls = || fs::read_to_string(&calls).unwrap_or_default();
    let (one, other) = (Machine::new("n1"), Machine::new("n2"));
    let (registry, request) = (root.registry.clone(), one.request(None));
    let first = tokio::spawn(async move { registry.enrol(request, NodeId::root(), ADDRESS).await });
    until("the program was asked", || !calls().is_empty()).await;
    assert_eq!(root.enrol(&one, None).await.unwrap().state, State::Pending, "it is being asked");
    assert_eq!(root.enrol(&other, None).await.unwrap().state, State::Accepted, "another node need not wait");
    assert_eq!(calls(), "n1\nn2\n");
    fs::write(go, "").unwrap();
    assert_eq!(first.await.unwrap().unwrap().state, State::Accepted);
    assert_eq!(root.enrol(&one, None).await.unwrap().state, State::Accepted);
    root.stop().await;
}

async fn only_so_many_may_wait(place: Place) {
    let root = place.start_with(|settings| settings.enrolment.as_mut().unwrap().max_pending = 2);
    let machines: Vec<_> = (0..3).map(|i| Machine::new(&format!("n{i}"))).collect();
    for machine in &machines[..2] {
        root.enrol(machine, None).await.unwrap();
    }
    assert_eq!(root.enrol(&machines[2], None).await, Err(RegistryError::TooManyPending));
    assert_eq!(root.enrol(&machines[0], None).await.unwrap().state, State::Pending, "it has its place");
    let mut c = place.connect();
    let token = admin::create_tokens(&mut c, from_ref(&machines[2].hostname), HOUR, "op").unwrap().remove(0);
    let as_relay = Machine { hostname: machines[2].hostname.clone(), ..Machine::relay("n3") };
    let answer = root.enrol(&as_relay, Some(&token.text)).await;
    assert_eq!(answer, Err(RegistryError::TooManyPending), "it would wait, token or not");
    assert_eq!(root.enrol(&machines[2], Some(&token.text)).await.unwrap().state, State::Accepted);
    root.stop().await;
    // And where none are taken in, those that are known still hear how it stands with them.
    let root = place.start_with(|settings| settings.enrolment = None);
    assert_eq!(root.enrol(&Machine::new("newer"), None).await.unwrap().state, State::Refused);
    assert_eq!(root.enrol(&machines[2], None).await.unwrap().state, State::Accepted);
    root.stop().await;
}

async fn requests_that_nobody_repeats_lapse(place: Place) {
    let root = place.start();
    let (patient, gone, accepted) = (Machine::new("n1"), Machine::new("n2"), Machine::new("n3"));
    for machine in [&patient, &gone, &accepted] {
        root.enrol(machine, None).await.unwrap();
    }
    let mut c = place.connect();
    admin::accept(&mut c, from_ref(&accepted.id), "op", &Accept::default()).unwrap();
    c.execute("UPDATE node SET requested = requested - 8 * 86400").unwrap();
    assert_eq!(root.enrol(&patient, None).await.unwrap().state, State::Pending);
    root.stop().await;

    let root = place.start();
    let known: Vec<_> = admin::list(&mut c, &Filter::default())
        .unwrap()
        .into_iter()
        .map(|node| node.node_id.to_string())
        .filter(|id| id != "root")
        .collect();
    assert_eq!(known, ["n1", "n3"]);
    let families = root.metrics.gather();
    let lapsed = families.iter().find(|family| family.name() == "relayd_enrolment_lapsed_total").unwrap();
    assert!((lapsed.get_metric()[0].get_counter().get_value() - 1.0).abs() < f64::EPSILON);
    assert_eq!(root.enrol(&gone, None).await.unwrap().state, State::Pending, "it may ask again");
    root.stop().await;
}

async fn operators_find_what_they_mean(place: Place) {
    let root = place.start();
    let ids = ["e745a140-40bc-4b86-b6dc-084488fc906b", "e745a140-0000-4b86-b6dc-084488fc906b"];
    for (id, host) in ids.iter().zip(["web1.example.org", "db1.example.org"]) {
        let machine = Machine { hostname: host.into(), ..Machine::new(id) };
        root.enrol(&machine, None).await.unwrap();
    }
    let mut c = place.connect();
    for text in [ids[0], "e745a140-40bc", "WEB1.example.org"] {
        assert_eq!(admin::find(&mut c, text).unwrap().as_str(), ids[0], "{text}");
    }
    for (text, expected) in [("e745a140", "may be any"), ("e745", "no node"), ("web1", "no node")] {
        let error = admin::find(&mut c, text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let named = |name: &str| Filter { name: Some(name.into()), ..Filter::default() };
    assert_eq!(admin::list(&mut c, &named("*.EXAMPLE.org")).unwrap().len(), 2);
    assert_eq!(admin::list(&mut c, &named("web*")).unwrap().len(), 1);
    let pending = Filter { states: vec![NodeState::Pending], ..Filter::default() };
    assert_eq!(admin::list(&mut c, &pending).unwrap().len(), 2);
    let silent = Filter { silent_for: Some(HOUR), states: vec![NodeState::Pending], ..Filter::default() };
    assert_eq!(admin::list(&mut c, &silent).unwrap().len(), 2, "never heard of");
    let json = serde_json::to_value(admin::get(&mut c, &ids[0].parse().unwrap()).unwrap()).unwrap();
    assert_eq!((json["state"].as_str(), json["policy_server"].as_str()), (Some("pending"), Some("root")));
    assert!(json["keys"][0]["key_hash"].as_str().unwrap().starts_with("sha256//"), "{json}");
    root.stop().await;
}

async fn a_rejected_node_hears_it_and_may_be_accepted_later(place: Place) {
    let root = place.start();
    let machine = Machine::new("n1");
    root.enrol(&machine, None).await.unwrap();
    let mut c = place.connect();
    assert_eq!(admin::reject(&mut c, from_ref(&machine.id), "op").unwrap()[0].1, Outcome::Done);
    assert_eq!(root.enrol(&machine, None).await.unwrap().state, State::Rejected);
    let outcomes = admin::revoke(&mut c, from_ref(&machine.id), "op").unwrap();
    assert!(matches!(&outcomes[0].1, Outcome::Refused(_)), "{outcomes:?}");
    admin::accept(&mut c, from_ref(&machine.id), "op", &Accept::default()).unwrap();
    assert_eq!(root.enrol(&machine, None).await.unwrap().state, State::Accepted);
    root.stop().await;
}

async fn a_token_can_expire_and_be_taken_back(place: Place) {
    let root = place.start();
    let mut c = place.connect();
    let machine = Machine::new("n1");
    let host = from_ref(&machine.hostname);
    let expired = admin::create_tokens(&mut c, host, Duration::ZERO, "op").unwrap().remove(0);
    let revoked = admin::create_tokens(&mut c, host, HOUR, "op").unwrap().remove(0);
    assert_eq!(admin::revoke_token(&mut c, &revoked.text).unwrap().state, TokenState::Revoked);
    for (token, word) in [(&expired, "expired"), (&revoked, "revoked")] {
        let answer = root.enrol(&machine, Some(&token.text)).await.unwrap();
        assert!(answer.state == State::Refused && answer.detail.contains(word), "{answer:?}");
    }
    assert!(admin::get(&mut c, &machine.id).unwrap().is_none(), "nothing is kept of who was refused");
    assert!(admin::revoke_token(&mut c, "nonsense").is_err());
    assert!(admin::create_tokens(&mut c, &["a b".into()], HOUR, "op").is_err());
    root.stop().await;
}

async fn a_token_grants_the_host_name_and_the_place_that_it_came_with(place: Place) {
    let root = place.start();
    let mut c = place.connect();
    let relay = Machine::relay("r1");
    root.enrol(&relay, None).await.unwrap();
    let as_db = Machine { hostname: "db.example.org".into(), ..Machine::new("n1") };
    root.enrol(&as_db, None).await.unwrap();
    let as_web = Machine { hostname: "web.example.org".into(), ..as_db };
    let token = admin::create_tokens(&mut c, from_ref(&as_web.hostname), HOUR, "op").unwrap().remove(0);
    let below_relay = || root.registry.enrol(as_web.request(Some(&token.text)), relay.id.clone(), ADDRESS);
    let answer = below_relay().await.unwrap();
    assert!(answer.state == State::Refused && answer.detail.contains("not a relay"), "{answer:?}");
    assert_eq!(admin::list_tokens(&mut c).unwrap()[0].state, TokenState::Usable, "not used up");
    let as_relay = Accept { as_relay: true, fingerprint: None };
    admin::accept(&mut c, from_ref(&relay.id), "op", &as_relay).unwrap();
    assert_eq!(below_relay().await.unwrap().state, State::Accepted);
    let node = admin::get(&mut c, &as_web.id).unwrap().unwrap().node;
    assert_eq!((node.hostname, node.policy_server), (as_web.hostname, relay.id));
    root.stop().await;
}

async fn what_waits_stays_what_was_looked_at(place: Place) {
    let root = place.start();
    let mut c = place.connect();
    let relay = Machine::relay("r1");
    root.enrol(&relay, None).await.unwrap();
    let as_relay = Accept { as_relay: true, fingerprint: None };
    admin::accept(&mut c, from_ref(&relay.id), "op", &as_relay).unwrap();
    let first = Machine { hostname: "web.example.org".into(), ..Machine::new("n1") };
    assert!(!root.enrol(&first, None).await.unwrap().detail.contains("delete"));
    let later = Machine { hostname: "db.example.org".into(), ..first };
    let answer = root.registry.enrol(later.request(None), relay.id.clone(), ADDRESS).await.unwrap();
    assert!(
        answer.state == State::Pending && answer.detail.contains("web.example.org below root"),
        "{answer:?}"
    );
    let node = admin::get(&mut c, &later.id).unwrap().unwrap().node;
    assert_eq!((&*node.hostname, node.policy_server), ("web.example.org", NodeId::root()));
    root.stop().await;
}

/// The program answers `$1` when a file is there; meanwhile the row becomes another one.
async fn a_verdict_counts_only_for_what_the_program_was_asked_about(place: Place) {
    let (script, asked, go) = (place.path("policy"), place.path("asked"), place.path("go"));
    let text = format!(
        "#!/bin/sh\n[ \"$2\" = good.example.org ] || exit 2\necho > '{}'\nwhile [ ! -e '{}' ]; do sleep 0.05; done\n",
        asked.display(),
        go.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let root = place.start_with(|settings| {
        let enrolment = settings.enrolment.as_mut().unwrap();
        enrolment.program = vec![script.to_str().unwrap().into()];
        enrolment.program_timeout = SOON;
    });
    let good = Machine { hostname: "good.example.org".into(), ..Machine::new("n1") };
    let registry = root.registry.clone();
    let request = good.request(None);
    let first = tokio::spawn(async move { registry.enrol(request, NodeId::root(), ADDRESS).await });
    until("the program was asked", || asked.exists()).await;
    let mut c = place.connect();
    admin::delete(&mut c, from_ref(&good.id)).unwrap();
    let other = Machine { hostname: "other.example.org".into(), ..good };
    assert_eq!(root.enrol(&other, None).await.unwrap().state, State::Pending);
    fs::write(go, "").unwrap();
    assert_eq!(first.await.unwrap().unwrap().state, State::Pending);
    assert_eq!(admin::get(&mut c, &other.id).unwrap().unwrap().node.state, NodeState::Pending);
    root.stop().await;
}
