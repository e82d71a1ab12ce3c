// SPDX-License-Identifier: Apache-2.0
//! Simulated runs: what a machine's agent would say, signed and packed as existing agents do.
//!
//! A run of 72 rows is about 17 kB of text and 3 kB packed: two control reports, 46 reports of
//! components, and log lines before some of them. The envelope is made by OpenSSL's own S/MIME
//! signer, the one that existing agents use, so that it is no relative of the reader under test.

use std::{fmt::Write as _, io::Write as _};

use chrono::{DateTime, TimeDelta, Utc};
use flate2::{Compression, write::GzEncoder};
use openssl::{
    pkcs7::{Pkcs7, Pkcs7Flags},
    stack::Stack,
};
use protocol::{
    node_id::NodeId,
    run_id::{RunId, RunLogName},
};

use crate::{Result, identity::Identity};

/// Rows of a usual run.
pub const USUAL_ROWS: usize = 72;

/// A run that never happened.
#[derive(Debug, Clone)]
pub struct Run {
    /// The machine.
    pub node_id: NodeId,
    /// When it started, in whole seconds.
    pub start: DateTime<Utc>,
    /// What it said, in the order of the rows in the database.
    pub rows: Vec<Row>,
}

/// One row, and one line of the log.
#[derive(Debug, Clone)]
pub struct Row {
    /// When the line was said.
    pub execution: DateTime<Utc>,
    /// Event type; `log_*` is a log line attached to the next report.
    pub event_type: &'static str,
    /// Technique.
    pub policy: &'static str,
    /// Rule.
    pub rule_id: String,
    /// Directive.
    pub directive_id: String,
    /// Report id.
    pub report_id: String,
    /// Component.
    pub component: String,
    /// Key value.
    pub key_value: String,
    /// Message.
    pub message: String,
}

/// A signed and packed run log, ready to be uploaded.
#[derive(Debug, Clone)]
pub struct Packed {
    /// File name.
    pub name: String,
    /// File content.
    pub content: Vec<u8>,
    /// Who and when.
    pub id: RunId,
    /// Rows in it.
    pub rows: usize,
}

const POLICIES: [(&str, &str, &str); 6] = [
    ("packageManagement", "Package present", "Package openssh-server, any version, is installed"),
    ("sshConfig", "PermitRootLogin", "The line PermitRootLogin is as wanted in /etc/ssh/sshd_config"),
    ("fileTemplate", "File from template", "The file was already built from its template, mode 0644"),
    ("serviceEnabled", "Service enabled", "The service is enabled at boot and was not touched"),
    ("userManagement", "Password", "The password of the user is as it should be"),
    ("sysctlValue", "Kernel parameter", "Kernel parameter net.ipv4.ip_forward is already set to 0"),
];

impl Run {
    /// A run of `rows` rows, at least 3.
    pub fn new(node_id: NodeId, start: DateTime<Utc>, rows: usize) -> Self {
        let rows = rows.max(3);
        let mut said = Vec::with_capacity(rows);
        said.push(control(start, "start", "Start execution"));
        let mut component = 0;
        while said.len() < rows - 1 {
            let execution = start + TimeDelta::seconds(component as i64 / 4);
            // Every third component has something to say before its report.
            let logs = if component % 3 == 1 { 1 + component % 2 } else { 0 }.min(rows - 2 - said.len());
            let report = report(execution, component);
            for line in 0..logs {
                let message = format!(
                    "Component {component} line {line}: executed 'check --value {}', exit status {line}",
                    start.timestamp()
                );
                let event_type = if line % 2 == 0 { "log_info" } else { "log_warn" };
                said.push(Row { event_type, message, ..report.clone() });
            }
            said.push(report);
            component += 1;
        }
        said.push(control(start + TimeDelta::seconds(component as i64 / 4), "end", "End execution"));
        Self { node_id, start, rows: said }
    }

    /// The log as the agent says it, LF line ends.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.rows.len() * 280);
        let start = self.start.format("%Y-%m-%d %H:%M:%S+00:00").to_string();
        for row in &self.rows {
            let at = row.execution.format("%Y-%m-%dT%H:%M:%S+00:00");
            let written = match row.event_type {
                "log_info" => writeln!(text, "{at} R: [INFO] {}", row.message),
                "log_warn" => writeln!(text, "{at}    error: {}", row.message),
                event_type => writeln!(
                    text,
                    "{at} R: @@{}@@{event_type}@@{}@@{}@@{}@@{}@@{}@@{start}##{}@#{}",
                    row.policy,
                    row.rule_id,
                    row.directive_id,
                    row.report_id,
                    row.component,
                    row.key_value,
                    self.node_id,
                    row.message
                ),
            };
            written.expect("a String takes everything");
        }
        text
    }

    /// Its run id.
    pub fn id(&self) -> RunId {
        RunId { node_id: self.node_id.clone(), start: self.start.fixed_offset() }
    }

    /// Signed and packed under its usual name.
    pub fn pack(&self, identity: &Identity) -> Result<Packed> {
        let signed = sign(self.text().as_bytes(), identity)?;
        let name = RunLogName::new(self.id()).as_str().to_owned();
        Ok(Packed { name, content: gzip(&signed)?, id: self.id(), rows: self.rows.len() })
    }
}

