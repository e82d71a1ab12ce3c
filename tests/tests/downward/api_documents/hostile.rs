// SPDX-License-Identifier: Apache-2.0
//! What no operation has: other methods, odd queries, large heads, bodies without end, readers that do not read.
//! A table over all operations of both listeners; nothing of it may be a fault of the server (5xx).

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use tests::{Result, client::Reply, identity::Identity, server::Server, site::Site};

use super::{
    ask::{Ask, To, ask},
    document::{Document, Operation},
    shared,
    walk::Walk,
    world::with_directories,
};

const METHODS: [&str; 9] = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"];

/// Queries that mean nothing to anybody.
const QUERIES: [&str; 8] = [
    "%",
    "%00",
    "%ff%fe",
    "=",
    "&&&=&",
    "a=b=c&a",
    "ttl=%f0%9f%92%a9&hash=%zz&have=%2c&by=&from=-1",
    "hash_type",
];

#[test]
fn what_no_operation_has_is_refused_and_never_a_fault() -> Result<()> {
    let walk = Walk::new()?;
    let mut site = Site::new()?;
    let machine = site.add_machines(&site.root_id().clone(), 1)?.remove(0);
    let mut server = site.prepare_root(site.sqlite())?;
    with_directories(&mut server);
    server.set("gateway.uploads_per_minute", "1000000");
    // Nobody is there to run.
    server.set("remote_run.expiry", "\"1s\"");
    server.start()?;
    shared::prepare(&server)?;
    for (document, to) in
        [(&walk.local, To::local(&server)), (&walk.gateway, To::gateway(&server, &machine)?)]
    {
        other_methods(document, &to, &machine)?;
        odd_queries(document, &to, &machine)?;
        large_heads(document, &to, &machine)?;
    }
    endless_and_deaf(&server)?;
    server.check()?;
    assert!(!server.log().contains("panicked"), "{}", server.log_end());
    Ok(())
}

fn named(machine: &Identity) -> Ask {
    let id = &machine.node_id;
    // Runs of nodes that are not there are not waited for.
    let ask = ask()
        .body("asynchronous=true")
        .path("node_id", id)
        .path("target", id)
        .path("source", id)
        .path("file_id", "a");
    ask.path("path", "setup.sh")
        .path("file_name", "x.log")
        .path("run", "3f333b87-7e3c-4f8d-9a5e-3f1d6ab5a0c7")
}

/// 404 for each method that a path does not have (protocol 7.2).
fn other_methods(document: &Document, to: &To, machine: &Identity) -> Result<()> {
    for operation in document.operations().values() {
        let had: Vec<_> =
            document.operations().values().filter(|o| o.path == operation.path).map(|o| &o.method).collect();
        for method in METHODS.iter().filter(|method| !had.iter().any(|had| had == *method)) {
            let other = Operation { method: (*method).to_owned(), ..operation.clone() };
            let reply = named(machine).send(&other, to)?;
            let said = (reply.status, if *method == "HEAD" { "" } else { "NOT FOUND" });
            let body = String::from_utf8_lossy(&reply.body);
            assert_eq!((reply.status, body.trim_end()), (404, said.1), "{method} {}", operation.path);
        }
    }
    Ok(())
}

fn odd_queries(document: &Document, to: &To, machine: &Identity) -> Result<()> {
    for (id, operation) in document.operations() {
        for query in QUERIES {
            let reply = named(machine).query(query).send(operation, to)?;
            no_fault(document, id, &reply, query)?;
        }
    }
    Ok(())
}

/// Of more than a head may have: refused, whatever it asks for.
fn large_heads(document: &Document, to: &To, machine: &Identity) -> Result<()> {
    for (id, operation) in document.operations() {
        let large = named(machine).header("X-Large", "x".repeat(64 * 1024));
        // The connection may be closed before the client has written all of it.
        if let Ok(reply) = large.send(operation, to) {
            assert!(matches!(reply.status, 400 | 431), "{id}: {}", reply.status);
        }
        let many = (0..200).fold(named(machine), |ask, n| ask.header(&format!("X-{n}"), n));
        if let Ok(reply) = many.send(operation, to) {
            no_fault(document, id, &reply, "200 headers")?;
        }
    }
    Ok(())
}

/// An answer below 500; or one that the protocol wants so, and the document says.
fn no_fault(document: &Document, id: &str, reply: &Reply, what: &str) -> Result<()> {
    if reply.status < 500
        || document.operation(id)?.object["responses"].get(reply.status.to_string()).is_some()
    {
        return Ok(());
    }
    Err(format!("{id}, {what}: {}", reply.status).into())
}

/// Clients that send on and on, or take nothing, are no burden to others.
fn endless_and_deaf(server: &Server) -> Result<()> {
    let mut open = Vec::new();
    for request in [
        "GET /rudder/relay-api/1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50),
        "POST /rudder/relay-api/1/system/reload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        "PUT /rudder/relay-api/1/shared-files/root/root/a?ttl=1d HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n".to_owned(),
        "GET /metrics HTTP/1.1\r\nHost: x\r\nX: ".to_owned(),
    ] {
        let mut stream = TcpStream::connect(server.api())?;
        stream.write_all(request.as_bytes())?;
        open.push(stream);
    }
    // Each of them is held open, and others are answered as ever.
    let start = Instant::now();
    for _ in 0..20 {
        assert_eq!(tests::http::get(server.api(), "/rudder/relay-api/1/system/info")?.status, 200);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // Who stops in the middle of a head is cut off.
    let stalled = open.last_mut().ok_or("none")?;
    stalled.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut rest = Vec::new();
    let _ = stalled.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&rest));
    Ok(())
}
