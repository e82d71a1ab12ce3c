// SPDX-License-Identifier: Apache-2.0
//! The local API, byte for byte, over real connections.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus::{Registry, process_collector::ProcessCollector};
use relayd::{
    api::{Api, ApiHandles, Check},
    config::LocalAddress,
    gateway::access::{Listener, Purpose, RULES, Row, Who, table},
    metrics::CompatibleMetrics,
    reload,
};
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<()>,
    runtime: Runtime,
    reload_fails: Arc<AtomicBool>,
}

fn handles(configuration: &Path, database: Option<Check>) -> (ApiHandles, reload::Reloaders) {
    let registry = Registry::new();
    CompatibleMetrics::new(&registry).unwrap();
    registry.register(Box::new(ProcessCollector::for_self())).unwrap();
    let (reload, reloaders) = reload::service();
    let status: Vec<(&str, relayd::api::Status)> =
        vec![("spools", Arc::new(|| serde_json::json!({"depth": 3})))];
    (
        ApiHandles {
            configuration: configuration.to_owned(),
            database,
            reload,
            registry,
            overview: None,
            status,
            services: Default::default(),
        },
        reloaders,
    )
}

fn serve(configuration: &Path, database: Option<Check>) -> Server {
    let runtime = Runtime::new().unwrap();
    let stop = CancellationToken::new();
    let reload_fails = Arc::new(AtomicBool::new(false));
    let (handles, mut reloaders) = handles(configuration, database);
    let fails = reload_fails.clone();
    reloaders.add_blocking("node table", move || match fails.load(Ordering::Relaxed) {
        true => Err("line 3: \"quoted\""),
        false => Ok(()),
    });
    runtime.spawn(reloaders.run(stop.clone()));
    let any_port = LocalAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)));
    let api = runtime.block_on(Api::bind(&any_port, handles)).unwrap();
    let address = api.local_addr().unwrap();
    let run = api.run(stop.clone());
    let served = runtime.spawn(async { run.await.unwrap() });
    Server { address, stop, served, runtime, reload_fails }
}

