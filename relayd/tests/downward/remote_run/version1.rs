// SPDX-License-Identifier: Apache-2.0
//! Answers to the letter, the external command, forwarding.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::remote_run::Event;
use rustix::process::{Pid, test_kill_process};
use serde_json::json;

use super::played::{Make, Play, finished, output, until};

/// A command that records its arguments, one a line and `.` after the last, and does this.
pub fn command(directory: &Path, does: &str) -> PathBuf {
    let (program, record) = (directory.join("rudder"), directory.join("record"));
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" . >> {}\n{does}\n", record.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn recorded(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("record")).unwrap_or_default();
    text.split_terminator("\n.\n").map(|call| call.replace('\n', " ")).collect()
}

#[tokio::test]
async fn the_four_ways_to_ask() {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    // Says something, waits to be let go, says something else.
    let does = format!("echo one; while [ ! -e {} ]; do sleep 0.02; done; echo two", go.display());
    let make = Make::new().node("n1", "host1", "root").command(&command(directory.path(), &does));
    let world = make.start().await;

    let answer = world.form("nodes/n1", "asynchronous=true&keep_output=false").await;
    assert_eq!((answer.status, answer.text()), (200, ""), "at once: the command still waits");
    let mut client = world.rig.operator().await;
    let body = "asynchronous=true&keep_output=true";
    let mut live = client.send("POST", "/rudder/relay-api/1/remote-run/nodes/n1", &[], body).await;
    assert_eq!(live.status(), 200);
    assert!(live.headers().get("content-type").is_none(), "{:?}", live.headers());
    let first = http_body_util::BodyExt::frame(live.body_mut()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "one\n", "as it comes: the command still waits");
    fs::write(&go, "").unwrap();
    let rest = http_body_util::BodyExt::collect(live.into_body()).await.unwrap().to_bytes();
    assert_eq!(rest, "two\n");

    let whole = world.form("nodes/n1", "asynchronous=false&keep_output=true").await;
    assert_eq!((whole.status, whole.text()), (200, "one\ntwo\n"));
    let none = world.form("nodes/n1", "").await;
    assert_eq!((none.status, none.text()), (200, ""));
    // Nobody waited for the first one.
    until("all four were run", || recorded(directory.path()).len() >= 4).await;
    assert_eq!(recorded(directory.path()), ["remote run -- host1"; 4]);
}

#[tokio::test]
async fn one_invocation_for_all_nodes_without_a_connection() {
    let directory = tempfile::tempdir().unwrap();
    let make = Make::new().node("n1", "host1", "root").node("n2", "10.0.0.2", "root");
    let make = make.node("option", "-oProxyCommand=x", "root").node("list", "a,b", "root");
    let make =
        make.node("connected", "host3", "root").command(&command(directory.path(), "echo ran; exit 7"));
    let world = make.start().await;
    world.agency.play("connected", Play::Does(vec![output("over the connection"), finished(1)]));

    let ids = "n1,n2,option,list,connected,unknown,no%20id";
    let answer = world.form("nodes", &format!("nodes={ids}&conditions=a,b_1&keep_output=true")).await;
    let mut lines: Vec<_> = answer.text().lines().collect();
    lines.sort_unstable();
    assert_eq!((answer.status, lines), (200, vec!["over the connection", "ran"]));
    assert_eq!(recorded(directory.path()), ["remote run -D a,b_1 -- host1,10.0.0.2"]);
    assert_eq!(world.agency.asked.lock().unwrap()[0].1.conditions.to_string(), "a,b_1");

    let answer = world.form("nodes", "nodes=option,list&keep_output=true").await;
    assert_eq!((answer.status, answer.text()), (200, ""));
    assert_eq!(recorded(directory.path()).len(), 1, "nobody is left to be named");
    let answer = world.form("all", "classes=old").await;
    assert_eq!((answer.status, answer.text()), (200, ""));
    let hosts = &recorded(directory.path())[1];
    assert!(hosts.starts_with("remote run -D old -- "), "{hosts}");
    let mut hosts: Vec<_> = hosts.rsplit(' ').next().unwrap().split(',').collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["10.0.0.2", "host1", "root"], "root belongs to its own neighbours");
}

