// SPDX-License-Identifier: Apache-2.0
//! The agent behind an HTTP proxy: what it asks of it, what it says when there is no tunnel.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
};

use crate::{
    node::{Node, text, write},
    server::Server,
};

/// A port at which nobody listens, and that is never given to who asks for any.
const NOBODY: u16 = 1;

/// A proxy for one connection: it gives this answer, and when that is a tunnel leads to `to`. Gives what it was asked.
fn proxy(on: IpAddr, answer: &'static str, to: Option<u16>) -> (u16, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((on, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = thread::spawn(move || {
        let (mut near, _) = listener.accept().unwrap();
        let reader = BufReader::with_capacity(1, near.try_clone().unwrap());
        let head = reader.lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        near.write_all(answer.as_bytes()).unwrap();
        if let Some(to) = to {
            let mut far = TcpStream::connect(("127.0.0.1", to)).unwrap();
            let (mut back, mut from) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from, &mut back));
            let _ = std::io::copy(&mut near, &mut far);
        }
        head
    });
    (port, served)
}

/// A node with a run log, the server of which is `host`.
fn node(server: &Server, host: &str, proxy: &str) -> Node {
    let node = Node::new();
    node.server(server.port);
    let conf = fs::read_to_string(&node.paths.agent_conf).unwrap();
    let conf: String =
        conf.lines().filter(|line| !line.starts_with("server")).map(|l| format!("{l}\n")).collect();
    write(&node.paths.agent_conf, &format!("{conf}server = {host}\nhttps_proxy = {proxy}\n"));
    assert!(node.policies("echo run").status.success());
    node
}

fn created(_: usize, _: &crate::server::Request) -> String {
    "201 Created".into()
}

#[test]
fn a_proxy_is_asked_for_a_tunnel_and_alone_gets_the_credentials() {
    let server = Server::start(created);
    let ways = [
        (IpAddr::V4(Ipv4Addr::LOCALHOST), "root.test", format!("root.test:{}", server.port)),
        (IpAddr::V6(Ipv6Addr::LOCALHOST), "2001:db8::7", format!("[2001:db8::7]:{}", server.port)),
    ];
    for (on, host, to) in ways {
        let (port, proxied) = proxy(on, "HTTP/1.1 200 Connected\r\nVia: x\r\n\r\n", Some(server.port));
        let on = if on.is_ipv6() { format!("[{on}]") } else { on.to_string() };
        let node = node(&server, host, &format!("http://user:p%40ss@{on}:{port}/"));
        let sent = node.agent(&["send"]);
        assert!(sent.status.success(), "{sent:?}");
        let credentials = "Proxy-Authorization: Basic dXNlcjpwQHNz".to_owned();
        let asked = [format!("CONNECT {to} HTTP/1.1"), format!("Host: {to}"), credentials];
        assert_eq!(proxied.join().unwrap(), asked);
        let request = server.requests().pop().unwrap();
        assert_eq!(request.client.as_ref(), Some(&node.identity.node_id));
        let heads = request.headers.join("\n").to_lowercase();
        assert!(heads.contains(&format!("host: {to}")) && !heads.contains("proxy"), "{heads}");
    }
}

#[test]
fn each_way_in_which_there_is_no_tunnel_is_named() {
    let server = Server::start(created);
    for (answer, expected) in [
        ("HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\n\r\n", "does not accept the user or the password"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "does not allow connections to this server"),
        ("HTTP/1.0 501 No\r\n\r\n", "is there a proxy at that port?"),
        ("HTTP/1.1 503 x\r\n\r\n", "cannot reach this server"),
        ("220 smtp.example ESMTP\r\n", "no HTTP proxy is there"),
        ("", "closed the connection unanswered"),
    ] {
        let (port, proxied) = proxy(Ipv4Addr::LOCALHOST.into(), answer, None);
        let node = node(&server, "root.test", &format!("http://user:canary@127.0.0.1:{port}"));
        let sent = node.agent(&["send"]);
        proxied.join().unwrap();
        let said = text(&sent.stdout) + &text(&sent.stderr);
        assert!(!sent.status.success() && said.contains(expected), "{said}");
        assert!(said.contains(&format!("the proxy 127.0.0.1:{port}")) && !said.contains("canary"), "{said}");
        assert_eq!(node.ready().len(), 1);
    }
    let node = node(&server, "root.test", &format!("http://user:canary@127.0.0.1:{NOBODY}"));
    let said = text(&node.agent(&["send"]).stdout);
    assert!(said.contains(&format!("cannot connect to the proxy 127.0.0.1:{NOBODY}: ")), "{said}");
}

#[test]
fn the_environment_is_heard_only_when_it_is_pointed_to() {
    let server = Server::start(created);
    let url = format!("http://user:canary@127.0.0.1:{NOBODY}");
    let send = |node: &Node, variables: &[(&str, &str)]| {
        let sent = node.command(&["send"]).envs(variables.iter().copied()).output().unwrap();
        text(&sent.stdout) + &text(&sent.stderr)
    };
    let (straight, pointed) = (node(&server, "127.0.0.1", ""), node(&server, "root.test", "system"));
    assert!(send(&straight, &[("https_proxy", &url)]).contains("1 sent"));
    let asked = send(&pointed, &[("https_proxy", &url)]);
    assert!(asked.contains(&format!("the proxy 127.0.0.1:{NOBODY}")), "{asked}");
    let exempt = send(&pointed, &[("HTTPS_PROXY", &url), ("NO_PROXY", ".test")]);
    assert!(exempt.contains(&format!("cannot connect to root.test:{}", server.port)), "{exempt}");
    let wrong = send(&pointed, &[("https_proxy", "https://user:canary@127.0.0.1:1")]);
    assert!(wrong.contains("https_proxy") && wrong.contains("only http://"), "{wrong}");
    for said in [asked, exempt, wrong] {
        assert!(!said.contains("canary"), "{said}");
    }
}

#[test]
fn a_mistyped_proxy_is_refused_without_being_shown() {
    let server = Server::start(created);
    let node = Node::new();
    node.server(server.port);
    write(&node.paths.agent_conf, "https_proxy = http://user:canary@proxy:port\n");
    let said = text(&node.agent(&["send"]).stderr);
    assert!(said.contains("agent.conf") && said.contains("its port is not a number"), "{said}");
    write(&node.paths.agent_conf, "https_proxy http://user:canary@proxy:1\n");
    let other = text(&node.agent(&["send"]).stderr);
    assert!(other.contains("\"https_proxy\" is not a setting"), "{other}");
    assert!(!said.contains("canary") && !other.contains("canary"), "{said}{other}");
}
