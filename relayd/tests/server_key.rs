// SPDX-License-Identifier: Apache-2.0
//! A daemon changes its key while clients that know this or that key come by.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use protocol::{
    certificate::Certificate,
    hash::KeyHash,
    headers,
    private_key::{self, KeyKind},
    tls::{self, ClientIdentity, ServerTrust, TlsVersion},
};
use rustix::process::{Pid, Signal, kill_process};
use support::{idle_server, stdout, wait_until};

const NODE: &str = "0b2f4b3e-7a39-4d0f-9f6e-f1c4b9a6d201";

fn identity(node: &str) -> ClientIdentity {
    let key = private_key::generate(KeyKind::P256).unwrap();
    (private_key::self_signed(&key, &node.parse().unwrap()).unwrap(), key)
}

/// A root whose gateway knows one node; killed when the test fails.
struct Daemon {
    child: Child,
    directory: tempfile::TempDir,
    address: SocketAddr,
    node: ClientIdentity,
}

impl Daemon {
    fn start() -> Self {
        let directory = idle_server("");
        let (server, node) = (identity("root"), identity(NODE));
        let file = |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).unwrap();
        file("server.cert", &server.0.to_pem());
        file("server.key", &private_key::to_pem(&server.1).unwrap());
        let hash = node.0.key_hash();
        let list = serde_json::json!({
            "root": {"hostname": "root", "policy-server": "root", "key-hash": server.0.key_hash().to_string()},
            NODE: {"hostname": "n", "policy-server": "root", "key-hash": hash.to_string()},
        });
        file("nodeslist.json", list.to_string().as_bytes());
        let path = directory.path().display().to_string();
        let main = fs::read_to_string(directory.path().join("main.conf")).unwrap()
            + &format!(
                "[gateway]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{path}/server.cert\"\n\
                 key = \"{path}/server.key\"\n[processing.reporting]\noutput = \"disabled\"\n\
                 directory = \"{path}/reports\"\n[processing.inventory]\ndirectory = \"{path}/inventories\"\n"
            );
        file("main.conf", main.as_bytes());
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_relayd"))
            .arg("-c")
            .arg(directory.path())
            .stdout(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut daemon = Self { child, directory, address: SocketAddr::from(([127, 0, 0, 1], 0)), node };
        wait_until("the daemon has started", || daemon.log().contains("started as node root"));
        let log = daemon.log();
        let after = log.split_once("gateway listens on ").expect("said so").1;
        daemon.address = after.split_whitespace().next().unwrap().parse().unwrap();
        daemon
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn server_key(&self, command: &str) {
        let path = self.directory.path().to_str().unwrap();
        let more: &[&str] = if command == "next" { &["--key", "p256"] } else { &[] };
        stdout(&[&["-c", path, "server-key", command], more].concat());
    }

    fn reload(&self) {
        let reloads = || self.log().matches("configuration and data reloaded").count();
        let before = reloads();
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
        wait_until("it is reloaded", || reloads() > before);
    }

    /// The pins that the server announces to a node that knows these keys; `None` when the node does not
    /// take the server for its own.
    fn announces(&self, known: &[KeyHash]) -> Option<Vec<KeyHash>> {
        self.announces_to(&ServerTrust::Pins(known.to_vec()))
    }

    fn announces_to(&self, trust: &ServerTrust) -> Option<Vec<KeyHash>> {
        let connector = tls::connector(trust, TlsVersion::V1_3, Some(&self.node)).unwrap();
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut settings = connector.configure().unwrap();
        settings.set_verify_hostname(false);
        let mut stream = settings.connect("localhost", stream).ok()?;
        stream.write_all(b"GET /identity HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        // A close without TLS's own good-bye is no matter here.
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(NODE), "{answer}");
        let header = answer.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(headers::SERVER_PINS)
                .then(|| headers::parse_pins(value.trim()).unwrap())
        });
        Some(header.unwrap_or_default())
    }

    fn watches(&self, certificate: &str) -> bool {
        let mut stream = UnixStream::connect(self.directory.path().join("api.sock")).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.contains(&format!("relayd_certificate_not_after_seconds{{certificate=\"{certificate}\"}}"))
    }

    fn certificate(&self, file: &str) -> Certificate {
        Certificate::from_pem(&fs::read(self.directory.path().join(file)).unwrap()).unwrap()
    }

    fn pin(&self, file: &str) -> KeyHash {
        self.certificate(file).key_hash()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn nodes_that_heard_of_it_and_nodes_that_slept_follow_the_server_to_its_next_key() {
    let daemon = Daemon::start();
    let first = daemon.pin("server.cert");
    // As relays have it whose server_certificate_file is a copy of it.
    let copy = ServerTrust::Anchors(vec![daemon.certificate("server.cert")]);
    let stranger = identity("root").0.key_hash();
    assert_eq!(daemon.announces(std::slice::from_ref(&first)), Some(vec![]));
    assert!(daemon.watches("gateway") && !daemon.watches("next"));

    daemon.server_key("next");
    let second = daemon.pin("server.cert.next");
    assert_eq!(daemon.announces(std::slice::from_ref(&first)), Some(vec![]), "not before the reload");
    daemon.reload();
    assert_eq!(daemon.announces(std::slice::from_ref(&first)), Some(vec![first.clone(), second.clone()]));
    assert_eq!(daemon.announces(std::slice::from_ref(&second)), None, "it is not used yet");
    assert!(daemon.watches("next"));

    daemon.server_key("activate");
    daemon.reload();
    for known in [&first, &second] {
        assert_eq!(daemon.announces(std::slice::from_ref(known)), Some(vec![]), "{known}");
    }
    assert_eq!(daemon.announces(std::slice::from_ref(&stranger)), None);
    assert!(daemon.announces_to(&copy).is_some());
    assert!(!daemon.watches("next"));

    // Two changes later the first key still leads to the server, until the chain is forgotten.
    daemon.server_key("next");
    daemon.server_key("activate");
    daemon.reload();
    let third = daemon.pin("server.cert");
    for known in [&first, &second, &third] {
        assert!(daemon.announces(std::slice::from_ref(known)).is_some(), "{known}");
    }
    assert!(daemon.announces_to(&copy).is_some());
    daemon.server_key("forget-chain");
    daemon.reload();
    assert!(daemon.announces(std::slice::from_ref(&third)).is_some());
    assert!(daemon.announces(&[first, second]).is_none());
    assert!(daemon.announces_to(&copy).is_none());
}

#[test]
fn a_daemon_starts_and_reloads_in_the_middle_of_a_change() {
    let daemon = Daemon::start();
    let (first, place) = (daemon.pin("server.cert"), daemon.directory.path());
    daemon.server_key("next");
    let second = daemon.pin("server.cert.next");
    // `activate` was killed between its two steps.
    move_file(place, "server.key.next", "server.key");
    daemon.reload();
    for known in [&first, &second] {
        assert!(daemon.announces(std::slice::from_ref(known)).is_some(), "{known}");
    }
    assert!(daemon.watches("gateway"));
    daemon.server_key("activate");
    daemon.reload();
    assert!(daemon.announces(&[second]).is_some());
    assert!(!place.join("server.cert.next").exists());
}

fn move_file(directory: &Path, from: &str, to: &str) {
    fs::rename(directory.join(from), directory.join(to)).unwrap();
}
