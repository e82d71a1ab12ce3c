// SPDX-License-Identifier: Apache-2.0
//! What systemd says about the units.

use std::process::Command;

use serde_json::Value;
use tests::{Result, programs};

use crate::installed::{Installed, packaged};

#[test]
fn systemd_finds_nothing_wrong_and_little_exposed() -> Result<()> {
    let Some(installed) = Installed::boot(|_| Ok(()))? else { return Ok(()) };
    let verify = |units: &str| -> Result<String> {
        let output = installed.try_sh(&format!("systemd-analyze verify --man=no {units} 2>&1"))?;
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), output.status))
    };
    let units = "/etc/systemd/system/rudder-relayd.service /etc/systemd/system/relayd-gateway.socket \
                 /etc/systemd/system/relayd-agent.service";
    assert_eq!(verify(units)?, "exit status: 0");

    // A tool that finds nothing in a bad unit finds nothing.
    installed.sh("sed s/^RestrictRealtime=/RestrictRealTime=/ /etc/systemd/system/rudder-relayd.service > /tmp/bad.service")?;
    assert!(verify("/tmp/bad.service")?.contains("RestrictRealTime"));

    assert!(exposure(&installed, "rudder-relayd.service")? <= 1.5);
    let with_sudo = packaged("examples/remote-run-by-sudo.conf")?;
    installed.debian.write("/etc/systemd/system/rudder-relayd.service.d/sudo.conf", with_sudo)?;
    assert_eq!(verify("/etc/systemd/system/rudder-relayd.service")?, "exit status: 0");
    let more = exposure(&installed, "rudder-relayd.service")?;
    assert!((1.5..9.0).contains(&more), "{more}");
    installed.machine.power_off()
}

fn exposure(installed: &Installed, unit: &str) -> Result<f64> {
    let line =
        format!("systemd-analyze security --offline=true --no-pager --json=short /etc/systemd/system/{unit}");
    let all: Value = serde_json::from_str(&installed.sh(&line)?)?;
    assert!(all.as_array().is_some_and(|all| all.len() > 50), "{all}");
    let text = installed
        .sh(&format!("systemd-analyze security --offline=true --no-pager /etc/systemd/system/{unit}"))?;
    let line = text.lines().find(|line| line.contains("Overall exposure level")).ok_or("no level")?;
    let level = line.split_whitespace().find_map(|word| word.parse().ok());
    level.ok_or_else(|| format!("no number in {line}").into())
}

/// Not with the sources of units, which are read where they are, but with what is in PATH.
#[test]
fn the_exit_codes_of_the_unit_are_those_of_the_program() -> Result<()> {
    let unit = packaged("rudder-relayd.service")?;
    assert!(unit.contains("\nRestart=on-failure\n") && unit.contains("\nRestartPreventExitStatus=2 3\n"));
    let directory = tempfile::tempdir()?;
    let code = |main: Option<&str>| -> Result<Option<i32>> {
        let file = directory.path().join("main.conf");
        match main {
            Some(text) => std::fs::write(file, text)?,
            None => drop(std::fs::remove_file(file)),
        }
        let mut command = Command::new(programs::find("relayd")?);
        Ok(command.arg("--config").arg(directory.path()).output()?.status.code())
    };
    assert_eq!(code(Some("[general]\nno_such_key = 1\n"))?, Some(2));
    assert_eq!(code(Some("[general]\nnode_id = root\n"))?, Some(2));
    assert_eq!(code(Some("[general]\nnode_id = \"relay1\"\n"))?, Some(3), "no upstream");
    assert_eq!(code(None)?, Some(3), "no file");
    Ok(())
}
