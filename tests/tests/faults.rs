// SPDX-License-Identifier: Apache-2.0
//! Faults under load: the database away, the daemon killed at any moment, the uplink cut, the disk full.
//! After each, everything acknowledged is stored, once, and nothing else.

use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use diesel::{Connection, PgConnection, QueryableByName, RunQueryDsl, sql_query, sql_types::Text};
use rustix::process::Signal;
use tests::{
    Result,
    client::{upload_all, upload_stubbornly},
    identity::Identity,
    judge::{Judge, Verdict},
    postgres::{Durability, Postgres},
    proxy::{Faults, Proxy},
    server::{DatabaseUrl, Server},
    simulated::{self, Packed, Run},
    site::{Site, reason_of, spool, wait_drained, waiting},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(28);
/// The same for uploads while the daemon is started again and again, each time as slowly as the machine is.
const STUBBORN: Duration = Duration::from_secs(180);

fn of(logs: &[Packed], machine: &Identity) -> Vec<Packed> {
    logs.iter().filter(|log| log.id.node_id == machine.node_id).cloned().collect()
}

fn judge_of(logs: &[Packed]) -> Judge {
    let mut judge = Judge::default();
    for log in logs {
        judge.claim(log);
        judge.acknowledge(&log.id);
    }
    judge
}

/// Waits until everything is stored; then it must be stored once.
fn expect_complete(root: &mut Server, judge: &Judge) -> Result<Verdict> {
    let database = root.database()?.clone();
    wait::until_true("everything acknowledged to be stored", PATIENCE, || {
        root.check()?;
        Ok(judge.verdict(&database)?.lost == 0)
    })
    .map_err(|e| {
        let verdict = judge.verdict(&database).map_or_else(|e| e.to_string(), |verdict| verdict.to_string());
        format!("{e}: {verdict}; waiting {:?}\n{}", waiting(&root.incoming()).ok(), root.log_end())
    })?;
    wait_drained(root, PATIENCE)?;
    let verdict = judge.verdict(&database)?;
    assert!(verdict.is_complete(), "{verdict}\n{}", root.log_end());
    Ok(verdict)
}

/// From when to when nodes had which results, now and before.
fn segments(database: &DatabaseUrl) -> Result<Vec<String>> {
    #[derive(QueryableByName)]
    struct Segment {
        #[diesel(sql_type = Text)]
        text: String,
    }
    let DatabaseUrl::Postgres(url) = database else { return Err("not on PostgreSQL".into()) };
    let segments: Vec<Segment> = sql_query(
        "SELECT concat_ws(' ', nodeid, since, last, configid, encode(digest, 'hex')) AS text \
         FROM (SELECT nodeid, since, last, configid, set_id FROM compliance_current \
             UNION ALL SELECT nodeid, since, last, NULL, set_id FROM compliance_history) segment \
         JOIN compliance_set ON id = set_id ORDER BY text",
    )
    .load(&mut PgConnection::establish(url)?)?;
    Ok(segments.into_iter().map(|segment| segment.text).collect())
}

#[test]
fn a_database_that_is_away_delays_and_loses_nothing() -> Result<()> {
    let mut postgres = Postgres::start_new(Durability::Fast)?;
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 2)?;
    let mut root = site.prepare_root(postgres.create_database("rudder")?)?;
    root.set("gateway.uploads_per_minute", "100000");
    root.start()?;
    let logs = simulated::many(&machines, 100, simulated::USUAL_ROWS, Utc::now())?;
    let (first, second) = (of(&logs, &machines[0]), of(&logs, &machines[1]));
    let (address, pin) = (root.gateway(), root.key_hash().clone());
    upload_all(address, &machines[0], &pin, &first[..50])?;
    postgres.crash()?;
    // Nobody at the door notices.
    for (machine, logs) in [(&machines[0], &first[50..]), (&machines[1], &second[..])] {
        let statuses = upload_all(address, machine, &pin, logs)?;
        assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
    }
    assert!(waiting(&root.incoming())? > 0);
    assert_eq!(waiting(&root.failed())?, 0);
    postgres.start()?;
    let back = Instant::now();
    expect_complete(&mut root, &judge_of(&logs))?;
    assert!(back.elapsed() < Duration::from_secs(15), "took {:?}", back.elapsed());
    assert_eq!(waiting(&root.failed())?, 0);
    Ok(())
}