/// `runs` runs of each machine, five minutes apart, the last one before `end`; made on all cores. First
/// the first run of each machine, in the order of `machines`, then the second, and so on.
pub fn many(machines: &[Identity], runs: usize, rows: usize, end: DateTime<Utc>) -> Result<Vec<Packed>> {
    let end = DateTime::from_timestamp(end.timestamp(), 0).unwrap_or(end);
    let workers = std::thread::available_parallelism()?.get();
    let make = |machines: &[Identity]| -> Result<Vec<Vec<Packed>>> {
        let run = |number: usize| {
            let start = end - TimeDelta::seconds(300 * (runs - number) as i64);
            machines
                .iter()
                .map(|machine| Run::new(machine.node_id.clone(), start, rows).pack(machine))
                .collect()
        };
        (0..runs).map(run).collect()
    };
    let parts = std::thread::scope(|scope| {
        let make = &make;
        let shares = machines.chunks(machines.len().div_ceil(workers).max(1));
        let threads: Vec<_> = shares.map(|machines| scope.spawn(move || make(machines))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread that makes logs panicked")?)
            .collect::<Result<Vec<_>>>()
    })?;
    let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::with_capacity(machines.len() * runs);
    for _ in 0..runs {
        all.extend(parts.iter_mut().flat_map(|part| part.next().unwrap_or_default()));
    }
    Ok(all)
}

/// The envelope that `openssl smime -sign -text -nocerts` makes (protocol 2.5).
pub fn sign(log: &[u8], identity: &Identity) -> Result<Vec<u8>> {
    let flags = Pkcs7Flags::STREAM | Pkcs7Flags::DETACHED | Pkcs7Flags::TEXT | Pkcs7Flags::NOCERTS;
    let none = Stack::new()?;
    let signed = Pkcs7::sign(identity.certificate.x509(), &identity.key, &none, log, flags)?;
    Ok(signed.to_smime(log, flags)?)
}

/// One gzip member.
pub fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(content.len() / 4), Compression::default());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

fn control(execution: DateTime<Utc>, component: &str, message: &str) -> Row {
    Row {
        execution,
        event_type: "control",
        policy: "Common",
        rule_id: "rudder".to_owned(),
        directive_id: "run".to_owned(),
        report_id: "0".to_owned(),
        component: component.to_owned(),
        key_value: "20260102-030405-5f3a9c1e".to_owned(),
        message: message.to_owned(),
    }
}

fn report(execution: DateTime<Utc>, component: usize) -> Row {
    let (policy, name, message) = POLICIES[component % POLICIES.len()];
    let event_type = match component % 20 {
        3 | 17 => "result_na",
        7 => "result_repaired",
        13 => "audit_noncompliant",
        _ => "result_success",
    };
    let id = |kind: u64| {
        format!(
            "{:08x}-5b1f-4f3e-9c77-{:012x}",
            component as u64 * 2_654_435_761 % 0xffff_ffff,
            kind * 7_919 + component as u64 / 6
        )
    };
    Row {
        execution,
        event_type,
        policy,
        rule_id: id(1),
        directive_id: id(2),
        report_id: id(3),
        component: format!("{name} {component}"),
        key_value: format!("/etc/managed/{component}.conf"),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::{compression::unpack, run_log, smime};

    use super::*;

    #[test]
    fn a_usual_run_has_the_size_and_shape_of_a_real_one() {
        let start = DateTime::from_timestamp(1_767_323_045, 0).unwrap();
        for rows in [3, 4, 5, 17, USUAL_ROWS, 1000] {
            let run = Run::new(NodeId::root(), start, rows);
            assert_eq!(run.rows.len(), rows);
            assert_eq!(run.text().lines().count(), rows);
        }
        let size =
            Run::new("6f0c1b9e-0000-4000-8000-000000000000".parse().unwrap(), start, USUAL_ROWS).text().len();
        assert!((14_000..20_000).contains(&size), "{size}");
    }

    /// OpenSSL's envelope is accepted by the strict reader, and the content survives the way there.
    #[test]
    fn a_packed_run_verifies_and_parses() {
        for keys in [crate::identity::Keys::P256, crate::identity::Keys::Rsa2048] {
            let machine = Identity::random(keys).unwrap();
            let start = DateTime::from_timestamp(1_767_323_045, 0).unwrap();
            let run = Run::new(machine.node_id.clone(), start, USUAL_ROWS);
            let packed = run.pack(&machine).unwrap();
            assert!((2_000..6_000).contains(&packed.content.len()), "{}", packed.content.len());
            let signed =
                unpack(&packed.content, protocol::compression::Compression::Gzip, 1_000_000).unwrap();
            let verified = smime::verify(&signed, std::slice::from_ref(&machine.certificate)).unwrap();
            let log = run_log::parse(&verified.text, &machine.node_id).unwrap();
            assert!(log.skipped.is_empty() && log.complete);
            assert_eq!(log.reports.len(), USUAL_ROWS);
            for (parsed, row) in log.reports.iter().zip(&run.rows) {
                assert_eq!(
                    (parsed.event_type, &*parsed.component, &*parsed.message),
                    (row.event_type, row.component.as_str(), row.message.as_str())
                );
                assert_eq!((parsed.execution.to_utc(), parsed.start.to_utc()), (row.execution, start));
            }
        }
    }
}
