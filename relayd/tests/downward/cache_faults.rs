// SPDX-License-Identifier: Apache-2.0
//! The cache, with an upstream that breaks off, lies or is silent, and with a disk that spoils or takes nothing.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use hyper::Method;

use crate::{
    cache::{FILE, MIB, Rig, content, files, has, status, tag, whole},
    upstream::{Act, SOON, Seen, Server},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_breaks_is_taken_up_where_it_broke() {
    let big = content(2 * MIB, 3);
    let rig = Rig::new({
        let big = big.clone();
        move |seen| match seen.headers.contains_key("range") {
            true => has(seen, &big),
            false => Act::Cut(whole(big.clone()), MIB + 7),
        }
    })
    .await;
    assert!(rig.get(FILE).await.is(200, &big));
    assert_eq!(rig.metric("relayd_cache_resumed_total"), 1.0);
    assert_eq!(rig.metric("relayd_cache_fetched_bytes_total"), 2.0 * MIB as f64);
    assert_eq!(rig.server.seen()[1].headers["range"], format!("bytes={}-", MIB + 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_a_broken_or_a_wrong_file_for_a_whole_one() {
    let big = content(2 * MIB, 4);
    let cut = {
        let big = big.clone();
        move |_: &Seen| Act::Cut(whole(big.clone()), MIB)
    };
    let rig = Rig::new(cut.clone()).await;
    // Cut again and again.
    let answer = rig.get(FILE).await;
    assert!(answer.status != 200 || answer.body.is_err(), "{}", answer.status);
    assert!(rig.objects().is_empty() && files(&rig.directory.path().join("parts")).is_empty());

    // The right length, another content: large ones break off, small ones are not even begun.
    for length in [2 * MIB, 10] {
        let mut response = whole(content(length, 5));
        response.headers_mut().insert("etag", tag(&big).parse().unwrap());
        rig.server.act(move |_| Act::Say(response.clone()));
        let answer = rig.get(FILE).await;
        assert!(answer.status == 502 || answer.body.is_err(), "{}", answer.status);
    }
    assert!(rig.objects().is_empty());

    // With a copy, that is what those get who were not sent a part of the other.
    rig.server.act(|seen| has(seen, &"one".into()));
    assert!(rig.get(FILE).await.is(200, b"one"));
    for wrong in [500, 503, 429] {
        rig.server.act(move |_| status(wrong));
        assert!(rig.get(FILE).await.is_stale(), "{wrong}");
    }
    // Who does not know this relay any more gets nothing of it, and neither do others.
    rig.server.act(|_| status(401));
    assert_eq!(rig.get(FILE).await.status, 502);
    rig.server.act(|_| Act::Cut(whole("another"), 3));
    let answer = rig.get(FILE).await;
    assert!(answer.is(200, b"one") && answer.is_stale());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_or_absent_upstream_costs_one_wait() {
    let mut rig = Rig::new(|seen| has(seen, &"one".into())).await;
    assert!(rig.get(FILE).await.is(200, b"one"));
    rig.server.act(|_| Act::Silence);
    let begun = Instant::now();
    let answer = rig.get(FILE).await;
    assert!(answer.is(200, b"one") && answer.is_stale());
    // Two waits are ten seconds.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // While it is known to be silent nobody waits.
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(rig.get(FILE).await.is_stale());
    }
    assert_eq!(rig.get("/common/never-seen").await.status, 503);
    // One wait is five.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(rig.cache.to_json()["status"], "error");
    assert_eq!(rig.metric("relayd_cache_answers_total{from=\"stale\"}"), 21.0);

    // After a restart the copy is still there, and when the upstream is, it is asked again.
    rig.server.stop().await;
    rig.reopen(MIB);
    assert!(rig.get(FILE).await.is_stale());
    let (address, identity) = (rig.server.address, rig.server.identity.clone());
    let again = Server::start_at(address, identity, |seen| has(seen, &"two".into())).await;
    let begun = Instant::now();
    while !rig.get(FILE).await.is(200, b"two") {
        assert!(begun.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(rig.cache.to_json()["status"], "success");
    again.stop().await;
}

/// While it serves it: a node would refuse the file, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_somebody_changes_is_fetched_again() {
    let big = content(MIB, 7);
    let serve = {
        let big = big.clone();
        move |seen: &Seen| has(seen, &big)
    };
    let rig = Rig::new(serve).await;
    let spoil: [fn(&Path); 3] = [
        |object| {
            let mut bytes = fs::read(object).unwrap();
            bytes[500_000] ^= 1;
            fs::write(object, bytes).unwrap();
            // Not within the tick of the clock in which it came.
            let later = SystemTime::now() + Duration::from_secs(1);
            fs::File::options().write(true).open(object).unwrap().set_modified(later).unwrap();
        },
        |object| fs::File::options().write(true).open(object).unwrap().set_len(4096).unwrap(),
        |object| fs::remove_file(object).unwrap(),
    ];
    for (n, spoil) in spoil.into_iter().enumerate() {
        assert!(rig.get(FILE).await.is(200, &big), "{n}");
        spoil(&rig.objects()[0]);
        // Another path to the same content finds out as well.
        if n == 0 {
            assert!(rig.get("/common/other").await.is(200, &big));
        }
        assert!(rig.get(FILE).await.is(200, &big), "{n}");
        assert_eq!(rig.objects().len(), 1, "{n}");
    }
    assert!(rig.metric("relayd_cache_damaged_total") >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_spoiled_is_fetched_again() {
    let big = content(MIB, 6);
    let serve = {
        let big = big.clone();
        move |seen: &Seen| has(seen, &big)
    };
    let mut rig = Rig::new(serve).await;
    let spoil: [fn(&Path); 4] = [
        |object| {
            let mut bytes = fs::read(object).unwrap();
            bytes[500_000..504_096].fill(0);
            fs::write(object, bytes).unwrap();
        },
        |object| fs::File::options().write(true).open(object).unwrap().set_len(4096).unwrap(),
        |object| fs::remove_file(object).unwrap(),
        |object| {
            // The entry, as a power cut leaves it.
            let directory = object.ancestors().nth(3).unwrap();
            let entry = files(&directory.join("entries")).remove(0);
            fs::write(entry, "").unwrap();
        },
    ];
    for (n, spoil) in spoil.into_iter().enumerate() {
        assert!(rig.get(FILE).await.is(200, &big));
        spoil(&rig.objects()[0]);
        fs::write(rig.directory.path().join("parts/7"), "half").unwrap();
        fs::write(rig.directory.path().join("objects/ab/none"), "x").unwrap();
        rig.reopen(64 * MIB);
        assert!(files(&rig.directory.path().join("parts")).is_empty());
        assert!(rig.get(FILE).await.is(200, &big), "{n}");
        assert_eq!(
            (rig.objects().len(), rig.metric("relayd_cache_fetched_bytes_total")),
            (1, MIB as f64),
            "{n}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_passed_through() {
    let big = content(2 * MIB, 8);
    let rig = Rig::sized(MIB, {
        let big = big.clone();
        move |seen| match seen.path.as_str() {
            FILE => has(seen, &big),
            _ => {
                let mut response = whole("secret");
                response.headers_mut().insert("cache-control", "private, no-store".parse().unwrap());
                Act::Say(response)
            }
        }
    })
    .await;
    let answer = rig.get(FILE).await;
    assert!(answer.is(200, &big));
    assert_eq!(answer.field("etag"), tag(&big));
    assert!(rig.ask(Method::GET, FILE, &[("if-none-match", &tag(&big))]).await.is(304, b""));
    assert!(rig.get("/common/secret").await.is(200, b"secret"));
    assert!(rig.objects().is_empty());
    // Only the head of something unknown: nothing is fetched.
    let asked = rig.server.seen().len();
    assert!(rig.ask(Method::HEAD, "/common/head", &[]).await.is(200, b""));
    assert_eq!(rig.server.seen()[asked].method, Method::HEAD);

    // A disk that takes nothing.
    rig.server.act(|seen| has(seen, &"small".into()));
    fs::remove_dir(rig.directory.path().join("parts")).unwrap();
    assert!(rig.get("/common/small").await.is(200, b"small"));
    assert_eq!(rig.metric("relayd_cache_files"), 0.0);
}
