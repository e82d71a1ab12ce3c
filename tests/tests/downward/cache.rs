// SPDX-License-Identifier: Apache-2.0
//! Relays between root and node: the uplink gone, killed relays, many at once.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;
use openssl::sha::sha256;
use rustix::process::Signal;
use tests::{
    Result,
    client::{Connection, Reply, blocking, connector, once},
    identity::{Identity, Keys},
    proxy::{Faults, Proxy},
    realm::Realm,
    server::Server,
    wait,
};
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(60);
const MIB: usize = 1024 * 1024;

/// Content that does not look the same anywhere, and differs by its seed.
fn content(length: usize, seed: u64) -> Bytes {
    let mut state = seed + 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Puts a file of the root in place as policies are: whole.
fn put(root: &Server, path: &str, content: &[u8]) -> Result<()> {
    let file = root.directory().join("share").join(path);
    let aside = file.with_extension("new");
    fs::create_dir_all(file.parent().ok_or("no directory")?)?;
    fs::write(&aside, content)?;
    Ok(fs::rename(aside, file)?)
}

fn get(server: &Server, machine: &Identity, path: &str) -> Result<Reply> {
    once(
        server.gateway(),
        &connector(machine, server.key_hash())?,
        hyper::Method::GET,
        path,
        &[],
        Bytes::new(),
    )
}

fn tag(content: &[u8]) -> String {
    let digits: String = sha256(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{digits}\"")
}

fn kept(directory: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        count += if path.is_dir() { kept(&path)? } else { 1 };
    }
    Ok(count)
}

/// Size of the largest file in a directory, in bytes; 0 when there is none.
fn largest(directory: &Path) -> u64 {
    let sizes = fs::read_dir(directory).into_iter().flatten().flatten().flat_map(|entry| entry.metadata());
    sizes.map(|facts| facts.len()).max().unwrap_or_default()
}

/// Waits until a relay has on its disk that it knows this machine, which is a moment after it does.
fn wait_kept(relay: &Server, machine: &Identity) -> Result<()> {
    wait::until_true("the relay to keep its list", PATIENCE, || {
        let list = fs::read_to_string(relay.directory().join("nodeslist.json")).unwrap_or_default();
        Ok(list.contains(machine.node_id.as_str()))
    })
}

#[test]
fn three_levels_share_one_transfer_and_go_on_without_the_uplink() -> Result<()> {
    let realm = Realm::start()?;
    let proxy = Proxy::start(realm.root.gateway())?;
    let mut upper = realm.relay_of(&Identity::random(Keys::P256)?, &realm.root, proxy.address().port())?;
    upper.start()?;
    let lower = realm.relay(&upper)?;
    let machines = realm.machines(&lower, Keys::P256, 2)?;
    let (machine, other) = (&machines[0], &machines[1]);

    // A hundred nodes ask for one file: it crosses each level once.
    let library = content(4 * MIB, 1);
    put(&realm.root, "common/library.bin", &library)?;
    let trusts = connector(machine, lower.key_hash())?;
    blocking(async {
        let mut asking = JoinSet::new();
        for _ in 0..100 {
            let mut connection = Connection::open(lower.gateway(), &trusts).await?;
            asking.spawn(async move {
                connection.get("/common/library.bin").await.map_err(|error| error.to_string())
            });
        }
        for reply in asking.join_all().await {
            let reply = reply?;
            assert!(reply.status == 200 && reply.body == library, "{} {}", reply.status, reply.body.len());
            assert_eq!(reply.header("etag"), tag(&library));
        }
        Ok(())
    })?;
    for relay in [&upper, &lower] {
        let fetched = relay.metric("relayd_cache_fetched_bytes_total")?;
        assert_eq!(fetched, Some(library.len() as f64), "{}", relay.node_id());
    }

    // Policies are one node's.
    let path = format!("/policies/{}/rules/cfengine-community/promises.cf", machine.node_id);
    // As the server application lays them out for a node two relays down.
    let behind = format!("{}/share/{}/share", upper.node_id(), lower.node_id());
    let file = format!("{behind}/{}/rules/cfengine-community/promises.cf", machine.node_id);
    put(&realm.root, &file, b"first")?;
    let reply = get(&lower, machine, &path)?;
    assert_eq!((reply.status, &reply.body[..]), (200, &b"first"[..]), "{}", lower.log_end());
    assert_eq!(get(&lower, other, &path)?.status, 404);

    // The uplink of the upper relay is cut: what was fetched is served, and marked, also two levels down.
    proxy.set(Faults { refuse: true, ..Faults::default() });
    put(&realm.root, &file, b"second")?;
    let reply = get(&lower, machine, &path)?;
    assert_eq!((reply.status, &reply.body[..]), (200, &b"first"[..]));
    assert!(reply.header("warning").starts_with("111 "), "{:?}", reply.headers);
    assert_eq!(get(&lower, machine, "/common/never-asked")?.status, 503);
    // And when the upper relay is gone altogether. What it knows when it comes back it has kept.
    wait_kept(&upper, machine)?;
    upper.kill();
    assert_eq!(&get(&lower, machine, &path)?.body[..], b"first");
    assert_eq!(get(&lower, other, &path)?.status, 404);

    proxy.heal();
    upper.start()?;
    wait::until_true("the second version", PATIENCE, || {
        let reply = get(&lower, machine, &path)?;
        let fresh = reply.header("warning").is_empty();
        assert!(reply.status == 200 && (!fresh || reply.body == "second"), "{reply:?}");
        Ok(fresh)
    })?;

    // A revoked node leaves nothing behind on the relays.
    realm.operator(&["node", "revoke", machine.node_id.as_str()])?;
    wait::until_true("its policies to go from the relays", PATIENCE, || {
        let files = [&upper, &lower].map(|relay| kept(&relay.directory().join("cache/entries")));
        Ok(files.into_iter().all(|files| matches!(files, Ok(1))))
    })
}