#[test]
fn killed_again_and_again_under_load() -> Result<()> {
    let postgres = Postgres::start_new(Durability::Fast)?;
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 3)?;
    let mut root = site.prepare_root(postgres.create_database("rudder")?)?;
    root.set("gateway.uploads_per_minute", "100000");
    root.start()?;
    let logs = simulated::many(&machines, 400, simulated::USUAL_ROWS, Utc::now())?;
    let judge = judge_of(&logs);
    let (address, pin) = (root.gateway(), root.key_hash().clone());
    let (incoming, spooled) = (root.incoming(), of(&logs, &machines[2]));
    std::thread::scope(|scope| -> Result<()> {
        let uploads: Vec<_> = machines[..2]
            .iter()
            .map(|machine| {
                let (logs, pin) = (of(&logs, machine), pin.clone());
                scope.spawn(move || upload_stubbornly(address, machine, &pin, &logs, STUBBORN))
            })
            .collect();
        let spooling = scope.spawn(move || -> Result<()> {
            for log in &spooled {
                spool(&incoming, &log.name, &log.content)?;
                sleep(Duration::from_millis(10));
            }
            Ok(())
        });
        for kill in 0..12_u64 {
            // Moments that fall differently into the work each time.
            sleep(Duration::from_millis(40 + kill * 7919 % 350));
            root.kill();
            root.start()?;
        }
        for upload in uploads {
            upload.join().map_err(|_| "an uploader panicked")??;
        }
        spooling.join().map_err(|_| "the spooler panicked")?
    })?;
    expect_complete(&mut root, &judge)?;
    assert!(root.stop()?.success());
    // State and history came with the reports: they are what all of them give.
    let kept = segments(root.database()?)?;
    assert!(kept.len() >= machines.len(), "{kept:?}");
    root.command(&["compliance", "rebuild"])?;
    assert_eq!(segments(root.database()?)?, kept);
    Ok(())
}

/// C3: the rows are committed, the file is still there.
#[test]
fn killed_between_commit_and_unlink() -> Result<()> {
    let postgres = Postgres::start_new(Durability::Fast)?;
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 2)?;
    let mut root = site.prepare_root(postgres.create_database("rudder")?)?;
    root.start()?;
    root.stop()?;
    let logs = simulated::many(&machines, 50, simulated::USUAL_ROWS, Utc::now())?;
    let judge = judge_of(&logs);
    let mut stored_and_there = 0;
    for (round, logs) in logs.chunks(10).enumerate() {
        for log in logs {
            spool(&root.incoming(), &log.name, &log.content)?;
        }
        // At the first file to be removed, when at least its batch is committed. (strace counts for
        // each thread of its own.) -D keeps the daemon our own child.
        let inject = "inject=unlink,unlinkat:signal=KILL:when=1";
        let strace = format!("strace -D -f -qq -o /dev/null -e trace=unlink,unlinkat -e {inject}");
        root.run_under(&strace.split(' ').collect::<Vec<_>>());
        root.spawn()?;
        root.wait_end(PATIENCE)?;
        let verdict = judge.verdict(root.database()?)?;
        assert!(verdict.is_clean() || verdict.torn == 0 && verdict.duplicated == 0, "{verdict}");
        let gone = (round + 1) * 10 - waiting(&root.incoming())?;
        stored_and_there += verdict.stored.saturating_sub(gone);
        root.run_under(&[]);
        root.start()?;
        wait_drained(&mut root, PATIENCE)?;
        root.stop()?;
    }
    assert!(stored_and_there > 0, "the fault was never hit");
    root.start()?;
    expect_complete(&mut root, &judge)?;
    Ok(())
}

