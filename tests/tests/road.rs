// SPDX-License-Identifier: Apache-2.0
//! The whole road: agent → relay → root → rows.

use std::{process::Command, time::Duration};

use chrono::Utc;
use diesel::{QueryableByName, RunQueryDsl, sql_query, sql_types::Text};
use tests::{
    Result,
    client::upload_all,
    judge::{self, Judge},
    node::Node,
    postgres::{Durability, Postgres},
    simulated,
    site::{Site, spool, wait_drained},
    wait,
};

const PATIENCE: Duration = Duration::from_secs(25);

/// A policy whose second component fails, with something said before.
const POLICY: &str = r#"
start=$(date -u '+%Y-%m-%d %H:%M:%S+00:00')
report() {
    printf 'R: @@%s@@%s@@7d9d1c1e-0000-4000-8000-000000000001@@7d9d1c1e-0000-4000-8000-000000000002@@0@@%s@@%s@@%s##%s@#%s\n' \
        "$1" "$2" "$3" "$4" "$start" "$NODE" "$5"
}
report motd result_success 'File content' /etc/motd 'is as wanted'
echo 'R: [ERROR] the disk said no'
report motd result_error 'File mode' /etc/motd 'cannot be changed'
"#;

#[derive(Debug, PartialEq, QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    eventtype: String,
    #[diesel(sql_type = Text)]
    component: String,
    #[diesel(sql_type = Text)]
    msg: String,
}

#[test]
fn what_an_agent_says_becomes_rows_at_the_root() -> Result<()> {
    let mut site = Site::new()?;
    let relay = site.add_relay(&site.root_id().clone())?;
    let node = Node::init(&site.directory().join("node"), &[])?;
    site.fleet().add(node.identity(), &relay.node_id);
    let mut root = site.prepare_root(site.sqlite())?;
    let mut relay = site.prepare_relay(&relay, &root, root.gateway().port())?;
    root.start()?;
    relay.start()?;

    node.configure(relay.gateway().port(), relay.key_hash(), "20260102-030405-5f3a9c1e")?;
    let script = format!("NODE={}\n{POLICY}", node.node_id());
    let run = node.run(&["sh", "-c", &script])?;
    assert_eq!(node.outbox()?.len(), 1, "{}", String::from_utf8_lossy(&run.stderr));
    let sent = node.send()?;
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    assert_eq!(node.outbox()?, []);

    let database = root.database()?.clone();
    wait::until_true("rows at the root", PATIENCE, || Ok(judge::count_rows(&database)? > 0))
        .map_err(|e| format!("{e}\nrelay: {}\nroot: {}", relay.log_end(), root.log_end()))?;
    let rows: Vec<Row> = sql_query(
        "SELECT eventtype, component, msg FROM ruddersysevents WHERE directiveid <> 'run' ORDER BY id",
    )
    .load(&mut judge::sqlite(&database)?)?;
    let row = |eventtype: &str, component: &str, msg: &str| Row {
        eventtype: eventtype.to_owned(),
        component: component.to_owned(),
        msg: msg.to_owned(),
    };
    let expected = [
        row("result_success", "File content", "is as wanted"),
        row("log_warn", "File mode", "the disk said no"),
        row("result_error", "File mode", "cannot be changed"),
    ];
    assert_eq!(rows, expected);

    // Again: the road takes what it has seen, and stores it once.
    assert!(relay.stop()?.success());
    assert!(root.stop()?.success());
    Ok(())
}

