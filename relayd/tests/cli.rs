// SPDX-License-Identifier: Apache-2.0
//! The program: help, manual pages, exit codes, signals, run logs.

#[path = "cli/manual.rs"]
mod manual_pages;
mod support;

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use support::{assert_golden, fixture, idle_server, relayd, stdout, wait_until};

#[test]
fn help_is_up_to_date() {
    let mut text = String::new();
    for command in [
        &["--help"][..],
        &["config", "--help"],
        &["run-log", "show", "--help"],
        &["node", "--help"],
        &["node", "accept", "--help"],
        &["token", "create", "--help"],
        &["routes", "--help"],
        &["ca", "issue", "--help"],
        &["server-key", "--help"],
    ] {
        text.push_str(&format!("$ relayd {}\n{}\n", command.join(" "), stdout(command)));
    }
    assert_golden("help.txt", &text);
}

#[test]
fn a_database_given_by_url_is_migrated_without_any_configuration() {
    let nothing = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/reports.sqlite", path(&nothing));
    let migrate = ["-c", path(&nothing), "database", "migrate"];
    assert_eq!(relayd(&migrate).status.code(), Some(3));
    let said = stdout(&[&migrate[..], &["--url", &url]].concat());
    assert!(said.starts_with("applied "), "{said}");
}

fn path(directory: &tempfile::TempDir) -> &str {
    directory.path().to_str().unwrap()
}

#[test]
fn exit_codes_tell_form_from_rules() {
    let good = idle_server("peer_authentication = \"dangerous_none\"\n");
    for check in [&["-t"][..], &["--test"], &["--check"], &["config", "check"]] {
        let output = relayd(&[&["-c", path(&good)], check].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, "warning: Certificate verification is disabled\nSyntax: OK\n");
    }
    let form = idle_server("https_port = \"x\"\n");
    let rule = idle_server("[processing.reporting]\noutput = \"upstream\"\n");
    let abroad = idle_server("");
    fs::write(abroad.path().join("main.conf"), "[general]\nnode_id = \"root\"\nlisten = \"0.0.0.0:0\"\n")
        .unwrap();
    let logging = idle_server("");
    fs::write(logging.path().join("logging.conf"), "[general]\nlevel = 3\n").unwrap();
    let nothing = tempfile::tempdir().unwrap();
    for (directory, code, says) in [
        (&form, 2, "main.conf:6: general.https_port: "),
        (&rule, 3, "output.upstream.host: missing"),
        (&abroad, 2, "not a loopback address"),
        (&logging, 2, "logging.conf:2: general.level: "),
        (&nothing, 3, "Could not read main configuration file from "),
    ] {
        // The daemon itself says and does the same as the check.
        for check in [&["-t"][..], &[]] {
            let output = relayd(&[&["--config", path(directory)], check].concat());
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
        }
    }
    assert_eq!(relayd(&["--colour"]).status.code(), Some(2));
    assert_eq!(relayd(&["run-log", "show", "/nowhere/a.log"]).status.code(), Some(1));
}

#[test]
fn an_address_in_use_is_a_start_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = idle_server("");
    let main = fs::read_to_string(directory.path().join("main.conf")).unwrap();
    let listen = format!("listen = \"{}\" #", taken.local_addr().unwrap());
    fs::write(directory.path().join("main.conf"), main.replace("listen =", &listen)).unwrap();
    let output = relayd(&["-c", path(&directory)]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("change general.listen"), "{output:?}");
}

/// A running daemon, killed when the test fails.
struct Daemon {
    child: Child,
    directory: tempfile::TempDir,
}

