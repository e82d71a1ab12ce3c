// SPDX-License-Identifier: Apache-2.0
//! Bad input at the root: each kind ends in `failed/` with its reason, and disturbs nothing else.

use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use tests::{
    Result,
    identity::{Identity, Keys},
    judge::{self, Judge, Verdict},
    server::Server,
    simulated::{self, Packed, Run},
    site::{Site, reason_of, spool, spool_old, wait_drained},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(25);

/// A root with some machines, and good run logs before and after whatever a test does.
struct Scene {
    site: Site,
    machines: Vec<Identity>,
    root: Server,
    judge: Judge,
    started: DateTime<Utc>,
}

impl Scene {
    fn new() -> Result<Self> {
        let mut site = Site::new()?;
        let machines = site.add_machines(&site.root_id().clone(), 3)?;
        let mut root = site.prepare_root(site.sqlite())?;
        root.start()?;
        let mut scene = Self { site, machines, root, judge: Judge::default(), started: Utc::now() };
        scene.good_ones(0)?;
        Ok(scene)
    }

    /// A run of the first machine, `minutes` ago: one that no good one has.
    fn run(&self, minutes: i64) -> Run {
        let start = DateTime::from_timestamp(self.started.timestamp() - minutes * 60, 0).unwrap();
        Run::new(self.machines[0].node_id.clone(), start, simulated::USUAL_ROWS)
    }

    fn good_ones(&mut self, hour: i64) -> Result<()> {
        let end = self.started + TimeDelta::hours(hour);
        for log in simulated::many(&self.machines, 2, simulated::USUAL_ROWS, end)? {
            self.claim(&log);
            spool(&self.root.incoming(), &log.name, &log.content)?;
        }
        Ok(())
    }

    fn claim(&mut self, log: &Packed) {
        self.judge.claim(log);
        self.judge.acknowledge(&log.id);
    }

    fn expect_reason(&mut self, name: &str, reason: &str) -> Result<()> {
        let found = reason_of(&mut self.root, name)?;
        assert_eq!(found["reason"], reason, "{name}: {found}");
        assert!(!found["detail"].as_str().unwrap().is_empty(), "{found}");
        assert!(found["queue_id"].is_string(), "{found}");
        assert!(!self.root.incoming().join(name).exists(), "{name} is still there");
        Ok(())
    }

    /// Good ones still pass; then what is stored is what was claimed, and all of it.
    fn finish(&mut self) -> Result<Verdict> {
        self.good_ones(24)?;
        let database = self.root.database()?.clone();
        let rows = 12 * simulated::USUAL_ROWS;
        wait::until_true("the good ones", PATIENCE, || Ok(judge::count_rows(&database)? >= rows))
            .map_err(|e| format!("{e}\n{}", self.root.log_end()))?;
        wait_drained(&mut self.root, PATIENCE)?;
        let verdict = self.judge.verdict(&database)?;
        assert!(verdict.is_complete(), "{verdict}\n{}", self.root.log_end());
        assert!(self.root.stop()?.success());
        Ok(verdict)
    }
}

/// Makes a bad run log of a good one: name, content.
type Spoil = fn(&Scene, &Run) -> Result<(String, Vec<u8>)>;

#[test]
fn each_kind_of_bad_run_log_is_refused_with_its_reason() -> Result<()> {
    let mut scene = Scene::new()?;
    let kinds: [(&str, Spoil); 14] = [
        ("unknown_node", |_, run| {
            let stranger = Identity::random(Keys::P256)?;
            let run = Run { node_id: stranger.node_id.clone(), ..run.clone() };
            let packed = run.pack(&stranger)?;
            Ok((packed.name, packed.content))
        }),
        // Signed with the key of another machine of the same fleet.
        ("bad_signature", |scene, run| {
            let packed = run.pack(&scene.machines[1])?;
            Ok((packed.name, packed.content))
        }),
        ("bad_signature", |scene, run| altered(run, scene, |text| text.replacen("result_", "result-", 1))),
        ("bad_signature", |scene, run| altered(run, scene, |text| text.replacen("\r\n\r\n", "\r\n\r\nx", 1))),
        // Not signed at all.
        ("bad_signature", |scene, run| Ok((name(run, scene)?, simulated::gzip(run.text().as_bytes())?))),
        ("bad_signature", |scene, run| Ok((name(run, scene)?, simulated::gzip(b"")?))),
        ("bad_content", |scene, run| {
            Ok((name(run, scene)?, simulated::gzip(&simulated::sign(b"", &scene.machines[0])?)?))
        }),
        // Signed by the right machine, but speaking for another one.
        ("bad_content", |scene, run| {
            let other = Run { node_id: scene.machines[1].node_id.clone(), ..run.clone() };
            let signed = simulated::sign(other.text().as_bytes(), &scene.machines[0])?;
            Ok((name(run, scene)?, simulated::gzip(&signed)?))
        }),
        ("bad_compression", |scene, run| Ok((name(run, scene)?, b"this is no gzip".to_vec()))),
        ("bad_compression", |scene, run| {
            Ok((name(run, scene)?, b"PK\x03\x04 a zip under a gz name".to_vec()))
        }),
        ("bad_compression", |scene, run| {
            let mut content = run.pack(&scene.machines[0])?.content;
            content.truncate(content.len() / 2);
            Ok((name(run, scene)?, content))
        }),
        ("bad_compression", |scene, run| {
            let mut content = run.pack(&scene.machines[0])?.content;
            let crc = content.len() - 6;
            content[crc] ^= 1;
            Ok((name(run, scene)?, content))
        }),
        ("bad_compression", |scene, run| {
            let mut content = run.pack(&scene.machines[0])?.content;
            content.extend(simulated::gzip(b"a second member")?);
            Ok((name(run, scene)?, content))
        }),
        ("too_large", |scene, run| Ok((name(run, scene)?, simulated::gzip(&vec![b'0'; 120 << 20])?))),
    ];
    for (number, (reason, spoil)) in kinds.iter().enumerate() {
        let run = scene.run(10_000 + number as i64);
        let (name, content) = spoil(&scene, &run)?;
        // Old, because what is being written right now may look truncated.
        spool_old(&scene.root.incoming(), &name, &content)?;
        scene.expect_reason(&name, reason).map_err(|e| format!("kind {number}: {e}"))?;
    }
    let memory = scene.root.usage()?.peak_memory >> 20;
    assert!(memory < 128, "{memory} MiB");
    scene.finish()?;
    Ok(())
}

fn name(run: &Run, scene: &Scene) -> Result<String> {
    Ok(run.pack(&scene.machines[0])?.name)
}

fn altered(run: &Run, scene: &Scene, alter: fn(&str) -> String) -> Result<(String, Vec<u8>)> {
    let signed = String::from_utf8(simulated::sign(run.text().as_bytes(), &scene.machines[0])?)?;
    let altered = alter(&signed);
    assert_ne!(signed, altered);
    Ok((name(run, scene)?, simulated::gzip(altered.as_bytes())?))
}

#[test]
fn what_is_no_regular_file_is_never_opened() -> Result<()> {
    let mut scene = Scene::new()?;
    let outside = scene.site.directory().join("outside.log.gz");
    fs::write(&outside, scene.run(1).pack(&scene.machines[0])?.content)?;
    let incoming = scene.root.incoming();
    let name = |minutes| name(&scene.run(minutes), &scene);
    let (directory, link, fifo) = (name(20_000)?, name(20_001)?, name(20_002)?);
    fs::create_dir(incoming.join(&directory))?;
    fs::write(incoming.join(&directory).join("inside"), b"kept")?;
    symlink(&outside, incoming.join(&link))?;
    rustix::fs::mkfifoat(rustix::fs::CWD, incoming.join(&fifo), 0o600.into())?;
    for name in [&directory, &link, &fifo] {
        scene.expect_reason(name, "not_a_file")?;
    }
    assert!(outside.exists());
    scene.finish()?;
    Ok(())
}

#[test]
fn names_that_are_none_are_refused_and_others_left_alone() -> Result<()> {
    let mut scene = Scene::new()?;
    let content = scene.run(1).pack(&scene.machines[0])?.content;
    let incoming = scene.root.incoming();
    let alone = [".davfs.tmp4711", "notes.txt", "x.tmp", ".hidden.log.gz"];
    for name in alone {
        fs::write(incoming.join(name), &content)?;
    }
    for bad in ["x.log.gz", "@{.log", "2026-01-02T03:04:05+00:00@.log.gz", "no-date@root.log.gz"] {
        spool_old(&incoming, bad, &content)?;
        scene.expect_reason(bad, "bad_name")?;
    }
    for name in alone {
        assert!(incoming.join(name).exists(), "{name}");
        fs::remove_file(incoming.join(name))?;
    }
    scene.finish()?;
    Ok(())
}

#[test]
fn a_second_run_log_of_the_same_run_is_a_conflict_but_copies_are_not() -> Result<()> {
    let mut scene = Scene::new()?;
    let run = scene.run(30_000);
    let packed = run.pack(&scene.machines[0])?;
    scene.claim(&packed);
    let incoming = scene.root.incoming();
    spool(&incoming, &packed.name, &packed.content)?;
    wait_drained(&mut scene.root, PATIENCE)?;
    // The same content, signed again, packed otherwise, under other names.
    let again = simulated::sign(run.text().as_bytes(), &scene.machines[0])?;
    spool(&incoming, &packed.name.replace(':', "_"), &simulated::gzip(&again)?)?;
    spool(&incoming, packed.name.trim_end_matches(".gz"), &again)?;
    wait_drained(&mut scene.root, PATIENCE)?;
    // Other content with the same node and start.
    let mut other = run.clone();
    other.rows[1].message.push_str(" or not");
    let other = other.pack(&scene.machines[0])?;
    spool(&incoming, &other.name, &other.content)?;
    scene.expect_reason(&other.name, "conflict")?;
    scene.good_ones(12)?;
    wait_drained(&mut scene.root, PATIENCE)?;
    let verdict = scene.judge.verdict(scene.root.database()?)?;
    assert!(verdict.is_complete(), "{verdict}");
    Ok(())
}

#[test]
fn a_run_log_of_100_000_reports_is_stored_whole_and_one_of_300_000_refused() -> Result<()> {
    let mut scene = Scene::new()?;
    let huge = Run::new(scene.machines[1].node_id.clone(), scene.run(40_000).start, 100_000);
    let huge = huge.pack(&scene.machines[1])?;
    scene.claim(&huge);
    spool(&scene.root.incoming(), &huge.name, &huge.content)?;
    wait_drained(&mut scene.root, PATIENCE)?;
    let memory = scene.root.usage()?.peak_memory >> 20;
    assert!(memory < 256, "{memory} MiB");

    let monster = Run::new(scene.machines[1].node_id.clone(), scene.run(41_000).start, 300_000);
    let monster = monster.pack(&scene.machines[1])?;
    spool_old(&scene.root.incoming(), &monster.name, &monster.content)?;
    scene.expect_reason(&monster.name, "bad_content")?;
    scene.good_ones(12)?;
    wait_drained(&mut scene.root, PATIENCE)?;
    let verdict = scene.judge.verdict(scene.root.database()?)?;
    assert!(verdict.is_complete(), "{verdict}");
    Ok(())
}

#[test]
fn files_that_vanish_while_they_are_read_disturb_nobody() -> Result<()> {
    let mut scene = Scene::new()?;
    let incoming = scene.root.incoming();
    let start = Instant::now();
    let mut number = 0;
    while start.elapsed() < Duration::from_secs(3) {
        let packed = scene.run(50_000 + number).pack(&scene.machines[0])?;
        // It may be stored before it goes: then it has to be stored once and whole.
        scene.judge.claim(&packed);
        fs::write(incoming.join(&packed.name), &packed.content)?;
        let _ = fs::remove_file(incoming.join(&packed.name));
        number += 1;
    }
    scene.good_ones(24)?;
    wait_drained(&mut scene.root, PATIENCE)?;
    let verdict = scene.judge.verdict(scene.root.database()?)?;
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(fs::read_dir(scene.root.failed())?.count(), 0);
    assert!(scene.root.stop()?.success());
    Ok(())
}

/// C6: whatever happens to the bytes of a file, only that file is refused.
#[test]
fn flipped_bits_and_cut_files_are_refused_one_by_one() -> Result<()> {
    let mut scene = Scene::new()?;
    for number in 0..60_usize {
        let packed = scene.run(60_000 + number as i64).pack(&scene.machines[0])?;
        let mut content = packed.content.clone();
        if number.is_multiple_of(2) {
            let at = number * 7919 % content.len();
            content[at] ^= 1 << (number % 8);
        } else {
            content.truncate(number * 7919 % content.len());
        }
        // A flip in the header of gzip can be harmless: then it is stored, and whole.
        scene.judge.claim(&packed);
        spool_old(&scene.root.incoming(), &packed.name, &content)?;
    }
    scene.good_ones(24)?;
    wait_drained(&mut scene.root, PATIENCE)?;
    let verdict = scene.judge.verdict(scene.root.database()?)?;
    assert!(verdict.is_clean(), "{verdict}");
    let refused = || -> Result<usize> {
        let entries = fs::read_dir(scene.root.failed())?.flatten();
        Ok(entries.filter(|entry| entry.path().extension().is_some_and(|x| x == "reason")).count())
    };
    // The reason of a file is written just after the file has left the spool.
    wait::until_true("all reasons", PATIENCE, || Ok(refused()? + verdict.stored - 12 >= 60))
        .map_err(|e| format!("{e}: {:?} refused; {verdict}", refused()))?;
    assert_eq!(refused()? + verdict.stored - 12, 60, "{verdict}");
    assert!(scene.root.stop()?.success());
    Ok(())
}