#[test]
fn run_logs_climb_two_relays_into_postgresql() -> Result<()> {
    let postgres = Postgres::start_new(Durability::Fast)?;
    let mut site = Site::new()?;
    let upper = site.add_relay(&site.root_id().clone())?;
    let lower = site.add_relay(&upper.node_id)?;
    let machines = site.add_machines(&lower.node_id, 4)?;
    let mut root = site.prepare_root(postgres.create_database("rudder")?)?;
    let mut upper = site.prepare_relay(&upper, &root, root.gateway().port())?;
    let mut lower = site.prepare_relay(&lower, &upper, upper.gateway().port())?;
    root.start()?;
    upper.start()?;
    lower.start()?;

    let mut judge = Judge::default();
    let logs = simulated::many(&machines, 10, simulated::USUAL_ROWS, Utc::now())?;
    logs.iter().for_each(|log| judge.claim(log));
    for machine in &machines {
        let own: Vec<_> = logs.iter().filter(|log| log.id.node_id == machine.node_id).cloned().collect();
        let statuses = upload_all(lower.gateway(), machine, lower.key_hash(), &own)?;
        assert!(statuses.iter().all(|status| *status == 201), "{statuses:?}");
        own.iter().for_each(|log| judge.acknowledge(&log.id));
    }
    let database = root.database()?.clone();
    wait::until_true("all rows", PATIENCE, || {
        Ok(judge::count_rows(&database)? >= logs.len() * simulated::USUAL_ROWS)
    })
    .map_err(|e| {
        format!("{e}\nroot: {}\nupper: {}\nlower: {}", root.log_end(), upper.log_end(), lower.log_end())
    })?;
    let verdict = judge.verdict(&database)?;
    assert!(verdict.is_complete(), "{verdict}");
    for server in [&mut lower, &mut upper, &mut root] {
        wait_drained(server, PATIENCE)?;
        assert!(server.stop()?.success());
    }
    Ok(())
}

/// The other supported door: an httpd in front that writes into the spool.
#[test]
fn files_put_into_the_spool_are_stored_and_gone() -> Result<()> {
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 3)?;
    let mut root = site.prepare_root(site.sqlite())?;
    root.start()?;
    let mut judge = Judge::default();
    for log in simulated::many(&machines, 20, simulated::USUAL_ROWS, Utc::now())? {
        judge.claim(&log);
        spool(&root.incoming(), &log.name, &log.content)?;
        judge.acknowledge(&log.id);
    }
    wait_drained(&mut root, PATIENCE)?;
    let verdict = judge.verdict(root.database()?)?;
    assert!(verdict.is_complete(), "{verdict}");
    // A file is counted just after it is gone.
    wait::until_true("60 run logs counted", PATIENCE, || {
        Ok(root.metric("rudder_relayd_reports_total{status=\"ok\"}")? == Some(60.0))
    })
}

#[test]
fn curl_with_a_client_certificate_uploads() -> Result<()> {
    let mut site = Site::new()?;
    let machines = site.add_machines(&site.root_id().clone(), 1)?;
    let mut root = site.prepare_root(site.sqlite())?;
    root.start()?;
    let log = simulated::many(&machines, 1, simulated::USUAL_ROWS, Utc::now())?.remove(0);
    let files = machines[0].write(site.directory())?;
    let (pin, base) = (root.key_hash().to_string(), format!("https://{}", root.gateway()));
    let file = site.directory().join("upload.log.gz");
    std::fs::write(&file, &log.content)?;
    let curl = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--tlsv1.3", "--insecure", "--max-time", "20"])
            .args(["--pinnedpubkey", &pin, "--cert"])
            .arg(&files.certificate)
            .arg("--key")
            .arg(&files.key)
            .args(arguments)
            .output()?;
        let said = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&said).into_owned())
    };
    let put = |path: &str, file: &std::path::Path| {
        let url = format!("{base}{path}");
        curl(&["--write-out", "%{http_code}", "--upload-file", &file.display().to_string(), &url])
    };
    assert_eq!(curl(&[&format!("{base}/uuid")])?.trim(), "root");
    // As older relays write it: two slashes, everything literal.
    assert_eq!(put(&format!("//reports/{}", log.name), &file)?, "201");
    let database = root.database()?.clone();
    wait::until_true("rows", PATIENCE, || Ok(judge::count_rows(&database)? == log.rows))?;
    // It is removed after its rows are there; until then the same again would be a 204.
    wait_drained(&mut root, PATIENCE)?;
    let escaped = log.name.replace(':', "%3A").replace('@', "%40").replace('+', "%2B");
    assert_eq!(put(&format!("/reports/{escaped}"), &file)?, "201");
    wait_drained(&mut root, PATIENCE)?;
    assert_eq!(judge::count_rows(&database)?, log.rows);
    Ok(())
}
