// SPDX-License-Identifier: Apache-2.0
//! What is in the journal, asked of a real one with journalctl.

use std::process::Command;

use bytes::Bytes;
use chrono::Utc;
use hyper::Method;
use logging::{Format, Level, LogControl, Program, Settings, Style};
use serde_json::Value;
use tests::{
    Result,
    client::{connector, once},
    http,
    journal::Journal,
    node::Node,
    programs,
    simulated::Run,
    site::{Site, spool_old},
};

fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_default()
}

fn says(what: &'static str) -> impl Fn(&Value) -> bool {
    move |entry| text(entry, "MESSAGE").starts_with(what)
}

#[test]
fn the_journal_finds_nodes_files_runs_and_requests() -> Result<()> {
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 2)?;
    let Some(journal) = Journal::start(site.directory())? else { return Ok(()) };
    let mut root = site.prepare_root(site.sqlite())?;
    let wrapper = journal.wrapper();
    root.run_under(&wrapper.iter().map(String::as_str).collect::<Vec<_>>());
    root.start()?;
    let started = journal.wait_for(&["SYSLOG_IDENTIFIER=relayd"], says("started as node root"))?;
    assert_eq!(text(&started, "PRIORITY"), "5", "{started}");
    assert_eq!(text(&started, "_TRANSPORT"), "journal");
    assert_eq!(text(&started, "CODE_FILE"), "relayd/src/daemon.rs");

    // A run log that nobody signed.
    let run = Run::new(machines[0].node_id.clone(), Utc::now(), 2).pack(&machines[0])?;
    spool_old(&root.incoming(), &run.name, b"this is no run log")?;
    let node_id = format!("NODE_ID={}", machines[0].node_id);
    let rejected = journal.wait_for(&[&node_id], says("rejected, moved to failed/"))?;
    assert_eq!(text(&rejected, "PRIORITY"), "4", "{rejected}");
    assert_eq!(text(&rejected, "SPOOL"), "reports");
    assert_eq!(text(&rejected, "RUN"), run.name.split('@').next().unwrap_or_default());
    let queue_id = format!("QUEUE_ID={}", text(&rejected, "QUEUE_ID"));
    assert_eq!(journal.entries(&[&queue_id])?.len(), 1, "{rejected}");
    assert!(text(&rejected, "MESSAGE").contains(&node_id.to_lowercase()), "{rejected}");

    // An upload in the name of another node, under an id that the client has chosen.
    let mine = Run::new(machines[1].node_id.clone(), Utc::now(), 2).pack(&machines[1])?;
    let path = protocol::urls::UploadKind::RunLog.path(&mine.name);
    let connector = connector(&machines[0], root.key_hash())?;
    let headers = [("x-request-id", "ticket-4711")];
    let body = Bytes::from(mine.content);
    let reply = once(root.gateway(), &connector, Method::PUT, &path, &headers, body)?;
    assert_eq!((reply.status, reply.header("x-request-id")), (403, "ticket-4711"));
    let refused = journal.wait_for(&["REQUEST_ID=ticket-4711"], says("upload refused"))?;
    assert_eq!((text(&refused, "STATUS"), text(&refused, "PRIORITY")), ("403", "4"), "{refused}");
    assert_eq!(text(&refused, "NODE_ID"), machines[1].node_id.as_str());
    assert!(!http::get(root.api(), "/rudder/relay-api/1/system/info")?.header("x-request-id").is_empty());

    root.stop()?;
    journal.wait_for(&["SYSLOG_IDENTIFIER=relayd"], says("stopped"))?;
    // Nothing went past the fields, as a line.
    assert_eq!(journal.entries(&["_TRANSPORT=stdout"])?, Vec::<Value>::new());
    Ok(())
}

#[test]
fn the_agent_is_found_under_its_node_id() -> Result<()> {
    let site = Site::new()?;
    let Some(journal) = Journal::start(site.directory())? else { return Ok(()) };
    let node = Node::init(&site.directory().join("node"), &[])?;
    node.run(&["true"])?;
    let mut words = journal.wrapper();
    words.push(programs::find("agent")?.display().to_string());
    words.extend(["--root".to_owned(), node.root().display().to_string(), "send".to_owned()]);
    let ended = Command::new(programs::of_system(&words[0])?).args(&words[1..]).status()?;
    assert!(!ended.success(), "there is no policy server");
    let node_id = format!("NODE_ID={}", node.node_id());
    let entry = journal.wait_for(&[&node_id], |entry| text(entry, "PRIORITY") == "3")?;
    assert_eq!(text(&entry, "SYSLOG_IDENTIFIER"), "relayd-agent", "{entry}");
    Ok(())
}

