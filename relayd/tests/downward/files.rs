// SPDX-License-Identifier: Apache-2.0
//! Conditions, ranges, tags, the shared folder.

use std::{fs, os::unix::fs::symlink, path::PathBuf, sync::Arc};

use openssl::sha::{sha256, sha512};
use relayd::{
    files::Files,
    http::{ServiceKind, Services},
    shared_folder::SharedFolder,
};

use crate::rig::{Rig, write};

const FOLDER: &str = "/rudder/relay-api/shared-folder";

struct Shared {
    rig: Rig,
    directory: PathBuf,
    _temp: tempfile::TempDir,
}

async fn shared() -> Shared {
    let temp = tempfile::tempdir().unwrap();
    let directory = temp.path().join("folder");
    fs::create_dir(&directory).unwrap();
    let mut services = Services::default();
    let folder = SharedFolder::new(directory.clone(), Arc::new(Files::new()), None);
    services.add(ServiceKind::SharedFolder, Arc::new(folder));
    Shared { rig: Rig::start(services).await, directory, _temp: temp }
}

#[tokio::test]
async fn head_answers_whether_a_copy_is_the_present_one() {
    let shared = shared().await;
    let content = "123\n";
    write(&shared.directory, "c745a140/3781/file", content);
    write(&shared.directory, "c745a140/3781/file with space", content);
    let (short, long) = (hex::encode(sha256(content.as_bytes())), hex::encode(sha512(content.as_bytes())));
    let other = "0".repeat(64);
    let mut node = shared.rig.node(&shared.rig.gateway.fleet.direct).await;
    let mut operator = shared.rig.operator().await;
    for (path, status) in [
        ("c745a140/3781/file".to_owned(), 200),
        (format!("c745a140/3781/file?hash={short}"), 304),
        (format!("c745a140/3781/file%20with%20space?hash={short}&hash_type=sha256"), 304),
        (format!("c745a140/3781/file?hash={long}&hash_type=sha512"), 304),
        (format!("c745a140/3781/file?hash={other}"), 200),
        ("c745a140/3781/file?hash=".into(), 200),
        ("c745a140/3781/file?hash=test".into(), 400),
        (format!("c745a140/3781/file?hash={short}&hash_type=md5"), 400),
        (format!("c745a140/3781/file?hash={short}&hash_type=sha512"), 400),
        ("c745a140/nothing?hash=test".into(), 404),
        ("c745a140/3781".into(), 500),
        ("".into(), 500),
        ("..x/file".into(), 400),
        ("a/%2e%2e/file".into(), 400),
        ("a%5cb".into(), 400),
        ("%ff".into(), 400),
    ] {
        for prefix in [FOLDER, "/rudder/relay-api/1/shared-folder"] {
            let path = format!("{prefix}/{path}");
            for client in [&mut node, &mut operator] {
                let answer = client.ask("HEAD", &path, &[]).await;
                assert_eq!((answer.status, answer.body.len()), (status, 0), "{path}");
                if status == 304 || status == 200 {
                    assert_eq!(answer.header("etag"), Some(&*format!("\"{short}\"")), "{path}");
                }
                if status == 200 {
                    assert_eq!(answer.header("content-length"), Some("4"), "{path}");
                }
            }
        }
    }
}

#[tokio::test]
async fn get_gives_files_their_parts_and_conditions() {
    let shared = shared().await;
    write(&shared.directory, "a/page.txt", "0123456789");
    write(&shared.directory, "site/index.html", "<p>");
    write(&shared.directory, "index.html", "<top>");
    fs::create_dir(shared.directory.join("empty")).unwrap();
    let mut node = shared.rig.node(&shared.rig.gateway.fleet.below).await;
    let mut operator = shared.rig.operator().await;
    for client in [&mut node, &mut operator] {
        let page = client.get(&format!("{FOLDER}/a/page.txt")).await;
        assert_eq!((page.status, page.text()), (200, "0123456789"));
        assert_eq!(page.header("content-type"), Some("text/plain"));
        assert_eq!(page.header("accept-ranges"), Some("bytes"));
        let tag = page.header("etag").unwrap();
        let date = page.header("last-modified").unwrap();
        for (fields, status, body) in [
            (&[("if-none-match", tag)][..], 304, ""),
            (&[("if-modified-since", date)], 304, ""),
            (&[("if-unmodified-since", "Sat, 29 Oct 1994 19:43:31 GMT")], 412, ""),
            (&[("if-match", "\"other\"")], 412, ""),
            (&[("range", "bytes=2-4")], 206, "234"),
            (&[("range", "bytes=-2"), ("if-range", tag)], 206, "89"),
            (&[("range", "bytes=-2"), ("if-range", "\"other\"")], 200, "0123456789"),
            (&[("range", "bytes=10-")], 416, ""),
        ] {
            let answer = client.ask("GET", &format!("{FOLDER}/a/page.txt"), fields).await;
            assert_eq!((answer.status, answer.text()), (status, body), "{fields:?}");
        }
        for (path, status, body) in [
            ("site", 200, "<p>"),
            ("site/", 200, "<p>"),
            ("", 200, "<top>"),
            ("empty", 404, "NOT FOUND"),
            ("a/nothing", 404, "NOT FOUND"),
            ("a/page.txt/more", 404, "NOT FOUND"),
            ("../a/page.txt", 404, "NOT FOUND"),
        ] {
            let answer = client.get(&format!("{FOLDER}/{path}")).await;
            assert_eq!((answer.status, answer.text()), (status, body), "{path}");
        }
        assert_eq!(client.get(&format!("{FOLDER}/site")).await.header("content-type"), Some("text/html"));
    }
    let mut stranger = shared.rig.gateway.connect(None).await;
    assert_eq!(stranger.ask("GET", &format!("{FOLDER}/a/page.txt"), "").await.status, 401);
}

#[tokio::test]
async fn a_tag_follows_the_content() {
    let shared = shared().await;
    let mut node = shared.rig.node(&shared.rig.gateway.fleet.direct).await;
    let mut tags = Vec::new();
    // In place, at once, with the same size: what is served has its own tag each time.
    for content in ["one", "two", "six", "one"] {
        write(&shared.directory, "file", content);
        let answer = node.get(&format!("{FOLDER}/file")).await;
        assert_eq!(answer.text(), content);
        tags.push(answer.header("etag").unwrap().to_owned());
    }
    assert_eq!(tags[0], tags[3]);
    assert!(tags[0] != tags[1] && tags[1] != tags[2]);
    symlink("file", shared.directory.join("link")).unwrap();
    assert_eq!(node.get(&format!("{FOLDER}/link")).await.status, 404);
}
