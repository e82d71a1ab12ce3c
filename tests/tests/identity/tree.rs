// SPDX-License-Identifier: Apache-2.0
//! What relays know: from above, from their disk when there is no above, and not any more after a revocation.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use chrono::Utc;
use openssl::ssl::SslStream;
use tests::{
    Result,
    client::{Connection, blocking, connector, upload_all},
    enrolment::{Newcomer, identity_seen},
    identity::{Identity, Keys},
    judge,
    realm::{Realm, wait_known, wait_unknown},
    server::Server,
    simulated::{self, Packed, USUAL_ROWS},
    site::{Site, spool_of, waiting},
    wait,
};
use tokio::time::sleep;

use crate::PATIENCE;

/// How soon a revocation must have reached every policy server.
const REVOKED_WITHIN: Duration = Duration::from_secs(5);

fn run_log(machine: &Identity) -> Result<Vec<Packed>> {
    simulated::many(std::slice::from_ref(machine), 1, USUAL_ROWS, Utc::now())
}

#[test]
fn a_sub_relay_starts_from_its_copy_while_its_uplink_is_down() -> Result<()> {
    let realm = Realm::start()?;
    let mut upper = realm.relay(&realm.root)?;
    let mut lower = realm.relay(&upper)?;
    let machine = realm.machine(&lower, Keys::P256)?;
    lower.stop()?;
    upper.kill();
    lower.start()?;
    wait_known(&lower, &machine)?;
    let logs = run_log(&machine)?;
    assert_eq!(upload_all(lower.gateway(), &machine, lower.key_hash(), &logs)?, [201]);
    // What happened meanwhile arrives with the uplink, and so do the run logs.
    let late = Identity::random(Keys::P256)?;
    let refused = Newcomer::new(&late, "late.example.com").ask(lower.gateway(), lower.key_hash())?;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(!refused.header("Retry-After").is_empty(), "{refused:?}");
    realm.operator(&["node", "revoke", machine.node_id.as_str()])?;
    // The root reads its registry twice a second: it must know before anything arrives.
    wait_unknown(&realm.root, &machine)?;
    upper.start()?;
    wait_unknown(&lower, &machine)?;
    // It was accepted before the revocation was known there. The root does not take it now, so it waits, at the upper
    // relay if that started from its own copy; and is not lost when the operator thinks better of it.
    let database = realm.root.database()?.clone();
    // On its way it is at both for a moment.
    wait::until_true("the run log to wait in one place", PATIENCE, || {
        Ok(waiting(&lower.incoming())? + waiting(&upper.incoming())? == 1)
    })?;
    assert_eq!(judge::count_rows(&database)?, 0);
    realm.operator(&["node", "accept", machine.node_id.as_str()])?;
    wait::until_true("the run log to reach the root", PATIENCE, || {
        Ok(judge::count_rows(&database)? == USUAL_ROWS)
    })
    .map_err(|e| format!("{e}\nlower: {}\nupper: {}", lower.log_end(), upper.log_end()).into())
}

/// 5 s through two relays; open connections of that node are closed, those of others are not touched.
#[test]
fn a_revocation_reaches_every_policy_server_and_touches_nobody_else() -> Result<()> {
    let realm = Realm::start()?;
    let upper = realm.relay(&realm.root)?;
    let lower = realm.relay(&upper)?;
    let machines = realm.machines(&lower, Keys::P256, 3)?;
    let servers = [&lower, &upper, &realm.root];
    for server in servers {
        for machine in &machines {
            wait_known(server, machine)?;
        }
    }
    let mut slowest = Duration::ZERO;
    for revoked in 0..2 {
        blocking(async {
            // An open connection of each machine at each server.
            let mut open = Vec::new();
            for server in servers {
                for (number, machine) in machines.iter().enumerate().skip(revoked) {
                    let connector = connector(machine, server.key_hash())?;
                    let mut connection = Connection::open(server.gateway(), &connector).await?;
                    assert_eq!(connection.get("/identity").await?.status, 200);
                    open.push((number, server.node_id().clone(), connection));
                }
            }
            let asked = Instant::now();
            realm.operator(&["node", "revoke", machines[revoked].node_id.as_str()])?;
            assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
            // How long the program takes to start and to end says nothing of how fast the decision is known.
            let start = Instant::now();
            let (gone, mut others): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|(number, ..)| *number == revoked);
            for (_, server, connection) in &gone {
                while !connection.is_closed() {
                    let since = start.elapsed();
                    assert!(since < REVOKED_WITHIN, "{server} has not closed it after {since:?}");
                    sleep(Duration::from_millis(20)).await;
                }
                slowest = slowest.max(start.elapsed());
            }
            // The same connections: nobody else had to shake hands again.
            for (number, server, connection) in &mut others {
                let reply = connection.get("/identity").await?;
                assert_eq!(reply.status, 200, "machine {number} at {server}");
            }
            Ok(())
        })?;
        for server in servers {
            let connector = connector(&machines[revoked], server.key_hash())?;
            assert_eq!(identity_seen(server.gateway(), &connector)?.status, 403);
            let logs = run_log(&machines[revoked])?;
            assert_eq!(upload_all(server.gateway(), &machines[revoked], server.key_hash(), &logs)?, [403]);
        }
    }
    eprintln!("a revocation took at most {} ms", slowest.as_millis());
    // An operator may take it back, explicitly.
    realm.operator(&["node", "accept", machines[0].node_id.as_str()])?;
    wait_known(&lower, &machines[0])
}

