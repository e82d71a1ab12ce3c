// SPDX-License-Identifier: Apache-2.0
//! When nodes were last heard of, and clones among them.

use std::slice::from_ref;

use chrono::{DateTime, Utc};
use protocol::run_log::instance::Instance;
use relayd::{
    db::Database,
    registry::{
        Contact, Contacts,
        admin::{self, Accept},
        record::ConflictKind,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    common::fleet::config_of,
    on_both,
    rig::{Machine, Place, until},
};

on_both!(contacts_and_clones_are_noted);

fn contact(machine: &Machine, minute: i64, told: Option<(&str, u64)>) -> Contact {
    let at = DateTime::from_timestamp(1_700_000_000 + 60 * minute, 0).unwrap();
    let instance = told.map(|(boot_id, counter)| Instance {
        counter,
        boot_id: boot_id.into(),
        address: "192.0.2.9".parse().ok(),
    });
    Contact { node: machine.id.clone(), at, start: at, instance }
}

async fn contacts_and_clones_are_noted(place: Place) {
    let root = place.start();
    let (quiet, cloned, restored) = (Machine::new("quiet"), Machine::new("cloned"), Machine::new("restored"));
    for machine in [&quiet, &cloned, &restored] {
        root.enrol(machine, None).await.unwrap();
        admin::accept(&mut place.connect(), from_ref(&machine.id), "op", &Accept::default()).unwrap();
    }
    let metrics = prometheus::Registry::new();
    let database = Database::open(&config_of(place.url.clone())).unwrap();
    let (contacts, recorder) = Contacts::new(database, &metrics).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(recorder.run(stop.clone()));

    contacts.note(contact(&quiet, 3, None));
    // Not in their order, as two relays may deliver them.
    for (minute, boot, counter) in [(0, "left", 5), (2, "left", 6), (1, "right", 5), (3, "right", 6)] {
        contacts.note(contact(&cloned, minute, Some((boot, counter))));
    }
    for (minute, boot, counter) in [(0, "one", 8), (1, "two", 5), (2, "two", 6)] {
        contacts.note(contact(&restored, minute, Some((boot, counter))));
    }
    contacts.note(contact(&Machine::new("stranger"), 0, Some(("x", 1))));
    let details = |machine: &Machine| admin::get(&mut place.connect(), &machine.id).unwrap().unwrap();
    until("noted", || details(&quiet).node.last_contact.is_some()).await;
    let last: DateTime<Utc> = contact(&quiet, 3, None).at;
    assert_eq!(details(&quiet).node.last_contact, Some(last));
    let kinds = |machine: &Machine| details(machine).conflicts.iter().map(|c| c.kind).collect::<Vec<_>>();
    assert!(kinds(&cloned).contains(&ConflictKind::Clone), "{:?}", details(&cloned).conflicts);
    assert_eq!(kinds(&restored), [ConflictKind::Rollback]);
    let conflict = &details(&restored).conflicts[0];
    assert!(conflict.detail.contains("one") && conflict.detail.contains("two"), "{}", conflict.detail);

    // Once that is settled, the machine that is left is just a machine.
    admin::resolve(&mut place.connect(), from_ref(&cloned.id), "op").unwrap();
    for minute in 4..8 {
        contacts.note(contact(&cloned, minute, Some(("right", 3 + minute.unsigned_abs()))));
    }
    until("noted again", || details(&cloned).node.last_contact > Some(last)).await;
    assert_eq!(details(&cloned).node.open_conflicts, 0);
    stop.cancel();
    task.await.unwrap().unwrap();
    root.stop().await;
}