#[tokio::test]
async fn answers_to_the_letter() {
    let world = Make::new().start().await;
    let long = "a".repeat(1025);
    for (path, body, status, text) in [
        ("nodes", "", 400, "Missing nodes".to_owned()),
        ("nodes", "nodes=unknown,,/", 200, String::new()),
        ("nodes/unknown", "", 200, String::new()),
        ("nodes/no%20id", "", 200, String::new()),
        (
            "nodes/a",
            "conditions=a-b",
            400,
            "invalid condition: a-b, should match ^[a-zA-Z0-9][a-zA-Z0-9_]*$".into(),
        ),
        ("all", "classes=_a", 400, "invalid condition: _a, should match ^[a-zA-Z0-9][a-zA-Z0-9_]*$".into()),
        (
            "all",
            &format!("conditions={long}"),
            400,
            format!("invalid condition: {long}, should have less then 1024 chars"),
        ),
        ("all", "asynchronous=1", 400, "asynchronous: should be true or false".into()),
        ("all", "keep_output=", 400, "keep_output: should be true or false".into()),
        ("all", "nodes=%ff", 500, "INTERNAL SERVER ERROR".into()),
        ("all", "keep_output=true&keep_output=true", 500, "INTERNAL SERVER ERROR".into()),
        ("other", "", 404, "NOT FOUND".into()),
        ("nodes/a/b", "", 404, "NOT FOUND".into()),
    ] {
        let answer = world.form(path, body).await;
        assert_eq!((answer.status, answer.text()), (status, text.as_str()), "{path} {body:.40}");
        let kind = answer.header("content-type");
        assert_eq!(kind, (status != 200).then_some("text/plain; charset=utf-8"), "{path} {body:.40}");
    }
    let path = "/rudder/relay-api/remote-run/all";
    let json = world.post(path, &[("Content-Type", "application/json")], "{}").await;
    assert_eq!((json.status, json.text()), (500, "INTERNAL SERVER ERROR"));
    let large = world.post(path, &[], &"a".repeat((1 << 20) + 1)).await;
    assert_eq!((large.status, large.text()), (413, "PAYLOAD TOO LARGE"));
    let mut client = world.rig.operator().await;
    let get = client.ask("GET", path, &[]).await;
    assert_eq!((get.status, get.text()), (404, "NOT FOUND"));
    let chunked = raw(&world, "POST /rudder/relay-api/remote-run/all HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert!(chunked.starts_with("HTTP/1.1 411 ") && chunked.ends_with("LENGTH REQUIRED"), "{chunked}");
}

/// An answer to bytes as they are.
async fn raw(world: &super::played::World, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(world.rig.api).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = async {
        while !answer.ends_with("REQUIRED") {
            let mut piece = [0; 1024];
            let count = stream.read(&mut piece).await.unwrap();
            assert!(count > 0, "{answer}");
            answer.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time");
    answer
}

#[tokio::test]
async fn a_command_that_cannot_be_run_cuts_the_answer_off() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("rudder");
    fs::write(&program, "#!/nowhere/at/all\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let world = Make::new().node("n1", "host1", "root").command(&program).start().await;
    let mut client = world.rig.operator().await;
    let answer =
        client.send("POST", "/rudder/relay-api/1/remote-run/nodes/n1", &[], "keep_output=true").await;
    assert_eq!(answer.status(), 200);
    assert!(http_body_util::BodyExt::collect(answer.into_body()).await.is_err());

    let nodes = world.run(json!({"nodes": ["n1"]})).await.by_node().await;
    assert!(matches!(nodes["n1"].last(), Some(Event::Refused { reason }) if reason.contains("cannot run")));
}

#[tokio::test]
async fn version_2_runs_the_command_for_each_node_and_tells_its_exit_status() {
    let directory = tempfile::tempdir().unwrap();
    let does =
        "echo out $6; echo err >&2; case \"$6\" in host1) exit 0;; host2) exit 3;; *) kill -9 $$;; esac";
    let make =
        Make::new().node("n1", "host1", "root").node("n2", "host2", "root").node("n3", "host3", "root");
    let world = make.node("odd", "-x", "root").command(&command(directory.path(), does)).start().await;
    let order = json!({"nodes": ["n1", "n2", "n3", "odd"], "conditions": ["a"]});
    let nodes = world.run(order).await.by_node().await;
    assert_eq!(nodes["n1"].last(), Some(&finished(0)), "{nodes:?}");
    assert_eq!(nodes["n2"].last(), Some(&finished(3)));
    assert_eq!(nodes["n3"].last(), Some(&finished(128 + 9)));
    assert!(matches!(nodes["odd"][..], [Event::Refused { .. }]), "{:?}", nodes["odd"]);
    let mut calls = recorded(directory.path());
    calls.sort();
    let wanted = ["host1", "host2", "host3"].map(|host| format!("remote run -D a -- {host}"));
    assert_eq!(calls, wanted);
    let lines: Vec<_> = nodes["n1"].iter().filter(|event| matches!(event, Event::Output { .. })).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_the_command_and_its_children_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let child = directory.path().join("child");
    let does = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", child.display());
    let program = command(directory.path(), &does);
    let world = Make::new().node("n1", "host1", "root").command(&program).start().await;
    for version in [1, 2] {
        let (told, client) = if version == 2 {
            (Some(world.run(json!({"nodes": ["n1"]})).await), None)
        } else {
            let mut client = world.rig.operator().await;
            let path = "/rudder/relay-api/1/remote-run/nodes/n1";
            let answer = client.send("POST", path, &[], "keep_output=true").await;
            (None, Some((client, answer)))
        };
        until("the command runs", || child.exists()).await;
        let pid: i32 = fs::read_to_string(&child).unwrap().trim().parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        assert!(test_kill_process(pid).is_ok());
        drop((told, client));
        until("its child is gone", || is_gone(pid)).await;
        fs::remove_file(&child).unwrap();
    }
}

/// Whether a process has ended; nobody may be there who waits for it.
fn is_gone(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_err() || stat.is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
}

#[tokio::test]
async fn relays_get_the_form_that_all_of_them_know() {
    let make = Make::new().relay("r1").node("deep", "h", "r1").node("near", "near", "root");
    let world = make.start().await;
    world.agency.play("near", Play::Does(vec![output("near"), finished(0)]));
    world.agency.play("r1", Play::Does(vec![finished(0)]));
    world.agency.play("root", Play::Does(vec![finished(0)]));
    let relay = |path: &'static str, form: &'static str| {
        let relay = &world.relays["r1"];
        async move {
            let mut asked = relay.take().await;
            assert!(asked.head.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{}", asked.head);
            assert!(
                asked.head.to_lowercase().contains("content-type: application/x-www-form-urlencoded\r\n")
            );
            assert_eq!(asked.body, form);
            asked.begin().await;
            asked.say("de").await;
            asked.say("ep\nlast").await;
            asked.end().await;
        }
    };
    let all = relay("/rudder/relay-api/remote-run/all", "keep_output=true&asynchronous=false&classes=a%2Cb");
    let ((), answer) = tokio::join!(all, world.form("all", "conditions=a,b&keep_output=true"));
    let text = answer.text();
    assert!(["near\ndeep\nlast", "deep\nnear\nlast", "deep\nlastnear\n"].contains(&text), "{text:?}");

    let form = "keep_output=false&asynchronous=false&classes=&nodes=deep";
    let some = relay("/rudder/relay-api/remote-run/nodes", form);
    let ((), answer) = tokio::join!(some, world.form("nodes", "nodes=near,deep"));
    assert_eq!(
        answer.text(),
        "deep\nlast",
        "what sub-relays say passes through, what nodes here say does not"
    );
}

#[tokio::test]
async fn a_relay_that_cannot_be_asked_contributes_nothing() {
    let make = Make::new().node("r1", "127.0.0.9", "root").node("deep", "h", "r1").node("near", "h", "root");
    let world = make.start().await;
    world.agency.play("near", Play::Does(vec![output("near"), finished(0)]));
    let answer = world.form("nodes", "nodes=deep,near&keep_output=true").await;
    assert_eq!((answer.status, answer.text()), (200, "near\n"));
}
