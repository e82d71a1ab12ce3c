// SPDX-License-Identifier: Apache-2.0
//! The life of the daemon under systemd: socket, start, reload, crash, watchdog, stop.

use tests::{Result, wait};

use crate::installed::{DAEMON, Installed, KEY, PATIENCE, UNIT, identity_of_root, packaged};

const MAIN: &str = "\
[general]
listen = \"unix:/run/relayd/api.sock\"
[gateway]
listen = \"[::]:443\"
key = \"credential:agent.key\"
[processing.reporting]
output = \"database\"
";

const LOGGING: &str = "[general]\nlevel = \"info\"\n";

/// A minute is not to be waited for in a test; a machine with much to do may stand still for some seconds.
const DROP_IN: &str = "[Service]\nWatchdogSec=8s\n";

#[test]
fn systemd_starts_reloads_revives_and_stops_the_daemon() -> Result<()> {
    let booted = Installed::boot(|debian| {
        identity_of_root(debian)?;
        debian.write("/opt/rudder/etc/relayd/main.conf", MAIN)?;
        debian.write("/opt/rudder/etc/relayd/logging.conf", LOGGING)?;
        let credential = format!("[Service]\nLoadCredential=agent.key:{KEY}\n");
        debian.write(format!("/etc/systemd/system/{UNIT}.d/credential.conf"), credential)?;
        debian.write(format!("/etc/systemd/system/{UNIT}.d/watchdog.conf"), DROP_IN)
    })?;
    let Some(installed) = booted else { return Ok(()) };

    // Whoever connects to the port of the socket starts the daemon, which has no right to that port itself.
    installed.machine.run("systemctl", &["start", "relayd-gateway.socket"])?;
    assert_eq!(installed.property("ActiveState")?, "inactive");
    for address in ["127.0.0.1", "[::1]"] {
        // Any answer over TLS.
        let ask = format!("curl -sgk -o /dev/null https://{address}/");
        wait::until_true("an answer of the gateway", PATIENCE, || {
            Ok(installed.try_sh(&ask)?.status.success())
        })
        .map_err(|e| format!("{e}\n{}", installed.log()))?;
    }
    // It answers before it has told systemd that it is ready.
    installed.wait_property("ActiveState", |state| state == "active")?;
    installed.wait_property("StatusText", |text| text == "root: 0 run logs waiting; database up")?;
    assert_eq!(installed.sh("stat -c %a:%U:%G /run/relayd/api.sock")?.trim(), "660:rudder-relayd:rudder");

    reloads(&installed)?;
    revived(&installed)?;
    not_revived(&installed)?;

    // Without the socket it may not have the port, and says what to do.
    installed.machine.run("systemctl", &["stop", "relayd-gateway.socket", UNIT])?;
    assert!(installed.systemctl("start").is_err());
    assert_eq!(installed.property("ExecMainStatus")?, "3");
    assert!(installed.log().contains("relayd-gateway.socket"), "{}", installed.log());

    gateway_comes_later(&installed)?;
    installed.machine.power_off()
}

/// systemd refuses to start a socket whose service runs; a restart of the service starts it in between.
fn gateway_comes_later(installed: &Installed) -> Result<()> {
    let without: Vec<_> = MAIN.lines().filter(|line| !line.contains("443")).collect();
    installed.debian.write("/opt/rudder/etc/relayd/main.conf", without.join("\n"))?;
    installed.systemctl("start")?;
    installed.debian.write("/opt/rudder/etc/relayd/main.conf", MAIN)?;
    installed.machine.run("systemctl", &["enable", "relayd-gateway.socket"])?;
    installed.systemctl("restart")?;
    let id = installed.sh("curl --silent --insecure https://localhost/uuid")?;
    assert_eq!(id.trim(), "root");
    Ok(())
}

/// `systemctl reload` tells how it went.
fn reloads(installed: &Installed) -> Result<()> {
    let main = installed.property("MainPID")?;
    installed.systemctl("reload")?;
    installed.debian.write("/opt/rudder/etc/relayd/logging.conf", "[general]\nlevel = \"loud\"\n")?;
    assert!(installed.systemctl("reload").is_err(), "{}", installed.log());
    assert!(installed.log().contains("logging.conf"), "{}", installed.log());
    assert_eq!(installed.property("ActiveState")?, "active");
    installed.debian.write("/opt/rudder/etc/relayd/logging.conf", LOGGING)?;
    installed.sh(&format!("kill -HUP {main}"))?;
    installed.systemctl("reload")?;
    assert_eq!((installed.property("MainPID")?, installed.property("NRestarts")?), (main, "0".to_owned()));
    Ok(())
}

