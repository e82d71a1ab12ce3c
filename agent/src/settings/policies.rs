// SPDX-License-Identifier: Apache-2.0
//! `rudder.json`: what the policies say about themselves and about reporting (protocol 1.7).
//!
//! Only the keys that matter here are read; values may be texts or JSON's own types, because initial
//! and generated policies differ in that.

use std::{path::Path, time::Duration};

use protocol::hash::KeyHash;
use serde_json::{Map, Value};

use super::{Credentials, Secret, problem::Problem};

/// What is reported (protocol 2.8).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReportMode {
    /// Everything.
    #[default]
    FullCompliance,
    /// Repairs, errors and warnings only.
    ChangesOnly,
    /// Nothing is sent.
    Disabled,
}

/// What the policies say; absent keys are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policies {
    /// Bootstrap policies: no run log is sent.
    pub initial: bool,
    /// What is reported.
    pub report_mode: ReportMode,
    /// Version of the policies.
    pub config_id: Option<String>,
    /// Basic authentication for uploads.
    pub credentials: Option<Credentials>,
    /// Time between runs.
    pub run_interval: Option<Duration>,
    /// Within which time nodes spread.
    pub splay: Option<Duration>,
    /// Keys of the policy server.
    pub pins: Vec<KeyHash>,
    /// HTTPS port of the policy server.
    pub https_port: Option<u16>,
    /// Chain and host name instead of pins.
    pub cert_validation: bool,
}

/// Reads the text of a `rudder.json`; mistakes go to `problems`.
pub fn parse(text: &str, file: &Path, problems: &mut Vec<Problem>) -> Policies {
    let map = match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(map) => map,
        Err(e) => {
            problems.push(Problem {
                file: file.to_owned(),
                line: Some(e.line()),
                cause: format!("not a JSON object: {e}"),
                remedy: "fetch the policies again; the agent does not write this file".into(),
            });
            return Policies::default();
        }
    };
    let mut reader = Reader { map: &map, text, file, problems };
    Policies {
        initial: reader.switch("INITIAL"),
        report_mode: reader
            .read("RUDDER_REPORT_MODE", "full-compliance, changes-only or reports-disabled", |v| match v {
                "full-compliance" => Some(ReportMode::FullCompliance),
                "changes-only" => Some(ReportMode::ChangesOnly),
                "reports-disabled" => Some(ReportMode::Disabled),
                _ => None,
            })
            .unwrap_or_default(),
        config_id: reader.read("RUDDER_NODE_CONFIG_ID", "one line without `@@`", |v| {
            (!v.contains(['\r', '\n', '\0']) && !v.contains("@@")).then(|| v.to_owned())
        }),
        credentials: match (reader.text("DAVUSER"), reader.text("DAVPASSWORD")) {
            (Some(user), Some(password)) if !user.is_empty() => {
                Some(Credentials { user, password: Secret::new(password) })
            }
            _ => None,
        },
        run_interval: reader.read("AGENT_RUN_INTERVAL", "minutes, 1 or more", |v| minutes(v, 1)),
        splay: reader.read("AGENT_RUN_SPLAYTIME", "minutes", |v| minutes(v, 0)),
        pins: reader
            .read("POLICY_SERVER_KEY_HASH", "a key hash such as sha256//…", |v| pins(v).ok())
            .unwrap_or_default(),
        https_port: reader
            .read("HTTPS_POLICY_DISTRIBUTION_PORT", "a port", |v| v.parse().ok().filter(|p| *p > 0)),
        cert_validation: reader.switch("POLICY_SERVER_CERT_VALIDATION"),
    }
}

/// Reads pins, separated by `;`.
pub fn pins(text: &str) -> Result<Vec<KeyHash>, String> {
    text.split(';')
        .map(str::trim)
        .filter(|pin| !pin.is_empty())
        .map(|pin| pin.parse::<KeyHash>().map_err(|e| e.to_string()))
        .collect()
}

fn minutes(text: &str, least: u64) -> Option<Duration> {
    let minutes = text.trim().parse::<u64>().ok()?;
    (least..=7 * 24 * 60).contains(&minutes).then(|| Duration::from_secs(minutes * 60))
}

struct Reader<'a> {
    map: &'a Map<String, Value>,
    text: &'a str,
    file: &'a Path,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn text(&self, key: &str) -> Option<String> {
        match self.map.get(key)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(on) => Some(on.to_string()),
            _ => None,
        }
    }

    fn switch(&self, key: &str) -> bool {
        self.text(key).as_deref() == Some("true")
    }

    /// An empty value counts as absent.
    fn read<T>(&mut self, key: &str, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let value = self.text(key).filter(|value| !value.is_empty())?;
        let parsed = parse(&value);
        if parsed.is_none() {
            let quoted = format!("\"{key}\"");
            self.problems.push(Problem {
                file: self.file.to_owned(),
                line: self.text.lines().position(|line| line.contains(&quoted)).map(|n| n + 1),
                cause: format!("`{key}` is {value:?}; expected {expected}"),
                remedy: "fetch the policies again, or correct the setting on the policy server".into(),
            });
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Policies, Vec<Problem>) {
        let mut problems = vec![];
        (parse(text, Path::new("rudder.json"), &mut problems), problems)
    }

    #[test]
    fn reads_texts_and_booleans_alike() {
        for initial in ["true", "\"true\""] {
            let (policies, problems) = read(&format!(
                "{{\"INITIAL\": {initial}, \"AGENT_RUN_INTERVAL\": \"15\", \"POLICY_SERVER_KEY_HASH\": \"\"}}"
            ));
            assert_eq!(problems, vec![]);
            assert!(policies.initial);
            assert_eq!(policies.run_interval, Some(Duration::from_secs(900)));
            assert!(policies.pins.is_empty());
        }
    }

    #[test]
    fn names_bad_values_with_their_line() {
        let (_, problems) = read("{\n\"RUDDER_REPORT_MODE\": \"loud\",\n\"AGENT_RUN_INTERVAL\": \"0\"\n}");
        assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [Some(2), Some(3)]);
        assert_eq!(read("[]").1.len(), 1);
    }

    #[test]
    fn secrets_do_not_show() {
        let (policies, _) = read(r#"{"DAVUSER": "u", "DAVPASSWORD": "hunter2"}"#);
        assert_eq!(policies.credentials.as_ref().unwrap().password.to_string(), "hunter2");
        assert!(!format!("{policies:?}").contains("hunter2"));
    }
}
