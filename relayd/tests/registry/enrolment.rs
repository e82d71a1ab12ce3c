// SPDX-License-Identifier: Apache-2.0
//! Nodes come in, by hand and by token, and go.

use std::collections::HashSet;

use protocol::enrolment::State;
use relayd::registry::{
    admin::{self, Accept, Filter, Outcome},
    record::{ConflictKind, NodeState, TokenState},
};

use crate::{
    on_both,
    rig::{ADDRESS, HOUR, Machine, Place},
};

on_both!(
    a_node_is_accepted_by_hand_and_revoked,
    a_token_lets_one_node_in_whoever_else_tries,
    the_first_key_keeps_the_id,
    ever_new_keys_and_certificates_make_no_more_rows,
);

async fn a_node_is_accepted_by_hand_and_revoked(place: Place) {
    let root = place.start();
    let machine = Machine::new("n1");
    let answer = root.enrol(&machine, None).await.unwrap();
    assert_eq!((answer.state, answer.retry_after), (State::Pending, Some(5)));
    assert!(answer.detail.contains(&machine.certificate.key_hash().to_string()), "{}", answer.detail);
    assert!(!root.nodes.borrow().knows(&machine.id));

    let mut c = place.connect();
    let ids = [machine.id.clone()];
    let other = Accept { fingerprint: Some(Machine::new("x").certificate.key_hash()), as_relay: false };
    let outcomes = admin::accept(&mut c, &ids, "op", &other).unwrap();
    assert!(matches!(&outcomes[0].1, Outcome::Refused(why) if why.contains("fingerprint")), "{outcomes:?}");
    let right = Accept { fingerprint: Some(machine.certificate.key_hash()), as_relay: false };
    assert_eq!(admin::accept(&mut c, &ids, "op", &right).unwrap()[0].1, Outcome::Done);
    assert_eq!(admin::accept(&mut c, &ids, "op", &right).unwrap()[0].1, Outcome::Unchanged);
    let table = root.until("accepted", |table| table.knows(&machine.id)).await;
    assert_eq!(table.identify(&machine.certificate), Some(&machine.id));
    assert_eq!(table.certificates(&machine.id).len(), 1);
    assert_eq!(root.enrol(&machine, None).await.unwrap().state, State::Accepted);
    let details = admin::get(&mut c, &machine.id).unwrap().unwrap();
    assert_eq!((details.node.state, details.node.decided_by.as_deref()), (NodeState::Accepted, Some("op")));

    assert_eq!(admin::revoke(&mut c, &ids, "op").unwrap()[0].1, Outcome::Done);
    root.until("revoked", |table| !table.knows(&machine.id)).await;
    assert_eq!(root.enrol(&machine, None).await.unwrap().state, State::Revoked);
    // Whoever has its key does not come back with a token either.
    let token = admin::create_tokens(&mut c, std::slice::from_ref(&machine.hostname), HOUR, "op").unwrap();
    assert_eq!(root.enrol(&machine, Some(&token[0].text)).await.unwrap().state, State::Revoked);

    assert_eq!(admin::delete(&mut c, &ids).unwrap()[0].1, Outcome::Done);
    assert_eq!(root.enrol(&Machine::new("n1"), Some(&token[0].text)).await.unwrap().state, State::Accepted);
    root.stop().await;
}