#[test]
fn an_uplink_that_is_cut_everywhere_delivers_each_run_log_once() -> Result<()> {
    let mut site = Site::new()?;
    let relay = site.add_relay(&site.root_id().clone())?;
    let machines = site.add_machines(&relay.node_id, 2)?;
    let mut root = site.prepare_root(site.sqlite())?;
    root.start()?;
    let proxy = Proxy::start(root.gateway())?;
    let mut relay = site.prepare_relay(&relay, &root, proxy.address().port())?;
    relay.start()?;
    let logs = simulated::many(&machines, 40, simulated::USUAL_ROWS, Utc::now())?;
    let judge = judge_of(&logs);
    let mut rest = &logs[..];
    let mut send = |count: usize| -> Result<()> {
        let (now, later) = rest.split_at(count.min(rest.len()));
        rest = later;
        now.iter().try_for_each(|log| spool(&relay.incoming(), &log.name, &log.content))
    };
    // In the handshake, in a request, in the answer after the root has stored it.
    for at in [0, 300, 1500, 3000, 4500, 9000] {
        proxy.set(Faults { cut_request_after: Some(at), ..Faults::default() });
        send(4)?;
        sleep(Duration::from_millis(300));
        proxy.set(Faults { cut_answer_after: Some(at / 2 + 100), ..Faults::default() });
        send(4)?;
        sleep(Duration::from_millis(300));
    }
    proxy.set(Faults { refuse: true, ..Faults::default() });
    send(8)?;
    sleep(Duration::from_secs(1));
    proxy.set(Faults { delay: Duration::from_millis(100), ..Faults::default() });
    send(usize::MAX)?;
    expect_complete(&mut root, &judge).map_err(|e| format!("{e}\nrelay: {}", relay.log_end()))?;
    wait_drained(&mut relay, PATIENCE)?;
    assert_eq!(waiting(&relay.failed())?, 0);
    Ok(())
}

