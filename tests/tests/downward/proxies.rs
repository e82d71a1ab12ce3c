// SPDX-License-Identifier: Apache-2.0
//! HTTP proxies between agent, relay and root. Servers have names that only the proxies know, so what arrives came
//! through them.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    process::Command,
    time::Duration,
};

use tests::{
    Result, http,
    identity::{Identity, Keys},
    judge,
    node::Node,
    process::Process,
    programs,
    realm::{Realm, wait_known},
    server::Server,
    tunnels::{Asked, Tunnels},
    wait,
};

const SOON: Duration = Duration::from_secs(30);
/// As typed into URLs, and as sent.
const RELAYS: (&str, &str) = ("relay:canary%2Fup", "relay:canary/up");
const NODES: (&str, &str) = ("node:canary-down", "node:canary-down");

/// A relay, prepared, whose upstream is `root.test` and is reached as the environment says.
fn relay(realm: &Realm, proxy: &Tunnels) -> Result<Server> {
    let identity = Identity::random(Keys::P256)?;
    let mut relay = realm.relay_of(&identity, &realm.root, 443)?;
    proxy.name("root.test:443", realm.root.gateway());
    proxy.require(RELAYS.1);
    let variable = format!("https_proxy=http://{}@{}", RELAYS.0, proxy.address());
    relay.run_under(&["env", &variable, "no_proxy=10.0.0.0/8,relay.test"]);
    relay.set("output.upstream.host", "\"root.test\"").set("triggers.wait", "\"1s\"");
    relay.set("processing.reporting.catchup.frequency", "\"1s\"");
    relay.log_level("trace");
    Ok(relay)
}

/// A machine that knows its policy server as `relay.test` and has a proxy configured.
fn node(realm: &Realm, relay: &Server, proxy: &Tunnels) -> Result<Node> {
    let node = Node::init(&realm.directory().join("node"), &["--key", "p256"])?;
    node.configure(443, relay.key_hash(), "1")?;
    let conf = format!("server = relay.test\nhttps_proxy = http://{}@{}\n", NODES.0, proxy.address());
    fs::write(node.root().join("opt/rudder/etc/agent.conf"), conf)?;
    let policy =
        "policy_command = [\"/bin/sh\", \"-c\", \"echo triggered\"]\nrun_interval = \"7d\"\nupdate = false\n";
    fs::write(node.root().join("opt/rudder/etc/relayd-agent.conf"), policy)?;
    proxy.require(NODES.1);
    Ok(node)
}

#[track_caller]
fn expect_tls_only(asked: &[Asked], to: &str, credentials: &str) {
    let encoded = openssl::base64::encode_block(credentials.as_bytes());
    assert!(!asked.is_empty());
    for one in asked {
        assert_eq!(one.to, to);
        assert_eq!(one.authorization, Some(format!("Basic {encoded}")));
        // Some may have been closed before anything was sent.
        assert!(matches!(one.first_byte, Some(22) | None), "{one:?}");
    }
}

#[track_caller]
fn expect_no_credentials(place: &str, text: &str) {
    for credentials in [RELAYS, NODES] {
        let password = |text: &str| text.split(':').nth(1).unwrap().to_owned();
        let encoded = openssl::base64::encode_block(credentials.1.as_bytes());
        for secret in [password(credentials.0), password(credentials.1), encoded] {
            assert!(!text.contains(&secret), "{place} has {secret:?}");
        }
    }
}

