// SPDX-License-Identifier: Apache-2.0
//! `relayd status`: how the running daemon is, by its own word.

mod print;

use std::{io, path::Path, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{CliError, output::short};
use crate::{
    api::client,
    config::{ConfigError, listen},
    finding::Finding,
};

/// Say how the running daemon is: role, uplink, database, spools, rates, nodes, certificates, disk.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relayd status
  relayd status --json | jq -r '.problems[] | .text'
  relayd status > /dev/null || echo look after it

Of main.conf it needs only general.listen: the daemon is asked also when the file is broken now, which
is a problem then. What the daemon says is also in GET /rudder/relay-api/1/system/status.

Exit codes:
  0  running, and everything is as it should be
  1  running, and something is not
  2  wrong form of the command line
  3  not running, or it does not answer")]
pub struct Command {
    /// Print one JSON object: state, problems, and what the daemon says.
    #[arg(long)]
    json: bool,
}

/// A daemon that does not answer for this long is as good as none: its check of the database has an end of its own.
const PATIENCE: Duration = Duration::from_secs(15);
/// Files that wait longer, though the outlet is open, do so for a reason.
const LONG: u64 = 600;

/// Runs the command.
pub fn run(command: &Command, directory: &Path) -> Result<(), CliError> {
    let (listen, mistake) = listen(directory);
    let mut out = io::stdout().lock();
    let told = match client::status(&listen, PATIENCE) {
        Ok(told) => told,
        Err(away) => {
            let remedy = away.remedy();
            if command.json {
                let answer = json!({"state": "not running", "details": away.to_string(), "remedy": remedy});
                print::json(&mut out, &answer)?;
            }
            // What keeps it from starting, or where it listens in truth.
            let mistake = mistake.map(|mistake| format!("\n{mistake}")).unwrap_or_default();
            return Err(CliError::unasked(format!("{away}\n{remedy}{mistake}")));
        }
    };
    let mut problems = problems(&told);
    problems.extend(mistake.as_ref().filter(|_| told[FILES]["status"] != "error").map(on_disk));
    let state = if problems.is_empty() { "healthy" } else { "degraded" };
    match command.json {
        true => print::json(&mut out, &json!({"state": state, "problems": problems, "status": told}))?,
        false => print::human(&mut out, &told, &problems)?,
    }
    match problems.len() {
        0 => Ok(()),
        number => Err(CliError::failed(format!("degraded: {}", super::output::counted(number, "problem")))),
    }
}

/// The part about the files of the configuration.
const FILES: &str = "configuration";

/// A mistake in `main.conf` that the daemon does not see, which may have read another one.
fn on_disk(mistake: &ConfigError) -> Finding {
    Finding::error(FILES, "main.conf", mistake.to_string(), "mend it before the next start")
}

/// What is not as it should be. `uplink` and the parts that talk to the uplink often say the same; all are named.
fn problems(told: &Value) -> Vec<Finding> {
    let mut problems = Vec::new();
    for (part, remedy) in PARTS {
        let state = &told[part];
        let details = state["details"].as_str().unwrap_or("in error");
        if state["status"] == "error" {
            problems.push(Finding::error(part, place(told, part), details, *remedy));
        } else if state["oldestAgeSeconds"].as_u64().is_some_and(|age| age > LONG) {
            let age = short(Duration::from_secs(state["oldestAgeSeconds"].as_u64().unwrap_or_default()));
            let last = state["lastPutOff"]["details"].as_str();
            let last = last.map(|why| format!("; the last one was put off: {why}")).unwrap_or_default();
            let text = format!("{} wait, the oldest for {age}{last}", state["depth"]);
            let remedy =
                "see `relayd spool list --queued --older-than 10m`, and `relayd why NODE` for one of them";
            problems.push(Finding::error(part, place(told, part), text, remedy));
        }
    }
    problems
}

/// What a problem is about.
fn place(told: &Value, part: &str) -> String {
    match part {
        "uplink" => told["uplink"]["host"].as_str().unwrap_or("output.upstream").to_owned(),
        "database" => "output.database".to_owned(),
        "configuration" => "main.conf and logging.conf".to_owned(),
        part => part.to_owned(),
    }
}

/// The parts of `system/status` that can be in error, and what to do then.
const PARTS: &[(&str, &str)] = &[
    ("uplink", "see that the server above runs and is reached; `relayd doctor` tries it"),
    (
        "database",
        "see that the database runs, and `relayd database status`; files wait in the spool meanwhile",
    ),
    ("configuration", "mend it before the next start: `relayd config check` says all that is wrong"),
    ("reports", "files wait in the spool and nothing is lost; see uplink or database"),
    ("inventories", "files wait in the spool and nothing is lost; see uplink or database"),
    ("inventory-updates", "files wait in the spool and nothing is lost; see uplink or database"),
    ("nodes", "the nodes known last stay known; see uplink or database"),
    ("cache", "copies are served meanwhile; see uplink"),
    ("certificates", "renew it, then `systemctl reload rudder-relayd`; `relayd doctor` says how for each"),
    ("disk", "make room, or give the spools a larger file system: `relayd doctor` names what is full"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_error_and_what_waits_long_is_a_problem() {
        let fine = json!({"reports": {"status": "success", "depth": 3, "oldestAgeSeconds": 5}});
        assert_eq!(problems(&fine), []);
        let told = json!({
            "database": {"status": "error", "details": "gone"},
            "uplink": {"status": "success"},
            "reports": {"status": "success", "depth": 3, "oldestAgeSeconds": 3600,
                        "lastPutOff": {"details": "403"}},
        });
        let found = problems(&told);
        assert_eq!(found.iter().map(|finding| finding.check).collect::<Vec<_>>(), ["database", "reports"]);
        assert_eq!(found[0].text, "gone");
        assert_eq!(found[1].text, "3 wait, the oldest for 60m; the last one was put off: 403");
        assert!(found.iter().all(|finding| finding.remedy.is_some() && finding.place.is_some()));
    }
}
