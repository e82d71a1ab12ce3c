// SPDX-License-Identifier: Apache-2.0
//! Enrolment while things break: the root killed, its database away, a relay or a key taken out.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use chrono::Utc;
use tests::{
    Result,
    client::upload_all,
    enrolment::Newcomer,
    identity::{Identity, Keys},
    judge,
    postgres::{Durability, Postgres},
    realm::{Realm, expect_state, wait_known, wait_unknown},
    simulated::{self, USUAL_ROWS},
    site::{Site, waiting},
    wait,
};

use crate::{PATIENCE, attacks::identity_of};

/// Newcomers with tokens ask until they are answered, while the root is killed again and again: all are taken in, with
/// their own key, and each token was good for one.
#[test]
fn a_root_that_is_killed_loses_and_doubles_no_enrolment() -> Result<()> {
    const NEWCOMERS: usize = 120;
    let mut realm = Realm::start()?;
    let tokens = realm.tokens("web-{n}.example.com", NEWCOMERS)?;
    let machines = Identity::many(NEWCOMERS, Keys::P256)?;
    let (address, pin) = (realm.root.gateway(), realm.root.key_hash().clone());
    std::thread::scope(|scope| -> Result<()> {
        let askers: Vec<_> = (0..4)
            .map(|asker| {
                let (machines, tokens, pin) = (&machines, &tokens, &pin);
                scope.spawn(move || -> Result<()> {
                    for number in (asker..NEWCOMERS).step_by(4) {
                        let name = format!("web-{}.example.com", number + 1);
                        let newcomer = Newcomer::new(&machines[number], &name).with_token(&tokens[number]);
                        let deadline = Instant::now() + PATIENCE;
                        // A connection that breaks says nothing of what was decided: it is asked again.
                        while !newcomer.ask(address, pin).is_ok_and(|reply| reply.status == 200) {
                            if Instant::now() > deadline {
                                return Err(format!("{name} was never accepted").into());
                            }
                            sleep(Duration::from_millis(20));
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for kill in 0..6_u64 {
            sleep(Duration::from_millis(60 + kill * 7919 % 300));
            realm.root.kill();
            realm.root.start()?;
        }
        askers.into_iter().try_for_each(|asker| asker.join().map_err(|_| "an asker panicked")?)
    })?;
    for machine in &machines {
        let shown = realm.node(&machine.node_id)?;
        assert_eq!(shown["state"], "accepted", "{shown}");
        assert_eq!(shown["keys"].as_array().map(Vec::len), Some(1), "{shown}");
        assert_eq!(shown["key_hash"], machine.key_hash().to_string(), "{shown}");
    }
    let used = realm.operator(&["token", "list", "--state", "used", "--json"])?;
    assert_eq!(used.lines().count(), NEWCOMERS);
    Ok(())
}

/// Without its database the root decides nothing, says so, and goes on taking what the known nodes send.
#[test]
fn a_database_that_is_away_puts_newcomers_off_and_nobody_else() -> Result<()> {
    let mut postgres = Postgres::start_new(Durability::Fast)?;
    let mut realm = Realm::on(Site::new()?, postgres.create_database("rudder")?)?;
    realm.root.start()?;
    let relay = realm.relay(&realm.root)?;
    let machine = realm.machine(&relay, Keys::P256)?;
    let newcomer = Identity::random(Keys::P256)?;
    let newcomer = Newcomer::new(&newcomer, "new.example.com");
    postgres.crash()?;
    for server in [&relay, &realm.root] {
        let reply = newcomer.ask(server.gateway(), server.key_hash())?;
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(!reply.header("Retry-After").is_empty(), "{reply:?}");
        wait_known(server, &machine)?;
    }
    let logs = simulated::many(std::slice::from_ref(&machine), 1, USUAL_ROWS, Utc::now())?;
    assert_eq!(upload_all(relay.gateway(), &machine, relay.key_hash(), &logs)?, [201]);
    postgres.start()?;
    wait::until_true("the newcomer to be heard", PATIENCE, || {
        Ok(newcomer.ask(relay.gateway(), relay.key_hash())?.status == 202)
    })?;
    let database = realm.root.database()?.clone();
    wait::until_true("the run log to be stored", PATIENCE, || Ok(judge::count_rows(&database)? == USUAL_ROWS))
}

/// What the operators' guide says of a stolen key, step by step.
#[test]
fn a_stolen_key_is_shut_out_and_its_node_comes_back() -> Result<()> {
    let realm = Realm::start()?;
    let relay = realm.relay(&realm.root)?;
    let stolen = realm.machine(&relay, Keys::P256)?;
    let id = stolen.node_id.as_str();
    let ask = |identity: &Identity| {
        Newcomer::new(identity, "machine.example.com").ask(relay.gateway(), relay.key_hash())
    };
    realm.operator(&["node", "revoke", id])?;
    wait_unknown(&relay, &stolen)?;
    // The thief hears that it is over, and no new key of his gets in; nor does the old one under another id.
    expect_state(&ask(&stolen)?, "revoked")?;
    let fresh = Identity::new(stolen.node_id.clone(), Keys::P256)?;
    assert_eq!(ask(&fresh)?.status, 409);
    let node_id = Identity::random(Keys::P256)?.node_id;
    let certificate = protocol::private_key::self_signed(&stolen.key, &node_id)?;
    let twin = Identity { node_id, certificate, key: stolen.key.clone() };
    assert!([403, 409].contains(&ask(&twin)?.status));
    // The owner starts anew.
    realm.operator(&["node", "delete", id])?;
    expect_state(&ask(&fresh)?, "pending")?;
    realm.operator(&["node", "accept", "--fingerprint", &fresh.key_hash().to_string(), id])?;
    wait_known(&relay, &fresh)?;
    assert_eq!(ask(&stolen)?.status, 409);
    wait_known(&relay, &fresh)
}

/// A revoked relay is cut off: what comes from below it waits there, and is delivered when it is trusted again.
#[test]
fn behind_a_revoked_relay_everything_waits() -> Result<()> {
    let realm = Realm::start()?;
    let upper = realm.relay(&realm.root)?;
    let lower = realm.relay(&upper)?;
    let machine = realm.machine(&lower, Keys::P256)?;
    realm.operator(&["node", "revoke", upper.node_id().as_str()])?;
    wait_unknown(&realm.root, &identity_of(&upper)?)?;
    let logs = simulated::many(std::slice::from_ref(&machine), 3, USUAL_ROWS, Utc::now())?;
    assert_eq!(upload_all(lower.gateway(), &machine, lower.key_hash(), &logs)?, [201; 3]);
    wait::until_true("the relay to have everything", PATIENCE, || Ok(waiting(&upper.incoming())? == 3))?;
    let database = realm.root.database()?.clone();
    assert_eq!(judge::count_rows(&database)?, 0);
    assert_eq!(waiting(&upper.failed())? + waiting(&lower.failed())?, 0);
    realm.operator(&["node", "accept", "--relay", upper.node_id().as_str()])?;
    wait::until_true("everything to arrive", PATIENCE * 2, || {
        Ok(judge::count_rows(&database)? == 3 * USUAL_ROWS)
    })
    .map_err(|e| format!("{e}\n{}", upper.log_end()).into())
}