#[test]
fn everything_between_agent_relay_and_root_goes_through_proxies() -> Result<()> {
    let mut realm = Realm::prepare()?;
    let (up, down) =
        (Tunnels::start(Ipv6Addr::LOCALHOST.into())?, Tunnels::start(Ipv4Addr::LOCALHOST.into())?);
    realm.root.start()?;
    let mut relay = relay(&realm, &up)?;
    // Before its proxy lets it through it says why, and goes on.
    up.require("other:credentials");
    relay.start()?;
    let refusal = "through the proxy [::1]:";
    wait::until_true("the relay to say why", SOON, || Ok(relay.log().contains(refusal)))?;
    let log = relay.log();
    let line = log.lines().find(|line| line.contains(refusal)).unwrap_or_default();
    assert!(line.contains("root.test:443") && line.contains("does not accept the user"), "{line}");
    up.require(RELAYS.1);

    // Enrolment of the node: through both. The relay follows the tree of the root.
    let node = node(&realm, &relay, &down)?;
    down.name("relay.test:443", relay.gateway());
    let asked = node.agent(&["enroll", "--hostname", "web-1.example.com", "--no-wait"])?;
    assert_eq!(asked.status.code(), Some(4), "{asked:?}\n{}", relay.log_end());
    realm.operator(&["node", "accept", node.node_id().as_str()])?;
    wait_known(&relay, node.identity())?;

    // A run log; and policies, for which the relay's cache asks above.
    node.run(&["echo", "hello"])?;
    let sent = node.send()?;
    assert!(sent.status.success(), "{sent:?}");
    let database = realm.root.database()?.clone();
    wait::until_true("rows at the root", SOON, || Ok(judge::count_rows(&database)? > 0))
        .map_err(|e| format!("{e}\n{}", relay.log_end()))?;
    let updated = node.agent(&["update", "--json"])?;
    assert!(String::from_utf8_lossy(&updated.stdout).contains("no_policies"), "{updated:?}");

    // The connection for triggers, and a run that the root asks for: it reaches the relay through a third proxy.
    let mut command = Command::new(programs::find("agent")?);
    command.arg("--root").arg(node.root()).arg("daemon");
    let daemon = Process::start("agent daemon", &mut command, &realm.directory().join("agent.log"))?;
    wait::until_true("the agent to be connected", SOON, || {
        Ok(relay.metric("relayd_trigger_connections")? == Some(1.0))
    })
    .map_err(|e| format!("{e}\n{}", daemon.log_end()))?;
    let across = Tunnels::start(Ipv4Addr::LOCALHOST.into())?;
    across.name("localhost:443", relay.gateway());
    realm.root.set("remote_run.proxy", format!("\"http://{}\"", across.address()));
    realm.root.set("remote_run.command", "\"\"");
    realm.root.stop()?;
    realm.root.start()?;
    let run = realm.operator(&["run", &format!("id:{}", node.node_id())])?;
    assert!(run.contains("triggered") && run.contains("1 succeeded"), "{run}");

    expect_tls_only(&up.asked(), "root.test:443", RELAYS.1);
    expect_tls_only(&down.asked(), "relay.test:443", NODES.1);
    assert!(across.asked().iter().all(|one| one.to == "localhost:443" && one.first_byte == Some(22)));
    drop(daemon);
    let agent_log = fs::read_to_string(realm.directory().join("agent.log"))?;
    expect_no_credentials("the agent's log", &agent_log);
    for server in [&realm.root, &relay] {
        expect_no_credentials("a server's log", &server.log());
        expect_no_credentials("its metrics", &server.metrics()?);
        expect_no_credentials(
            "its status",
            &http::get(server.api(), "/rudder/relay-api/1/system/status")?.body,
        );
    }
    Ok(())
}

/// A proxy that leads to another server gains nothing, and is found out before anything is sent.
#[test]
fn a_proxy_cannot_stand_in_for_the_server() -> Result<()> {
    let realm = Realm::start()?;
    let proxy = Tunnels::start(Ipv4Addr::LOCALHOST.into())?;
    let impostor = Realm::start()?;
    let mut relay = relay(&realm, &proxy)?;
    proxy.name("root.test:443", impostor.root.gateway());
    relay.start()?;
    wait::until_true("the relay to notice", SOON, || Ok(relay.log().contains("is not trusted")))?;
    let node = node(&realm, &relay, &proxy)?;
    proxy.name("relay.test:443", impostor.root.gateway());
    node.run(&["echo", "hello"])?;
    let sent = node.send()?;
    let said = String::from_utf8_lossy(&sent.stdout);
    assert!(!sent.status.success() && said.contains("not the pinned one"), "{sent:?}");
    assert_eq!(node.outbox()?.len(), 1);
    expect_no_credentials("what the agent says", &said);
    Ok(())
}

/// What an operator reads who has mistyped it.
#[test]
fn settings_that_cannot_be_meant_are_refused_without_showing_them() -> Result<()> {
    let realm = Realm::prepare()?;
    let with = |value: &str| -> Result<String> {
        let main = realm.root.directory().join("etc/main.conf");
        let _ = realm.root.command(&["config", "check"])?;
        let text = format!("{}output.upstream.proxy = {value:?}\n", fs::read_to_string(&main)?);
        fs::write(&main, text)?;
        check(&realm.root.directory().join("etc"), &[])
    };
    let said = with("socks5://relay:canary-up@proxy:1080")?;
    assert!(said.contains("main.conf") && said.contains("socks5 proxies are not supported"), "{said}");
    assert!(!said.contains("canary"), "{said}");
    let said = with("http://relay:canary/up@proxy:1080")?;
    assert!(said.contains("percent-encoded") && !said.contains("canary"), "{said}");
    let said = with("http://relay:canary-up@proxy:1080")?;
    assert!(said.contains("Syntax: OK") && !said.contains("canary"), "{said}");

    // The environment's is a warning: not every daemon needs it.
    let _ = realm.root.command(&["config", "check"])?;
    let etc = realm.root.directory().join("etc");
    let said = check(&etc, &[("HTTPS_PROXY", "http://relay:canary-up@proxy:port")])?;
    assert!(said.contains("warning: the proxy of the environment variable HTTPS_PROXY"), "{said}");
    assert!(said.contains("Syntax: OK") && !said.contains("canary"), "{said}");
    Ok(())
}

fn check(etc: &Path, environment: &[(&str, &str)]) -> Result<String> {
    let mut command = Command::new(programs::find("relayd")?);
    command.arg("--config").arg(etc).args(["config", "check"]);
    let output = command.envs(environment.iter().copied()).output()?;
    Ok([output.stdout, output.stderr].iter().map(|bytes| String::from_utf8_lossy(bytes)).collect())
}