/// I3: also in the middle of an upload; nothing of it stays.
#[test]
fn a_revocation_ends_an_upload_that_is_under_way() -> Result<()> {
    let realm = Realm::start()?;
    let relay = realm.relay(&realm.root)?;
    let machine = realm.machine(&relay, Keys::P256)?;
    let log = run_log(&machine)?.remove(0);
    let tcp = TcpStream::connect(relay.gateway())?;
    tcp.set_read_timeout(Some(REVOKED_WITHIN))?;
    let connector = connector(&machine, relay.key_hash())?;
    let ssl = connector.configure()?.verify_hostname(false).use_server_name_indication(false);
    let mut stream = SslStream::new(ssl.into_ssl("localhost")?, tcp)?;
    stream.connect()?;
    let length = log.content.len();
    write!(
        stream,
        "PUT /reports/{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n",
        log.name
    )?;
    stream.write_all(&log.content[..length / 2])?;
    let files = || Ok(std::fs::read_dir(relay.incoming())?.count());
    wait::until_true("the upload to be under way", PATIENCE, || files().map(|files| files == 1))?;
    realm.operator(&["node", "revoke", machine.node_id.as_str()])?;
    let mut answer = Vec::new();
    // Closed with or without a word; what is an error here is that it stays open, or is a success.
    if let Err(e) = stream.read_to_end(&mut answer) {
        assert_ne!(e.kind(), std::io::ErrorKind::WouldBlock, "still open");
    }
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    wait::until_true("nothing of it to be left", PATIENCE, || files().map(|files| files == 0))
}

/// I3: there is nothing to resume, in TLS 1.3 and 1.2.
#[test]
fn a_saved_session_revives_nothing() -> Result<()> {
    let realm = Realm::start()?;
    let mut relay = realm.relay(&realm.root)?;
    relay.stop()?;
    relay.set("gateway.min_tls_version", "\"1.2\"");
    relay.start()?;
    let machine = realm.machine(&relay, Keys::P256)?;
    let files = machine.write(realm.directory())?;
    let saved = realm.directory().join("session");
    let id = machine.node_id.as_str();
    let expect = |version: &str, options: &[&std::ffi::OsStr], status: &str| -> Result<()> {
        let mut command = Command::new("openssl");
        command.args(["s_client", version, "-ign_eof", "-connect", &relay.gateway().to_string()]);
        command.arg("-cert").arg(&files.certificate).arg("-key").arg(&files.key).args(options);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let request = b"GET /identity HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        child.stdin.take().ok_or("no input")?.write_all(request)?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let answer = format!("HTTP/1.1 {status}");
        assert!(said.contains(&answer) && said.contains("New, "), "{version} {options:?}: {said}");
        assert!(!said.contains("Reused, "), "{version} {options:?}: {said}");
        Ok(())
    };
    for version in ["-tls1_3", "-tls1_2"] {
        expect(version, &["-sess_out".as_ref(), saved.as_ref()], "200")?;
        // OpenSSL was given neither a ticket nor a session id, so there was nothing that it could have saved.
        let session = saved.is_file();
        realm.operator(&["node", "revoke", id])?;
        wait_unknown(&relay, &machine)?;
        let options = ["-sess_in".as_ref(), saved.as_ref()];
        expect(version, if session { &options } else { &[] }, "403")?;
        assert!(!session, "{version}: the server handed out a session");
        realm.operator(&["node", "accept", id])?;
        wait_known(&relay, &machine)?;
    }
    Ok(())
}

/// Hung elsewhere, a node is known there and not where it was; what is below a relay moves with it.
#[test]
fn a_moved_node_is_known_where_it_hangs() -> Result<()> {
    let realm = Realm::start()?;
    let (left, right) = (realm.relay(&realm.root)?, realm.relay(&realm.root)?);
    let machine = realm.machine(&left, Keys::P256)?;
    let stranger = connector(&machine, right.key_hash())?;
    assert_eq!(identity_seen(right.gateway(), &stranger)?.status, 403);
    realm.operator(&["node", "move", machine.node_id.as_str(), "--to", right.node_id().as_str()])?;
    wait_known(&right, &machine)?;
    wait_unknown(&left, &machine)?;
    let logs = run_log(&machine)?;
    assert_eq!(upload_all(right.gateway(), &machine, right.key_hash(), &logs)?, [201]);
    Ok(())
}

