// SPDX-License-Identifier: Apache-2.0
//! The server application: it reads what the daemon stored (protocol 4.5) and takes inventories (protocol 6.5), as its
//! own user, who shares a group with the daemon.

use std::{collections::BTreeMap, fs, process::Command};

use diesel::{
    PgConnection, QueryableByName, RunQueryDsl, sql_query,
    sql_types::{BigInt, Nullable, Text},
};
use openssl::{hash::MessageDigest, sign::Verifier, x509::X509};
use tests::Result;

use crate::{
    log::{Row, Run},
    place::Place,
};

/// The server application, and what it has seen so far.
pub struct Application {
    database: PgConnection,
    runs: BTreeMap<(String, String), Run>,
}

#[derive(QueryableByName)]
struct NewRun {
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Text)]
    start: String,
    #[diesel(sql_type = Text)]
    nodeconfigid: String,
    #[diesel(sql_type = BigInt)]
    insertionid: i64,
}

#[derive(QueryableByName)]
struct Event {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    executed: String,
    #[diesel(sql_type = Text)]
    nodeid: String,
    #[diesel(sql_type = Text)]
    directiveid: String,
    #[diesel(sql_type = Text)]
    ruleid: String,
    #[diesel(sql_type = Text)]
    reportid: String,
    #[diesel(sql_type = Text)]
    component: String,
    #[diesel(sql_type = Nullable<Text>)]
    keyvalue: Option<String>,
    #[diesel(sql_type = Text)]
    start: String,
    #[diesel(sql_type = Nullable<Text>)]
    eventtype: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    policy: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    msg: Option<String>,
}

impl Application {
    pub fn new(database: PgConnection) -> Self {
        Self { database, runs: BTreeMap::new() }
    }

    /// The same, with another connection.
    pub fn reconnect(&mut self, database: PgConnection) {
        self.database = database;
    }

    /// Reads the runs that are new, and demands that all that were ever seen are exactly these.
    #[track_caller]
    pub fn sees(&mut self, expected: &[&Run]) -> Result<()> {
        self.look()?;
        let expected: BTreeMap<_, _> =
            expected.iter().map(|run| ((run.node.clone(), run.start.clone()), (*run).clone())).collect();
        assert_eq!(self.runs, expected);
        let stored = sql_query("SELECT count(*) AS id FROM ruddersysevents")
            .get_result::<Count>(&mut self.database)?;
        assert_eq!(usize::try_from(stored.id)?, expected.values().map(|run| run.rows.len()).sum::<usize>());
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        let new: Vec<NewRun> = sql_query(
            "SELECT nodeid, to_char(date AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS start, nodeconfigid, \
             insertionid FROM reportsexecution WHERE compliancecomputationdate IS NULL AND nodeconfigid IS NOT NULL",
        )
        .load(&mut self.database)?;
        for run in new {
            let rows = self.events(&run)?;
            sql_query(
                "UPDATE reportsexecution SET compliancecomputationdate = now() \
                 WHERE nodeid = $1 AND date = $2::timestamp AT TIME ZONE 'UTC'",
            )
            .bind::<Text, _>(&run.nodeid)
            .bind::<Text, _>(&run.start)
            .execute(&mut self.database)?;
            let NewRun { nodeid: node, start, nodeconfigid: config_id, .. } = run;
            self.runs.insert((node.clone(), start.clone()), Run { node, start, config_id, rows });
        }
        Ok(())
    }

    /// The events of a run, in the order in which they were stored.
    fn events(&mut self, run: &NewRun) -> Result<Vec<Row>> {
        let events: Vec<Event> = sql_query(
            "SELECT id, to_char(executiondate AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS executed, nodeid, \
             directiveid, ruleid, reportid, component, keyvalue, \
             to_char(executiontimestamp AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS start, eventtype, policy, msg \
             FROM ruddersysevents WHERE nodeid = $1 AND executiontimestamp = $2::timestamp AT TIME ZONE 'UTC' ORDER BY id",
        )
        .bind::<Text, _>(&run.nodeid)
        .bind::<Text, _>(&run.start)
        .load(&mut self.database)?;
        assert_eq!(
            events.first().map(|event| event.id),
            Some(run.insertionid),
            "a run points to its first row"
        );
        let row = |event: Event| Row {
            executed: event.executed,
            node: event.nodeid,
            directive: event.directiveid,
            rule: event.ruleid,
            report: event.reportid,
            component: event.component,
            key_value: event.keyvalue.unwrap_or_default(),
            start: event.start,
            event_type: event.eventtype.unwrap_or_default(),
            policy: event.policy.unwrap_or_default(),
            message: event.msg.unwrap_or_default(),
        };
        Ok(events.into_iter().map(row).collect())
    }
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    id: i64,
}

/// Takes the pairs of inventory and signature in a directory; returns the names of the inventories.
pub fn take_inventories(place: &Place, directory: &str) -> Result<Vec<String>> {
    let mut taken = Vec::new();
    for name in place.files(directory)? {
        let Some(stem) = name.strip_suffix(".gz") else { continue };
        let signature = format!("{stem}.sign");
        let packed = place.path(directory).join(&name);
        if !packed.with_file_name(&signature).exists() {
            continue;
        }
        let text = as_application(place, &["gzip", "-dc", &packed.display().to_string()])?;
        let signed =
            as_application(place, &["cat", &packed.with_file_name(&signature).display().to_string()])?;
        verify(&text, &String::from_utf8(signed)?)?;
        for name in [&name, &signature] {
            let (from, to) =
                (place.path(directory).join(name), place.path("var/rudder/inventories/received").join(name));
            as_application(place, &["mv", &from.display().to_string(), &to.display().to_string()])?;
        }
        taken.push(stem.to_owned());
    }
    Ok(taken)
}

fn verify(text: &[u8], signature: &str) -> Result<()> {
    let inventory = std::str::from_utf8(text)?;
    let certificate = inventory.split("AGENT_CERT>").nth(1).ok_or("no certificate")?.trim_end_matches("</");
    let key = X509::from_pem(certificate.as_bytes())?.public_key()?;
    let digest = signature.lines().find_map(|line| line.strip_prefix("digest=")).ok_or("no digest")?;
    let digest: Vec<u8> = (0..digest.len() / 2)
        .map(|byte| u8::from_str_radix(&digest[2 * byte..2 * byte + 2], 16))
        .collect::<std::result::Result<_, _>>()?;
    let good = Verifier::new(MessageDigest::sha512(), &key)?.verify_oneshot(&digest, text)?;
    if good { Ok(()) } else { Err("the signature of an inventory is not good".into()) }
}

/// Runs a command as the user of the server application.
fn as_application(place: &Place, command: &[&str]) -> Result<Vec<u8>> {
    let mut run = Command::new("setpriv");
    match place.accounts.application {
        Some(account) => run.args([
            format!("--reuid={}", account.user),
            format!("--regid={}", account.group),
            "--clear-groups".to_owned(),
        ]),
        None => run.arg("--no-new-privs"),
    };
    let output = run.arg("--").args(command).current_dir("/").output()?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Removes what was taken.
pub fn forget_inventories(place: &Place) -> Result<()> {
    for name in place.files("var/rudder/inventories/received")? {
        fs::remove_file(place.path("var/rudder/inventories/received").join(name))?;
    }
    Ok(())
}