/// After a signal, and when it gives no sign of life.
fn revived(installed: &Installed) -> Result<()> {
    for (count, signal) in [("1", "KILL"), ("2", "STOP")] {
        let main = installed.property("MainPID")?;
        installed.sh(&format!("kill -{signal} {main}"))?;
        installed.wait_property("NRestarts", |restarts| restarts == count)?;
        installed.wait_property("ActiveState", |state| state == "active")?;
        assert_ne!(installed.property("MainPID")?, main);
    }
    assert!(installed.log().contains("Watchdog timeout"), "{}", installed.log());
    Ok(())
}

/// After 0, 2 and 3.
fn not_revived(installed: &Installed) -> Result<()> {
    let main = installed.property("MainPID")?;
    installed.sh(&format!("kill -TERM {main}"))?;
    installed.wait_property("ActiveState", |state| state == "inactive")?;
    assert_eq!(
        (installed.property("Result")?, installed.property("ExecMainStatus")?),
        ("success".into(), "0".into())
    );
    let file = "/opt/rudder/etc/relayd/main.conf";
    for (addition, code) in [("no_such_key = 1\n", "2"), ("directory = \"/srv/elsewhere\"\n", "3")] {
        installed.debian.write(file, format!("{MAIN}{addition}"))?;
        assert!(installed.systemctl("start").is_err());
        let found = ["ActiveState", "Result", "ExecMainStatus"].map(|name| installed.property(name));
        let [state, result, status] = found;
        assert_eq!(
            (state?, result?, status?),
            ("failed".into(), "exit-code".into(), code.into()),
            "{}",
            installed.log()
        );
    }
    assert!(installed.log().contains("Read-only file system"), "{}", installed.log());
    installed.debian.write(file, MAIN)?;
    installed.systemctl("start")
}

/// The sudo variant is another unit in effect: what it is for works with it, and not without.
#[test]
fn sudo_works_with_the_drop_in_and_only_with_it() -> Result<()> {
    let booted = Installed::boot(|debian| {
        identity_of_root(debian)?;
        debian.write("/opt/rudder/etc/relayd/main.conf", "[general]\nlisten = \"127.0.0.1:3030\"\n")?;
        let list = r#"{"node1": {"hostname": "node1.example.com", "policy-server": "root", "key-hash": ""}}"#;
        debian.write("/var/rudder/lib/relay/nodeslist.json", list)?;
        debian.write("/opt/rudder/bin/rudder", "#!/bin/sh\necho \"$(id -u): $*\"\n")?;
        debian.run("chmod", &["755", "/opt/rudder/bin/rudder"])?;
        let rule = "rudder-relayd ALL = (root) NOPASSWD: /opt/rudder/bin/rudder remote run *\n";
        debian.write("/etc/sudoers.d/relayd", rule)?;
        debian.write("/var/rudder/lib/ssl/shared/allnodescerts.pem", "")
    })?;
    let Some(installed) = booted else { return Ok(()) };
    let trigger = "curl -s -d asynchronous=false -d keep_output=true \
                   http://127.0.0.1:3030/rudder/relay-api/1/remote-run/nodes/node1";
    installed.systemctl("start")?;
    let refused = installed.sh(trigger)?;
    assert!(!refused.contains("0: remote run"), "{refused}\n{}", installed.log());
    installed.debian.write(
        format!("/etc/systemd/system/{UNIT}.d/sudo.conf"),
        packaged("examples/remote-run-by-sudo.conf")?,
    )?;
    installed.sh(&format!("systemctl daemon-reload && systemctl restart {UNIT}"))?;
    let done = installed.sh(trigger)?;
    assert!(done.contains("0: remote run"), "{done}\n{}", installed.log());
    assert!(installed.try_sh(&format!("{DAEMON} --version"))?.status.success());
    installed.machine.power_off()
}