/// A root whose list another program writes, and relays that learn from it.
#[test]
fn relays_follow_a_root_that_reads_files() -> Result<()> {
    let mut site = Site::new()?;
    let upper = site.add_relay(&site.root_id().clone())?;
    let lower = site.add_relay(&upper.node_id)?;
    let machines = site.add_machines(&lower.node_id, 2)?;
    let mut root = site.prepare_root(site.sqlite())?;
    root.start()?;
    let mut upper = site.prepare_relay(&upper, &root, root.gateway().port())?;
    upper.know_nodes_from("upstream")?.start()?;
    let mut lower = site.prepare_relay(&lower, &upper, upper.gateway().port())?;
    lower.know_nodes_from("upstream")?.start()?;
    let logs = run_log(&machines[0])?;
    wait_known(&lower, &machines[0])?;
    assert_eq!(upload_all(lower.gateway(), &machines[0], lower.key_hash(), &logs)?, [201]);
    let database = root.database()?.clone();
    wait::until_true("rows", PATIENCE, || Ok(judge::count_rows(&database)? == USUAL_ROWS))?;
    site.fleet().remove(&machines[0].node_id);
    root.publish(site.fleet())?;
    root.reload()?;
    let took = wait_unknown(&lower, &machines[0])?;
    assert!(took < REVOKED_WITHIN, "{took:?}");
    wait_known(&lower, &machines[1])
}

/// What relays cost while nothing changes: one request each that is held open.
#[test]
fn while_nothing_changes_nothing_is_asked() -> Result<()> {
    let realm = Realm::start()?;
    let upper = realm.relay(&realm.root)?;
    let lower = realm.relay(&upper)?;
    realm.machine(&lower, Keys::P256)?;
    for server in [&realm.root, &upper] {
        wait::until_true("the relay below to wait for news", PATIENCE, || {
            Ok(server.metric("relayd_gateway_tree_requests_in_flight")? == Some(1.0))
        })?;
    }
    let traffic = |server: &Server| -> Result<Vec<String>> {
        let counted = ["relayd_gateway_requests_total", "relayd_gateway_tls_handshakes_total"];
        let metrics = server.metrics()?;
        let lines = metrics.lines().filter(|line| counted.iter().any(|name| line.starts_with(name)));
        Ok(lines.map(str::to_owned).collect())
    };
    let both = || Ok::<_, tests::Error>((traffic(&realm.root)?, traffic(&upper)?));
    // What the acceptance of the machine brought may still be under way.
    let mut before = both()?;
    wait::until_true("the last of it to be answered", PATIENCE, || {
        std::thread::sleep(Duration::from_secs(1));
        let last = std::mem::replace(&mut before, both()?);
        Ok(last == before)
    })?;
    // Nothing is to happen, so there is no condition to wait for.
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(both()?, before);
    Ok(())
}

/// As deep as a tree may be: a node below twenty relays is taken in, sends, and is turned away.
#[test]
fn twenty_levels() -> Result<()> {
    let realm = Realm::start()?;
    let mut relays: Vec<Server> = Vec::new();
    for _ in 0..20 {
        let relay = realm.relay(relays.last().unwrap_or(&realm.root))?;
        relays.push(relay);
    }
    let lowest = relays.last().ok_or("no relay")?;
    let machine = realm.machine(lowest, Keys::P256)?;
    let logs = run_log(&machine)?;
    assert_eq!(upload_all(lowest.gateway(), &machine, lowest.key_hash(), &logs)?, [201]);
    let database = realm.root.database()?.clone();
    wait::until_true("rows", PATIENCE, || Ok(judge::count_rows(&database)? == USUAL_ROWS))
        .map_err(|e| format!("{e}\n{}", relays.iter().map(spool_of).collect::<String>()))?;
    realm.operator(&["node", "revoke", machine.node_id.as_str()])?;
    let took = wait_unknown(lowest, &machine)?;
    eprintln!("a revocation took {} ms through twenty relays", took.as_millis());
    // One more is one too many.
    let mut too_deep = realm.relay(lowest)?;
    let newcomer = Identity::random(Keys::P256)?;
    let reply = Newcomer::new(&newcomer, "x.example.com").ask(too_deep.gateway(), too_deep.key_hash())?;
    assert_eq!(reply.status, 508, "{reply:?}");
    too_deep.stop()?;
    Ok(())
}