/// Killed at any moment of a transfer, a relay has whole files only: those of now, or of before.
#[test]
fn a_killed_relay_never_serves_a_torn_file() -> Result<()> {
    let realm = Realm::start()?;
    let proxy = Proxy::start(realm.root.gateway())?;
    let mut relay = realm.relay_of(&Identity::random(Keys::P256)?, &realm.root, proxy.address().port())?;
    relay.start()?;
    let machine = realm.machine(&relay, Keys::P256)?;
    // What it knows without its uplink is what it has kept.
    wait_kept(&relay, &machine)?;
    let versions: Vec<Bytes> = (0..5).map(|n| content(4 * MIB, 100 + n)).collect();
    let (mut cut, mut whole) = (0, 0);
    for (round, version) in versions.iter().enumerate() {
        put(&realm.root, "common/large.bin", version)?;
        let moment = Duration::from_millis(5 + 25 * (round * round) as u64);
        if round == 0 {
            // However fast or slow the machine is, this one is killed with a part of the file on its disk.
            proxy.set(Faults { hold_answer_after: Some(2 * MIB as u64), ..Faults::default() });
        }
        std::thread::scope(|scope| -> Result<()> {
            let fetching: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| get(&relay, &machine, "/common/large.bin").map_err(|e| e.to_string()))
                })
                .collect();
            if round == 0 {
                let begun = || Ok(largest(&relay.directory().join("cache/parts")) > 0);
                wait::until_true("a part of the file", PATIENCE, begun)?;
            }
            // Not to wait for something: the moment of the kill.
            std::thread::sleep(moment);
            relay.signal(Signal::KILL)?;
            for fetched in fetching {
                match fetched.join().map_err(|_| "panicked")? {
                    // Whoever got an answer to its end got all of it.
                    Ok(reply) if reply.status == 200 => {
                        assert!(reply.body == *version, "round {round}: {}", reply.body.len());
                        whole += 1;
                    }
                    Ok(reply) => assert_eq!(reply.status, 503, "round {round}"),
                    Err(_) => cut += 1,
                }
            }
            Ok(())
        })?;
        relay.kill();
        proxy.set(Faults { refuse: true, ..Faults::default() });
        relay.start()?;
        assert_eq!(kept(&relay.directory().join("cache/parts"))?, 0);
        let reply = get(&relay, &machine, "/common/large.bin")?;
        let known = versions[..=round].contains(&reply.body);
        assert!(reply.status == 503 || known, "round {round}: {} {}", reply.status, reply.body.len());
        // A relay that was left without an answer does not ask again for some seconds: a new one does.
        relay.kill();
        proxy.heal();
        relay.start()?;
    }
    eprintln!("{cut} transfers were cut, {whole} were not");
    assert!(cut > 0, "no transfer was cut: the kills came too late");
    let last = versions.last().ok_or("no version")?;
    wait::until_true("the last version", PATIENCE, || {
        let reply = get(&relay, &machine, "/common/large.bin")?;
        Ok(reply.header("warning").is_empty() && reply.body == *last)
    })
}
