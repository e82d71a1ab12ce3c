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
    rig::{ADDRESS, HOUR, Machine, Place},
};

on_both!(
    nobody_becomes_a_relay_without_an_operator,
    nodes_hang_below_relays_only_and_can_be_moved,
    a_program_decides_about_newcomers,
    only_so_many_may_wait,
    operators_find_what_they_mean,
    a_rejected_node_hears_it_and_may_be_accepted_later,
    a_token_can_expire_and_be_taken_back,
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
    assert!(admin::move_to(&mut c, from_ref(&lower.id), &node.id).is_err(), "no relay");
    let outcomes = admin::delete(&mut c, from_ref(&lower.id)).unwrap();
    assert!(matches!(&outcomes[0].1, Outcome::Refused(why) if why.contains("below it")), "{outcomes:?}");
    assert_eq!(admin::move_to(&mut c, from_ref(&node.id), &NodeId::root()).unwrap()[0].1, Outcome::Done);
    root.until("moved", |table| !table.list().is_below(&node.id, &upper.id)).await;
    let every = admin::revoke(&mut c, &[NodeId::root(), "x".parse().unwrap()], "op").unwrap();
    assert!(matches!(&every[0].1, Outcome::Refused(_)) && every[1].1 == Outcome::NotFound, "{every:?}");
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
        enrolment.program_timeout = Duration::from_millis(500);
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
    assert_eq!(root.enrol(&machines[2], Some(&token.text)).await.unwrap().state, State::Accepted);
    root.stop().await;
    // And where none are taken in, those that are known still hear how it stands with them.
    let root = place.start_with(|settings| settings.enrolment = None);
    assert_eq!(root.enrol(&Machine::new("newer"), None).await.unwrap().state, State::Refused);
    assert_eq!(root.enrol(&machines[2], None).await.unwrap().state, State::Accepted);
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