/// D8: the same run logs from several senders at once, over both doors.
#[test]
fn the_same_run_log_through_many_senders_is_stored_once() -> Result<()> {
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 2)?;
    let mut root = site.prepare_root(site.sqlite())?;
    root.set("gateway.uploads_per_minute", "100000");
    root.start()?;
    let logs = simulated::many(&machines, 15, simulated::USUAL_ROWS, Utc::now())?;
    let (address, pin, incoming) = (root.gateway(), root.key_hash().clone(), root.incoming());
    std::thread::scope(|scope| -> Result<()> {
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let machine = &machines[sender % 2];
                let (logs, pin, incoming) = (of(&logs, machine), pin.clone(), incoming.clone());
                scope.spawn(move || -> Result<()> {
                    for _ in 0..4 {
                        let statuses = upload_all(address, machine, &pin, &logs)?;
                        assert!(statuses.iter().all(|s| [201, 204].contains(s)), "{statuses:?}");
                        for log in &logs {
                            // A copy under the other spelling of its name.
                            spool(&incoming, &log.name.replace(':', "_"), &log.content).or_else(|_| {
                                // Another sender of the same machine renamed it first.
                                Ok::<_, tests::Error>(())
                            })?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        senders.into_iter().try_for_each(|sender| sender.join().map_err(|_| "a sender panicked")?)
    })?;
    expect_complete(&mut root, &judge_of(&logs))?;
    assert_eq!(waiting(&root.failed())?, 0);
    Ok(())
}

/// K1: the spool's file system is full.
#[test]
fn a_full_disk_refuses_without_lying_and_recovers() -> Result<()> {
    let mut site = Site::new()?;
    let relay = site.add_relay(&site.root_id().clone())?;
    let machines = site.add_machines(&relay.node_id, 1)?;
    let mut root = site.prepare_root(site.sqlite())?;
    let Some(_disk) = SmallDisk::mount(&site.directory().join(relay.node_id.as_str()).join("reports"))?
    else {
        eprintln!("skipped: only root can mount a small file system");
        return Ok(());
    };
    let mut relay = site.prepare_relay(&relay, &root, root.gateway().port())?;
    relay.set("gateway.uploads_per_minute", "100000");
    relay.start()?;
    let logs = simulated::many(&machines, 500, simulated::USUAL_ROWS, Utc::now())?;
    let statuses = upload_all(relay.gateway(), &machines[0], relay.key_hash(), &logs)?;
    let taken = statuses.iter().filter(|status| **status == 201).count();
    assert!(statuses.iter().all(|status| [201, 503, 507].contains(status)), "{statuses:?}");
    assert!(taken > 10 && taken < logs.len(), "{taken} taken");
    assert_eq!(waiting(&relay.incoming())?, taken);
    assert!(relay.is_running());
    // Space comes back when the upstream does.
    root.start()?;
    upload_stubbornly(relay.gateway(), &machines[0], relay.key_hash(), &logs, PATIENCE)?;
    expect_complete(&mut root, &judge_of(&logs))?;
    Ok(())
}

/// Many files arrive while the daemon stands still: notifications may be lost, files are not.
#[test]
fn files_that_arrive_while_the_daemon_stands_still_are_found() -> Result<()> {
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 2)?;
    let mut root = site.prepare_root(site.sqlite())?;
    root.start()?;
    let logs = simulated::many(&machines, 150, simulated::USUAL_ROWS, Utc::now())?;
    root.signal(Signal::STOP)?;
    for log in &logs {
        spool(&root.incoming(), &log.name, &log.content)?;
    }
    root.signal(Signal::CONT)?;
    expect_complete(&mut root, &judge_of(&logs))?;
    Ok(())
}

/// U3: told to end under load, the daemon finishes what it has and leaves the rest for the next start.
#[test]
fn told_to_end_and_to_reload_under_load() -> Result<()> {
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 1)?;
    let mut root = site.prepare_root(site.sqlite())?;
    root.set("gateway.uploads_per_minute", "100000");
    root.start()?;
    let logs = simulated::many(&machines, 400, simulated::USUAL_ROWS, Utc::now())?;
    let (address, pin) = (root.gateway(), root.key_hash().clone());
    std::thread::scope(|scope| -> Result<()> {
        let upload = scope.spawn(|| upload_stubbornly(address, &machines[0], &pin, &logs, STUBBORN));
        for _ in 0..5 {
            sleep(Duration::from_millis(150));
            root.reload()?;
            root.signal(Signal::HUP)?;
            sleep(Duration::from_millis(150));
            let stopped = Instant::now();
            assert!(root.stop()?.success(), "{}", root.log_end());
            assert!(stopped.elapsed() < Duration::from_secs(10), "took {:?}", stopped.elapsed());
            root.start()?;
        }
        upload.join().map_err(|_| "the uploader panicked")?.map(drop)
    })?;
    expect_complete(&mut root, &judge_of(&logs))?;
    Ok(())
}

/// I1, I2: nobody speaks for another node, neither at the door nor in the content.
#[test]
fn nobody_uploads_for_another_node() -> Result<()> {
    let mut site = Site::new()?;
    let relay = site.add_relay(&site.root_id().clone())?;
    let below = site.add_machines(&relay.node_id, 1)?;
    let machines = site.add_machines(&site.root_id().clone(), 2)?;
    let mut root = site.prepare_root(site.sqlite())?;
    root.start()?;
    let (address, pin) = (root.gateway(), root.key_hash().clone());
    let logs =
        simulated::many(&[machines[0].clone(), below[0].clone()], 2, simulated::USUAL_ROWS, Utc::now())?;
    let (own, relayed) = (of(&logs, &machines[0]), of(&logs, &below[0]));
    // Another node, and a relay that the node is not below of.
    assert_eq!(upload_all(address, &machines[1], &pin, &own)?, [403, 403]);
    assert_eq!(upload_all(address, &relay, &pin, &own)?, [403, 403]);
    assert_eq!(waiting(&root.incoming())?, 0);
    // Its own, and through its relay: as they are, or not at all.
    assert_eq!(upload_all(address, &machines[0], &pin, &own)?, [201, 201]);
    assert_eq!(upload_all(address, &relay, &pin, &relayed)?, [201, 201]);
    let later = Utc::now() - TimeDelta::days(1);
    let honest = Run::new(below[0].node_id.clone(), later, simulated::USUAL_ROWS);
    let forged = honest.pack(&relay)?;
    assert_eq!(upload_all(address, &relay, &pin, std::slice::from_ref(&forged))?, [201]);
    assert_eq!(reason_of(&mut root, &forged.name)?["reason"], "bad_signature");
    expect_complete(&mut root, &judge_of(&logs))?;
    Ok(())
}

/// A file system of 1 MiB, unmounted when dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(directory: &std::path::Path) -> Result<Option<Self>> {
        std::fs::create_dir_all(directory)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(directory)
            .status()?
            .success();
        Ok(mounted.then(|| Self(directory.to_owned())))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the daemon may still be there when a test fails.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
