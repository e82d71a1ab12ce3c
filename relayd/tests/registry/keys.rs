// SPDX-License-Identifier: Apache-2.0
//! Nodes change their keys and get certificates.

use std::{slice::from_ref, time::Duration};

use protocol::{certificate::read_bundle, enrolment::State, private_key::KeyKind, smime};
use relayd::{
    ca::{Authority, NewAuthority},
    registry::{
        RegistryError,
        admin::{self, Accept},
    },
};

use crate::{
    on_both,
    rig::{Machine, Place, Root},
};

on_both!(
    a_new_key_is_introduced_by_the_current_one_and_both_are_valid_for_a_while,
    a_retired_key_never_comes_back,
    nobody_else_introduces_a_key,
    a_node_has_so_many_valid_keys_at_most,
    certificates_come_from_the_authority_when_there_is_one,
);

async fn accepted(place: &Place, root: &Root, id: &str) -> Machine {
    let machine = Machine::new(id);
    root.enrol(&machine, None).await.unwrap();
    admin::accept(&mut place.connect(), from_ref(&machine.id), "op", &Accept::default()).unwrap();
    root.until("accepted", |table| table.knows(&machine.id)).await;
    machine
}

/// The request of a new key, signed with an old one.
fn message(new: &Machine, old: &Machine) -> Vec<u8> {
    smime::sign(&new.request_pem(None), &old.certificate, &old.key).unwrap()
}

async fn a_new_key_is_introduced_by_the_current_one_and_both_are_valid_for_a_while(place: Place) {
    let root = place.start();
    let old = accepted(&place, &root, "n1").await;
    let new = Machine::new("n1");
    for time in ["first", "the answer was lost"] {
        let answer = root.registry.roll_over(&old.id, message(&new, &old)).await.unwrap();
        assert_eq!((answer.state, answer.key_hash), (State::Accepted, new.certificate.key_hash()), "{time}");
    }
    let table = root.until("both", |table| table.owner_of(&new.certificate.key_hash()).is_some()).await;
    let entry = table.list().get(&old.id).unwrap();
    assert_eq!(entry.key_hash, Some(new.certificate.key_hash()));
    assert_eq!(entry.other_key_hashes, [old.certificate.key_hash()]);
    for machine in [&old, &new] {
        assert_eq!(table.identify(&machine.certificate), Some(&old.id));
        let log = smime::sign(b"log", &machine.certificate, &machine.key).unwrap();
        smime::verify_with_keys(&log, table.signing_keys(&old.id)).unwrap();
        // As other programs do, with the bundle.
        smime::verify(&log, table.certificates(&old.id)).unwrap();
        assert_eq!(root.enrol(machine, None).await.unwrap().state, State::Accepted);
    }
    root.stop().await;
}

async fn a_retired_key_never_comes_back(place: Place) {
    // Long enough for the old key to be seen beside the new one.
    let root = place.start_with(|settings| settings.key_overlap = Duration::from_secs(6));
    let old = accepted(&place, &root, "n1").await;
    let (new, newer) = (Machine::new("n1"), Machine::new("n1"));
    root.registry.roll_over(&old.id, message(&new, &old)).await.unwrap();
    root.until("both", |table| table.owner_of(&old.certificate.key_hash()).is_some()).await;
    let answer = root.registry.roll_over(&old.id, message(&newer, &old)).await.unwrap();
    assert_eq!(answer.state, State::Refused, "it introduces nobody");
    let table =
        root.until("the old one ended", |table| table.owner_of(&old.certificate.key_hash()).is_none()).await;
    assert_eq!((table.certificates(&old.id).len(), table.signing_keys(&old.id).len()), (1, 1));
    assert_eq!(root.enrol(&old, None).await.unwrap().state, State::Refused);
    let back = root.registry.roll_over(&old.id, message(&old, &new)).await.unwrap();
    assert_eq!(back.state, State::Refused);
    let elsewhere = Machine::with_key("n2", old.key.clone());
    assert_eq!(root.enrol(&elsewhere, None).await.unwrap().state, State::Conflict);
    root.stop().await;
}

async fn nobody_else_introduces_a_key(place: Place) {
    let root = place.start();
    let (node, other) = (accepted(&place, &root, "n1").await, accepted(&place, &root, "n2").await);
    let new = Machine::new("n1");
    let refused = |error| matches!(error, Err(RegistryError::Refused(_)));
    assert!(refused(root.registry.roll_over(&node.id, message(&new, &new)).await));
    assert!(refused(root.registry.roll_over(&node.id, message(&new, &other)).await));
    assert!(refused(root.registry.roll_over(&node.id, b"nonsense".to_vec()).await));
    let stolen_name = root.registry.roll_over(&node.id, message(&Machine::new("n2"), &node)).await;
    assert!(matches!(stolen_name, Err(RegistryError::Invalid(_))), "{stolen_name:?}");
    let others_key = Machine::with_key("n1", other.key.clone());
    let answer = root.registry.roll_over(&node.id, message(&others_key, &node)).await.unwrap();
    assert_eq!(answer.state, State::Conflict);
    admin::revoke(&mut place.connect(), from_ref(&node.id), "op").unwrap();
    assert!(refused(root.registry.roll_over(&node.id, message(&new, &node)).await));
    root.stop().await;
}

async fn a_node_has_so_many_valid_keys_at_most(place: Place) {
    let root = place.start();
    let mut last = accepted(&place, &root, "n1").await;
    for _ in 0..3 {
        let new = Machine::new("n1");
        let answer = root.registry.roll_over(&last.id, message(&new, &last)).await.unwrap();
        assert_eq!(answer.state, State::Accepted);
        last = new;
    }
    let answer = root.registry.roll_over(&last.id, message(&Machine::new("n1"), &last)).await.unwrap();
    assert!(answer.state == State::Refused && answer.detail.contains("4 valid keys"), "{answer:?}");
    root.stop().await;
}

async fn certificates_come_from_the_authority_when_there_is_one(place: Place) {
    let root = place.start();
    let node = accepted(&place, &root, "n1").await;
    assert_eq!(root.registry.certify(&node.id, node.request(None)).await, Ok(None));
    let new = NewAuthority { name: "Test", key: KeyKind::P256, days: 100 };
    let authority = Authority::init(&place.settings().ca.directory, &new).unwrap();
    let pem = root.registry.certify(&node.id, node.request(None)).await.unwrap().unwrap();
    let chain = read_bundle(&pem).unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(chain[0].sole_node_id(), Some(&node.id));
    assert_eq!(chain[0].key_hash(), node.certificate.key_hash());
    assert_eq!(chain[1].fingerprint(), authority.certificate().fingerprint());
    let again = root.registry.certify(&node.id, node.request(None)).await.unwrap().unwrap();
    assert_eq!(again, pem, "who asks again gets the same");
    root.until("in the bundle", |table| table.certificates(&node.id).len() == 2).await;
    let newer = Machine::new("n1");
    root.registry.roll_over(&node.id, message(&newer, &node)).await.unwrap();
    let replaced = root.registry.certify(&node.id, node.request(None)).await;
    assert!(matches!(replaced, Err(RegistryError::Refused(_))), "only valid for a while: {replaced:?}");
    assert!(root.registry.certify(&node.id, newer.request(None)).await.unwrap().is_some());
    let stranger = Machine::new("n1");
    let refused = root.registry.certify(&node.id, stranger.request(None)).await;
    assert!(matches!(refused, Err(RegistryError::Refused(_))), "{refused:?}");
    root.stop().await;
}