async fn a_token_lets_one_node_in_whoever_else_tries(place: Place) {
    let root = place.start();
    let mut c = place.connect();
    let host = "web.example.org".to_owned();
    let token = admin::create_tokens(&mut c, std::slice::from_ref(&host), HOUR, "op").unwrap().remove(0);
    let other_host = root.enrol(&Machine::new("other"), Some(&token.text)).await.unwrap();
    assert_eq!(other_host.state, State::Refused);
    assert!(other_host.detail.contains("host"), "{}", other_host.detail);

    let machines: Vec<_> = (0..50)
        .map(|i| Machine { hostname: host.to_uppercase(), ..Machine::new(&format!("n{i}")) })
        .collect();
    let asked = machines.iter().map(|machine| root.enrol(machine, Some(&token.text)));
    let answers = futures_util::future::join_all(asked).await;
    let accepted: Vec<_> =
        answers.iter().flatten().filter(|answer| answer.state == State::Accepted).collect();
    assert_eq!(accepted.len(), 1, "{answers:?}");
    let used = admin::list_tokens(&mut c).unwrap().remove(0);
    assert_eq!((used.state, used.used_by.as_ref()), (TokenState::Used, Some(&accepted[0].node_id)));
    assert_eq!(admin::list(&mut c, &Filter::default()).unwrap().len(), 2, "the root and this one");

    // The answer was lost: the node asks again, with the token that it used.
    let again = machines.iter().find(|machine| machine.id == accepted[0].node_id).unwrap();
    assert_eq!(root.enrol(again, Some(&token.text)).await.unwrap().state, State::Accepted);
    for bad in ["nonsense", "0123456789ab-AAAA", &format!("{}-x", token.record.id)] {
        let answer = root.enrol(&Machine::new("z"), Some(bad)).await.unwrap();
        assert_eq!(answer.state, State::Refused, "{bad}");
    }
    root.stop().await;
}

async fn the_first_key_keeps_the_id(place: Place) {
    let root = place.start();
    let (first, second) = (Machine::new("n1"), Machine::new("n1"));
    root.enrol(&first, None).await.unwrap();
    for _ in 0..3 {
        assert_eq!(root.enrol(&second, None).await.unwrap().state, State::Conflict);
    }
    let same_key = Machine::with_key("n2", first.key.clone());
    assert_eq!(root.enrol(&same_key, None).await.unwrap().state, State::Conflict);
    assert_eq!(root.enrol(&first, None).await.unwrap().state, State::Pending);
    assert_eq!(root.enrol(&Machine::new("root"), None).await.unwrap().state, State::Conflict);

    let mut c = place.connect();
    let details = admin::get(&mut c, &first.id).unwrap().unwrap();
    assert_eq!(details.node.key_hash, Some(first.certificate.key_hash()));
    let conflicts: HashSet<_> = details.conflicts.iter().map(|c| (c.kind, c.count)).collect();
    assert_eq!(conflicts, [(ConflictKind::OtherKey, 3), (ConflictKind::OtherId, 1)].into());
    let other_key = details.conflicts.iter().find(|c| c.kind == ConflictKind::OtherKey).unwrap();
    assert_eq!(other_key.key_hash, Some(second.certificate.key_hash()));
    assert_eq!(other_key.address.as_deref(), Some(&*ADDRESS.to_string()));
    assert_eq!(admin::list(&mut c, &Filter { conflicts: true, ..Filter::default() }).unwrap().len(), 2);
    assert_eq!(admin::resolve(&mut c, std::slice::from_ref(&first.id), "op").unwrap()[0].1, Outcome::Done);
    assert!(admin::get(&mut c, &first.id).unwrap().unwrap().conflicts.iter().all(|c| c.resolved.is_some()));
    root.stop().await;
}

async fn ever_new_keys_and_certificates_make_no_more_rows(place: Place) {
    let root = place.start();
    let first = Machine::new("n1");
    root.enrol(&first, None).await.unwrap();
    for _ in 0..25 {
        assert_eq!(root.enrol(&Machine::new("n1"), None).await.unwrap().state, State::Conflict);
        // The same key in another certificate.
        root.enrol(&Machine::with_key("n1", first.key.clone()), None).await.unwrap();
    }
    let details = admin::get(&mut place.connect(), &first.id).unwrap().unwrap();
    assert_eq!(details.conflicts.len(), 20);
    assert_eq!(details.conflicts.iter().map(|conflict| conflict.count).sum::<u64>(), 25);
    assert_eq!(details.certificates.len(), 16);
    root.stop().await;
}
