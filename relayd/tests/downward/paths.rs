// SPDX-License-Identifier: Apache-2.0
//! Hostile paths, on both listeners, to policies and to the shared folder.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{
    harness::{DIRECT, PATIENCE, RELAY},
    policies::Served,
    rig::write,
};

/// What leads nowhere, or should: both listeners and both services answer each vector as the protocol says,
/// and nothing outside the trees is opened.
#[tokio::test]
async fn no_path_leads_out() {
    let served = Served::start().await;
    let (tree, folder) = (served.trees.join(DIRECT), served.temp.path().join("folder"));
    write(&tree, "rules/a/file", "inside");
    write(&folder, "a/file", "inside");
    for name in ["secret", "share/secret", &format!("share/{RELAY}/rules/secret")] {
        write(served.temp.path(), name, "SECRET");
    }
    for place in [tree.join("rules"), folder.clone()] {
        symlink("a/file", place.join("link")).unwrap();
        symlink("a", place.join("linked")).unwrap();
        symlink("../../../secret", place.join("out")).unwrap();
        symlink(served.temp.path(), place.join("up")).unwrap();
        symlink("/etc", place.join("etc")).unwrap();
        symlink("/proc/self/root", place.join("magic")).unwrap();
        mknodat(CWD, place.join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let long = "a".repeat(256);
    let longer = "a/".repeat(2100);
    let deep = "a/".repeat(70);
    // Never a path (protocol 14.1).
    let mut malformed: Vec<&str> = vec![
        "..",
        "../",
        "../secret",
        "../../secret",
        "../../../secret",
        "a/../../secret",
        "a/..",
        "a/../a/file",
        ".",
        "./a/file",
        "a/./file",
        "a//file",
        "//a/file",
        "/a/file",
        "/etc/passwd",
        "//etc/passwd",
        "...",
        ".../secret",
        "..secret",
        "..%2fsecret",
        "..%2Fsecret",
        "%2e%2e/secret",
        "%2E%2E/secret",
        ".%2e/secret",
        "%2e./secret",
        "%2e%2e%2fsecret",
        "%2e%2e%2f%2e%2e%2fsecret",
        "%2fetc%2fpasswd",
        "%252e%252e/secret",
        "%252e%252e%252fsecret",
        "..%252fsecret",
        "%25%32%65%25%32%65/secret",
        "%c0%ae%c0%ae/secret",
        "%c0%af",
        "%e0%80%ae",
        "%ff",
        "a%80file",
        "..\\secret",
        "..%5csecret",
        "..%5c..%5csecret",
        "a\\file",
        "a%5cfile",
        "%5c%5chost%5cshare",
        "a/file%00",
        "a/file%00.txt",
        "%00",
        "a%00/../secret",
        "a/file%0a",
        "a%0d%0aX-Injected:%201",
        "a%09file",
        "a%7ffile",
        "a%1bfile",
        "a%c2%85file",
        "a/file/",
        "a/",
        "`id`",
    ];
    malformed.extend([long.as_str(), &longer, &deep]);
    // A path to nothing that is served: links and pipes among them.
    let absent: Vec<&str> = vec![
        "%u002e%u002e/secret",
        "a/file/more",
        "link",
        "linked/file",
        "out",
        "up/secret",
        "etc/passwd",
        "magic/etc/passwd",
        "pipe",
        "pipe/x",
        "%",
        "%2",
        "%zz",
        "a/file;x=1",
        "a/file%3f",
        "a/file%23",
        "~root/.profile",
        "$HOME",
        "A/FILE",
        "nothing",
    ];
    let mut direct = served.rig.gateway.connect(Some(&served.fleet().direct)).await;
    let vectors =
        malformed.iter().map(|vector| (vector, 400)).chain(absent.iter().map(|vector| (vector, 404)));
    for (vector, expected) in vectors {
        for place in [format!("/policies/{DIRECT}/rules/"), "/rudder/relay-api/shared-folder/".to_owned()] {
            for method in ["GET", "HEAD"] {
                // A head of its own: who sends what no URL has is refused by whoever reads it.
                let request =
                    format!("{method} {place}{vector} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                let on_api = request.replace(" /policies", " /rudder/relay-api/1/policies");
                let expected = match (place.contains("folder"), method) {
                    // There, a directory is 500 for HEAD, and GET says nothing about why (protocol 7.5).
                    (true, "HEAD") if *vector == "a/" => 500,
                    (true, "HEAD") if *vector == "a/file/" => 404,
                    (true, "GET") if *vector != "`id`" => 404,
                    _ => expected,
                };
                for (listener, answer) in [
                    ("gateway", over_gateway(&served, &request).await),
                    ("api", over_api(&served, &on_api).await),
                ] {
                    let status = answer.split(' ').nth(1).unwrap_or_default();
                    assert_eq!(status, expected.to_string(), "{listener} {method} {place}{vector}: {answer}");
                    assert!(!answer.contains("SECRET") && !answer.contains("root:"), "{vector}: {answer}");
                    assert!(!answer.contains("X-Injected"), "{vector}: {answer}");
                }
            }
        }
    }
    let path = format!("/policies/{DIRECT}/rules/a/file");
    assert_eq!(direct.ask("GET", &path, "").await.body, "inside");
    assert_eq!(direct.ask("GET", "/rudder/relay-api/shared-folder/a/file", "").await.body, "inside");
}

async fn over_gateway(served: &Served, request: &str) -> String {
    let mut client = served.rig.gateway.connect(Some(&served.fleet().direct)).await;
    client.send(request.as_bytes()).await.unwrap();
    read_all(&mut client.stream).await
}

async fn over_api(served: &Served, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(served.rig.api).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    read_all(&mut stream).await
}

/// Up to the end of the connection, however that comes.
async fn read_all(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(stream, &mut all);
    let _ = tokio::time::timeout(PATIENCE, reading).await.expect("nothing hangs");
    String::from_utf8_lossy(&all).into_owned()
}