#[test]
fn nobody_who_is_quoted_forges_an_entry_and_repeats_are_summed_up() -> Result<()> {
    let site = Site::new()?;
    let Some(journal) = Journal::start(site.directory())? else { return Ok(()) };
    let words = journal.wrapper();
    let own = std::env::current_exe()?;
    let status = Command::new(programs::of_system(&words[0])?)
        .args(&words[1..])
        .arg(own)
        .args(["--ignored", "--exact", "journal::logs_what_is_hostile"])
        .status()?;
    assert!(status.success());
    let of_test = ["SYSLOG_IDENTIFIER=hostile"];
    let hostile = journal.wait_for(&of_test, says("quoted"))?;
    // The text is one line for people, the field what it was.
    assert_eq!(
        text(&hostile, "MESSAGE"),
        r"quoted a\nMESSAGE=forged\u{1b}[2J what=a\nPRIORITY=0\nNODE_ID=root"
    );
    assert_eq!(text(&hostile, "WHAT"), "a\nPRIORITY=0\nNODE_ID=root");
    assert_eq!(text(&hostile, "PRIORITY"), "4");
    assert_eq!(journal.entries(&["NODE_ID=root"])?, Vec::<Value>::new());
    assert_eq!(journal.entries(&["MESSAGE=forged"])?, Vec::<Value>::new());
    // More than a datagram holds.
    let long = journal.wait_for(&of_test, says("long"))?;
    assert_eq!(text(&long, "WHAT").len(), 1 << 20);
    // The innermost span counts.
    let inner = journal.wait_for(&["NODE_ID=inner"], says("in spans"))?;
    assert_eq!(text(&inner, "QUEUE_ID"), "q");
    let summary = journal.wait_for(&of_test, says("45 more like this: again"))?;
    assert_eq!((text(&summary, "HELD_BACK"), text(&summary, "PRIORITY")), ("45", "3"));
    let again = journal.entries(&of_test)?.into_iter().filter(says("again")).count();
    assert_eq!(again, 5);
    let priorities = |level: &str| journal.entries(&[&format!("LEVEL={level}")]);
    for (level, priority) in [("error", "3"), ("warn", "4"), ("info", "5"), ("debug", "6"), ("trace", "7")] {
        let entries = priorities(level)?;
        assert_eq!(entries.len(), 1, "{level}");
        assert_eq!(text(&entries[0], "PRIORITY"), priority);
    }
    Ok(())
}

#[test]
fn each_event_is_one_line_of_json_or_text() -> Result<()> {
    let lines = |format: &str| -> Result<Vec<String>> {
        let output = Command::new(std::env::current_exe()?)
            .args(["--ignored", "--exact", "journal::logs_what_is_hostile"])
            .env("LOG_FORMAT", format)
            .output()?;
        assert!(output.status.success());
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    };
    let json: Vec<Value> = lines("json")?.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(json.len(), 14, "{json:#?}");
    assert_eq!(json[0]["fields"]["message"], "quoted a\nMESSAGE=forged\u{1b}[2J");
    assert_eq!(json[0]["fields"]["what"], "a\nPRIORITY=0\nNODE_ID=root");
    let spans = json.iter().find(|line| line["fields"]["message"] == "in spans").ok_or("no spans")?;
    assert_eq!(spans["span"]["node_id"], "inner");
    let human = lines("human")?;
    let is_event = |line: &&String| {
        ["ERROR ", "WARN ", "INFO ", "DEBUG ", "TRACE "].iter().any(|l| line.trim_start().starts_with(l))
    };
    assert_eq!(human.iter().filter(is_event).count(), 14, "{human:#?}");
    // The formatter has its own way to show an escape character.
    assert!(human.iter().any(|line| line.contains(r" WARN quoted a\nMESSAGE=forged\")), "{human:#?}");
    assert!(human.iter().all(|line| !line.contains(char::is_control)), "{human:#?}");
    assert!(human.contains(
        &r#" INFO node{node_id="outer"}:report{node_id="inner" queue_id="q"}: in spans"#.to_owned()
    ));
    Ok(())
}

/// Not a test: what those above run, one under the journal. By itself it does no harm.
#[test]
#[ignore = "run by another test, connected to a journal"]
fn logs_what_is_hostile() -> Result<()> {
    let log = LogControl::start(Program { identifier: "hostile", style: Style::Daemon })?;
    let format = match std::env::var("LOG_FORMAT").as_deref() {
        Ok("json") => Format::Json,
        Ok("human") => Format::Human,
        _ => Format::Auto,
    };
    log.configure(&Settings { format, ..Settings::new(Level::Trace, "") }, &[])?;
    let what = "a\nPRIORITY=0\nNODE_ID=root";
    tracing::warn!(what, "quoted a\nMESSAGE=forged\u{1b}[2J");
    tracing::warn!(what = "x".repeat(1 << 20), "long");
    let outer = tracing::error_span!("node", node_id = "outer");
    let inner = tracing::error_span!(parent: &outer, "report", node_id = "inner", queue_id = "q");
    inner.in_scope(|| tracing::info!("in spans"));
    (0..50).for_each(|_| tracing::error!("again"));
    tracing::error!(level = "error", "one of each");
    tracing::warn!(level = "warn", "one of each");
    tracing::info!(level = "info", "one of each");
    tracing::debug!(level = "debug", "one of each");
    tracing::trace!(level = "trace", "one of each");
    log.finish();
    Ok(())
}