impl Server {
    /// Sends bytes and reads until the server closes.
    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        exchange(&mut stream, request)
    }

    /// Status line, content type and body.
    fn ask(&self, method: &str, path: &str) -> (String, String, String) {
        split(&self.raw(&format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")))
    }
}

fn exchange(stream: &mut (impl Read + Write), request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // The peer may reset after a refusal; what came before counts.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn split(answer: &str) -> (String, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let status = head.lines().next().unwrap().to_owned();
    let content_type =
        head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or("").to_owned();
    (status, content_type, body.to_owned())
}

fn owned(status: &str, content_type: &str, body: &str) -> (String, String, String) {
    (format!("HTTP/1.1 {status}"), content_type.to_owned(), body.to_owned())
}

const OK: &str = "200 OK";
const JSON: &str = "application/json";
const FAILED: &str = "500 Internal Server Error";

#[test]
fn info_and_reload_answer_to_the_byte() {
    let directory = support::idle_server("");
    let server = serve(directory.path(), None);
    let full = env!("CARGO_PKG_VERSION");
    let major = full.rsplit_once('.').unwrap().0;
    let info = format!(
        r#"{{"data":{{"major-version":"{major}","full-version":"{full}"}},"result":"success","action":"getSystemInfo"}}"#
    );
    let reloaded = r#"{"result":"success","action":"reloadConfiguration"}"#;
    for prefix in ["/rudder/relay-api/1", "/rudder/relay-api"] {
        assert_eq!(server.ask("GET", &format!("{prefix}/system/info")), owned(OK, JSON, &info));
        assert_eq!(server.ask("POST", &format!("{prefix}/system/reload")), owned(OK, JSON, reloaded));
    }
    server.reload_fails.store(true, Ordering::Relaxed);
    let failed = r#"{"result":"error","action":"reloadConfiguration","errorDetails":"Could not reload node table: line 3: \"quoted\""}"#;
    assert_eq!(server.ask("POST", "/rudder/relay-api/1/system/reload"), owned(FAILED, JSON, failed));
}

#[test]
fn status_has_the_members_of_the_protocol_first() {
    let directory = support::idle_server("");
    let openssl = openssl::version::version();
    let tail = format!(
        r#""openssl":"{openssl}","spools":{{"depth":3}}}},"result":"success","action":"getStatus"}}"#
    );
    let path = "/rudder/relay-api/1/system/status";

    let server = serve(directory.path(), None);
    let good = format!(r#"{{"data":{{"configuration":{{"status":"success"}},{tail}"#);
    assert_eq!(server.ask("GET", path), owned(OK, JSON, &good));

    let server = serve(directory.path(), Some(Arc::new(|| Err("connection refused".to_owned()))));
    let bad = format!(
        r#"{{"data":{{"database":{{"status":"error","details":"connection refused"}},"configuration":{{"status":"success"}},{tail}"#
    );
    assert_eq!(server.ask("GET", path), owned(OK, JSON, &bad));

    std::fs::remove_file(directory.path().join("main.conf")).unwrap();
    let (status, _, body) = server.ask("GET", path);
    let details = format!(
        r#""configuration":{{"status":"error","details":"Could not read main configuration file from {}/main.conf"#,
        directory.path().display()
    );
    assert!(status.ends_with(OK) && body.contains(&details), "{body}");
}

#[test]
fn everything_else_is_not_found() {
    let directory = support::idle_server("");
    let server = serve(directory.path(), None);
    let not_found = owned("404 Not Found", "text/plain; charset=utf-8", "NOT FOUND");
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/rudder/relay-api/1/"),
        ("GET", "/rudder/relay-api/2/system/info"),
        ("GET", "/rudder/relay-api/1/system/info/more"),
        ("GET", "/rudder/relay-api/1/system/reload"),
        ("POST", "/rudder/relay-api/1/system/info"),
        ("PUT", "/rudder/relay-api/1/system/status"),
        ("DELETE", "/metrics"),
        ("GET", "/rudder/relay-api/1/%2e%2e/system/info"),
        ("GET", "/metrics/../rudder/relay-api/1/system/info"),
    ] {
        assert_eq!(server.ask(method, path), not_found, "{method} {path}");
    }
    // HEAD has no body, but the same answer.
    assert_eq!(server.ask("HEAD", "/rudder/relay-api/1/system/info").0, "HTTP/1.1 404 Not Found");
}

#[test]
fn the_rule_table_has_all_that_is_answered_and_nothing_of_the_gateway_is() {
    let directory = support::idle_server("");
    let server = serve(directory.path(), None);
    // What is left to services is there when they are: tests/downward asks all of it.
    let own = |row: &Row| RULES.iter().any(|rule| rule.path == row.path && rule.purpose == Purpose::Operate);
    for row in table().into_iter().filter(|row| row.listener == Listener::Gateway || own(row)) {
        for method in row.methods.iter().filter(|_| row.who != [Who::Nobody]) {
            let path = row.path.replace(['<', '>', ' '], "");
            let (status, _, body) = server.ask(method, &path);
            let is_found = !status.ends_with("404 Not Found");
            assert_eq!(is_found, row.listener == Listener::Local, "{method} {path}: {status} {body}");
        }
    }
}

#[test]
fn metrics_are_prometheus_text() {
    let directory = support::idle_server("");
    let server = serve(directory.path(), None);
    let (status, content_type, body) = server.ask("GET", "/metrics");
    assert_eq!((status.as_str(), content_type.as_str()), ("HTTP/1.1 200 OK", "text/plain; version=0.0.4"));
    for line in
        ["rudder_relayd_reports_total{status=\"forward_error\"} 0\n", "rudder_relayd_sub_nodes_total 0\n"]
    {
        assert!(body.contains(line), "{line}");
    }
    let described = |line: &&str| line.starts_with("# ") && line.contains("rudder_relayd_");
    let names: Vec<_> = body.lines().filter(described).collect();
    support::assert_golden("compatible_metrics.txt", &(names.join("\n") + "\n"));
    assert!(body.contains("\nprocess_resident_memory_bytes "), "{body}");
}

#[test]
fn large_bodies_and_headers_are_refused() {
    let directory = support::idle_server("");
    let server = serve(directory.path(), None);
    let head = "POST /rudder/relay-api/1/system/reload HTTP/1.1\r\nHost: localhost\r\n";
    let answer = server.raw(&format!("{head}Content-Length: 1048577\r\nConnection: close\r\n\r\n"));
    assert_eq!(
        split(&answer),
        owned("413 Payload Too Large", "text/plain; charset=utf-8", "PAYLOAD TOO LARGE")
    );
    let answer = server.raw(&format!("{head}X-Large: {}\r\n\r\n", "x".repeat(64 * 1024)));
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
    for smuggled in ["Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "Content-Length: x\r\n\r\n"] {
        let answer = server.raw(&format!("{head}{smuggled}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    }
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let directory = support::idle_server("");
    let server = serve(directory.path(), None);
    let mut idle = TcpStream::connect(server.address).unwrap();
    let request = "GET /rudder/relay-api/1/system/info HTTP/1.1\r\nHost: localhost\r\n\r\n";
    idle.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    server.stop.cancel();
    let ended = async { tokio::time::timeout(Duration::from_secs(5), server.served).await };
    server.runtime.block_on(ended).expect("ends though a connection is open").unwrap();
    assert!(TcpStream::connect(server.address).is_err(), "still listening");
}

#[test]
fn a_unix_socket_is_private_replaces_a_stale_one_and_never_a_live_one() {
    let directory = support::idle_server("");
    let path = directory.path().join("own.sock");
    let address = LocalAddress::Unix(path.clone());
    let runtime = Runtime::new().unwrap();
    let bind = || runtime.block_on(Api::bind(&address, handles(directory.path(), None).0));

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap()); // leaves its file behind
    let api = bind().expect("a stale socket is replaced");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let stop = CancellationToken::new();
    let served = runtime.spawn(api.run(stop.clone()));
    let mut stream = UnixStream::connect(&path).unwrap();
    let answer =
        exchange(&mut stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");

    let error = bind().err().expect("a live socket stays").to_string();
    assert!(error.contains("in use by a running process"), "{error}");
    stop.cancel();
    runtime.block_on(served).unwrap().unwrap();
    assert!(!path.exists());

    std::fs::write(&path, "precious").unwrap();
    let error = bind().err().expect("a file stays").to_string();
    assert!(error.contains("is not a socket"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn only_loopback_is_bound() {
    let directory = support::idle_server("");
    let runtime = Runtime::new().unwrap();
    let everywhere = LocalAddress::Tcp(SocketAddr::from(([0, 0, 0, 0], 0)));
    let bound = runtime.block_on(Api::bind(&everywhere, handles(directory.path(), None).0));
    assert!(bound.err().unwrap().to_string().contains("not a loopback address"));
}