impl Daemon {
    fn start(directory: tempfile::TempDir) -> Self {
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_relayd"))
            .arg("--config")
            .arg(directory.path())
            .stdout(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let daemon = Self { child, directory };
        wait_until("the API answers", || daemon.ask("GET", "system/info").is_some());
        // It answers before all is said about the start.
        wait_until("it has started", || daemon.log().contains("INFO started as node root\n"));
        daemon
    }

    fn ask(&self, method: &str, path: &str) -> Option<String> {
        let mut stream = UnixStream::connect(self.directory.path().join("api.sock")).ok()?;
        let request = format!(
            "{method} /rudder/relay-api/1/{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn signals_stop_and_reload() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut daemon = Daemon::start(idle_server(""));
        daemon.signal(signal);
        assert_eq!(daemon.end().code(), Some(0));
        assert!(daemon.log().contains("INFO stopped\n"));
        assert!(!daemon.directory.path().join("api.sock").exists());
    }
}

#[test]
fn a_reload_changes_the_log_and_a_broken_file_keeps_the_old_state() {
    let mut daemon = Daemon::start(idle_server(""));
    let logging = daemon.directory.path().join("logging.conf");
    fs::write(&logging, "[general]\nlevel = \"loud\"\n").unwrap();
    daemon.signal(Signal::HUP);
    wait_until("the error is logged", || daemon.log().contains("what was loaded before stays in use"));
    let answer = daemon.ask("POST", "system/reload").unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(
        answer.contains("Could not reload logging.conf: ") && answer.contains("logging.conf:2: "),
        "{answer}"
    );
    // Each event is one line, also the error that quotes the file.
    for line in daemon.log().lines() {
        assert!(["ERROR", " INFO", " WARN"].iter().any(|level| line.starts_with(level)), "{line:?}");
    }

    // main.conf is not read again; whoever changed it hears so.
    fs::remove_file(&logging).unwrap();
    daemon.ask("POST", "system/reload").unwrap();
    assert!(!daemon.log().contains("applies after a restart"));
    let main = daemon.directory.path().join("main.conf");
    fs::write(&main, fs::read_to_string(&main).unwrap() + "# changed\n").unwrap();
    daemon.ask("POST", "system/reload").unwrap();
    assert!(daemon.log().contains("main.conf has changed; that applies after a restart"), "{}", daemon.log());

    fs::write(&logging, "[general]\nlevel = \"off\"\n").unwrap();
    let answer = daemon.ask("POST", "system/reload").unwrap();
    assert!(
        answer.ends_with("\r\n\r\n{\"result\":\"success\",\"action\":\"reloadConfiguration\"}"),
        "{answer}"
    );
    let before = daemon.log();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().code(), Some(0));
    assert_eq!(daemon.log(), before, "logs although switched off");
}

#[test]
fn settings_are_shown_without_secrets() {
    let directory = idle_server("[output.upstream]\npassword = \"CANARY\"\n");
    let shown = stdout(&["config", "show", "-c", path(&directory)]);
    assert!(shown.contains("\npassword = \"***\"\n") && !shown.contains("CANARY"), "{shown}");
    assert!(
        shown.contains("\nhttps_port = 443  # default\n")
            && shown.contains("\nlevel = \"info\"  # default\n"),
        "{shown}"
    );
}

#[test]
fn run_logs_are_shown_as_json_in_the_known_shape() {
    for name in [
        "2018-08-24T15_55_01+00_00@e745a140-40bc-4b86-b6dc-084488fc906b",
        "2019-12-02T14_24_20+00_00@root",
        "2020-04-07T11_20_58+00_00@e745a140-40bc-4b86-b6dc-084488fc906b",
    ] {
        let (Some(log), Some(json)) =
            (fixture(&format!("runlogs/{name}.log")), fixture(&format!("runlogs/{name}.json")))
        else {
            return;
        };
        let mut shown: serde_json::Value =
            serde_json::from_str(&stdout(&["run-log", "show", "--json", log.to_str().unwrap()])).unwrap();
        let skipped = shown.as_object_mut().unwrap().remove("skipped").unwrap();
        assert!(skipped.is_array());
        let expected: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
        assert_eq!(shown, expected);
    }
}

#[test]
fn signatures_are_verified_when_a_certificate_is_given() {
    let name = "2018-08-24T15_55_01+00_00@e745a140-40bc-4b86-b6dc-084488fc906b.signed";
    let Some(signed) = fixture(&format!("runlogs/{name}")) else { return };
    let Some(keys) = fixture("keys") else { return };
    let certificate = |name: &str| keys.join(name).to_str().unwrap().to_owned();
    let signed = signed.to_str().unwrap();

    let unverified = stdout(&["run-log", "show", signed]);
    assert!(
        unverified.contains("signature not checked") && unverified.contains("72 reports, 1 skipped"),
        "{unverified}"
    );
    let good = certificate("e745a140-40bc-4b86-b6dc-084488fc906b.cert");
    let verified = stdout(&["run-log", "show", "--cert", &good, signed]);
    assert_eq!(verified, unverified.replace("signature not checked", "signature verified"));

    let other = certificate("37817c4d-fbf7-4850-a985-50021f4e8f41.cert");
    assert_eq!(relayd(&["run-log", "show", "--cert", &other, signed]).status.code(), Some(1));
    // What is not signed is refused when a signature is asked for.
    let plain = Path::new(signed).with_extension("log");
    let output = relayd(&["run-log", "show", "--cert", &good, plain.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("not signed"), "{output:?}");
}

#[test]
fn the_rule_table_is_printed() {
    let table = stdout(&["routes"]);
    assert!(table.contains("/enrolments/<node id>") && table.contains("loopback"), "{table}");
    let json = stdout(&["routes", "--json"]);
    let rows: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let others =
        |listener: &str| rows.iter().rfind(|row| row["listener"] == listener).unwrap()["who"].clone();
    assert_eq!(
        (others("gateway"), others("local")),
        (serde_json::json!(["nobody"]), serde_json::json!(["nobody"]))
    );
    assert!(relayd(&["routes", "--colour"]).status.code() == Some(2));
}
