// SPDX-License-Identifier: Apache-2.0
//! Settings, resolved from four sources: our own file, `agent.conf`, the policies' `rudder.json`, and
//! `policy_server.dat`. What this node's files say wins over what the policies say.
//!
//! Invariant: a [`Settings`] is valid as a whole; every mistake of all files is reported at once.

pub mod agent_conf;
pub mod logging;
pub mod own;
pub mod policies;
pub mod problem;
pub mod reference;
mod secret;
pub mod units;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use protocol::{hash::KeyHash, proxy::ProxyRule, tls::TlsVersion};

pub use self::secret::{Credentials, Secret};
use self::{
    agent_conf::AgentConf,
    own::Own,
    policies::{Policies, ReportMode},
    problem::{Problem, Problems},
};
use crate::paths::Paths;

/// The policy server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// HTTPS port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// How long and how much the outbox keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Oldest run log kept.
    pub age: Duration,
    /// Bytes of all run logs together.
    pub size: Option<u64>,
    /// How long copies of sent run logs are kept; zero for not at all.
    pub sent: Duration,
}

/// Everything that is configured, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where things are.
    pub paths: Paths,
    /// The configured policy command: program and arguments.
    pub policy_command: Option<Vec<String>>,
    /// Time between runs.
    pub run_interval: Duration,
    /// Time over which nodes spread; not more than the interval.
    pub splay: Duration,
    /// Longest run.
    pub time_limit: Duration,
    /// Between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// Bytes of output kept of one run.
    pub max_output_size: usize,
    /// What the outbox keeps.
    pub retention: Retention,
    /// Whether a run fetches the policies first.
    pub update: bool,
    /// Longest time to fetch them.
    pub update_time_limit: Duration,
    /// What says whether new policies may be used.
    pub validate_command: Option<Vec<String>>,
    /// How long that may take.
    pub validate_time_limit: Duration,
    /// Whether the daemon makes inventories; `None`: unless another collector is there.
    pub inventory: Option<bool>,
    /// Whether they tell command lines of processes.
    pub inventory_arguments: bool,
    /// Bootstrap policies: no run log is sent.
    pub initial: bool,
    /// What is reported.
    pub report_mode: ReportMode,
    /// Version of the policies, `0` when there is none.
    pub config_id: String,
    /// The policy server, when one is configured.
    pub server: Option<Server>,
    /// Proxy towards it.
    pub proxy: ProxyRule,
    /// Chain and host name instead of pins.
    pub cert_validation: bool,
    /// Pins that came with the policies; they win over the pin file.
    pub policy_pins: Vec<KeyHash>,
    /// What is logged, and how.
    pub logging: ::logging::Settings,
    /// Basic authentication, never in certificate validation mode.
    pub credentials: Option<Credentials>,
    /// Whether the daemon keeps a connection to the policy server.
    pub connected: bool,
    /// The argument before each condition; without one, conditions are no arguments.
    pub condition_argument: Option<String>,
    /// Oldest TLS version.
    pub min_tls_version: TlsVersion,
}

impl Settings {
    /// Reads all settings below `root`. Missing files mean defaults.
    ///
    /// Gives warnings beside the settings. **Errors**: every mistake that was found.
    pub fn load(root: &Path) -> Result<(Self, Vec<Problem>), Problems> {
        let (mut problems, mut warnings) = (vec![], vec![]);
        let mut paths = Paths::below(root);
        let own = match read(&paths.own_conf, &mut problems) {
            Some(text) => own::parse(&text, &paths.own_conf, &mut problems),
            None => Own::default(),
        };
        move_paths(&mut paths, &own);
        let conf = match read(&paths.agent_conf, &mut problems) {
            Some(text) => agent_conf::parse(&text, &paths.agent_conf, &mut problems, &mut warnings),
            None => AgentConf::default(),
        };
        let policies = match read(&paths.rudder_json, &mut problems) {
            Some(text) => policies::parse(&text, &paths.rudder_json, &mut problems),
            None => Policies::default(),
        };
        let host = match &conf.server {
            Some(host) => Some(host.clone()),
            None => read(&paths.policy_server, &mut problems)
                .and_then(|text| policy_server(&text, &paths.policy_server, &mut problems)),
        };
        let settings = resolve(paths, own, conf, policies, host, &mut problems);
        if problems.is_empty() { Ok((settings, warnings)) } else { Err(Problems(problems)) }
    }

    /// Whether run logs are made for the policy server at all (protocol 2.1).
    pub fn sends_reports(&self) -> bool {
        !self.initial && self.report_mode != ReportMode::Disabled
    }

    /// Whether inventories are made on schedule, and when a run asks for one.
    pub fn makes_inventories(&self) -> bool {
        self.inventory.unwrap_or_else(|| !self.paths.other_collector.exists())
    }
}

fn resolve(
    paths: Paths,
    own: Own,
    conf: AgentConf,
    policies: Policies,
    host: Option<String>,
    problems: &mut Vec<Problem>,
) -> Settings {
    let run_interval = own.run_interval.or(policies.run_interval).unwrap_or(Duration::from_secs(300));
    if own.splay.is_some_and(|splay| splay > run_interval) {
        problems.push(Problem {
            file: paths.own_conf.clone(),
            line: None,
            cause: "`splay` is longer than the run interval".into(),
            remedy: format!("make it {} or shorter", humantime::format_duration(run_interval)),
        });
    }
    let cert_validation = conf.cert_validation || policies.cert_validation;
    let credentials = match (own.upload_user, own.upload_password) {
        (Some(user), Some(password)) => Some(Credentials { user, password }),
        (None, None) => policies.credentials,
        _ => {
            problems.push(Problem {
                file: paths.own_conf.clone(),
                line: None,
                cause: "only one of `upload_user` and `upload_password` is set".into(),
                remedy: "set both, or none".into(),
            });
            None
        }
    };
    let port = conf.https_port.or(policies.https_port).unwrap_or(443);
    Settings {
        policy_command: own.policy_command,
        run_interval,
        splay: own.splay.or(policies.splay).unwrap_or(run_interval).min(run_interval),
        time_limit: own.time_limit.unwrap_or(Duration::from_secs(30 * 60)),
        stop_grace: own.stop_grace.unwrap_or(Duration::from_secs(10)),
        max_output_size: own.max_output_size.unwrap_or(10 << 20) as usize,
        retention: Retention {
            age: own.outbox_retention.unwrap_or(Duration::from_secs(7 * 24 * 3600)),
            size: own.outbox_max_size,
            sent: own.sent_retention.unwrap_or(Duration::from_secs(2 * 24 * 3600)),
        },
        logging: own.logging.resolve(),
        update: own.update.unwrap_or(true),
        update_time_limit: own.update_time_limit.unwrap_or(Duration::from_secs(10 * 60)),
        validate_command: own.validate_command,
        validate_time_limit: own.validate_time_limit.unwrap_or(Duration::from_secs(5 * 60)),
        inventory: own.inventory,
        inventory_arguments: own.inventory_arguments.unwrap_or(false),
        initial: policies.initial,
        report_mode: policies.report_mode,
        config_id: policies.config_id.unwrap_or_else(|| "0".into()),
        server: host.map(|host| Server { host, port }),
        proxy: conf.https_proxy,
        cert_validation,
        policy_pins: policies.pins,
        credentials: credentials.filter(|_| !cert_validation),
        connected: own.connected.unwrap_or(true),
        condition_argument: Some(own.condition_argument.unwrap_or_else(|| "-D".into()))
            .filter(|argument| !argument.is_empty()),
        min_tls_version: own.min_tls_version.unwrap_or(TlsVersion::V1_3),
        paths,
    }
}

fn move_paths(paths: &mut Paths, own: &Own) {
    for (name, path) in &own.paths {
        let place: &mut PathBuf = match *name {
            "paths.node_id" => &mut paths.node_id,
            "paths.certificate" => &mut paths.certificate,
            "paths.key" => &mut paths.key,
            "paths.public_key" => &mut paths.public_key,
            "paths.policies" => &mut paths.rudder_json,
            "paths.policies_directory" => &mut paths.policies,
            "paths.library_directory" => &mut paths.library,
            "paths.policy_key" => &mut paths.policy_key,
            "paths.server_pins" => &mut paths.server_pins,
            "paths.reports" => &mut paths.reports,
            "paths.temporary" => &mut paths.temporary,
            _ => &mut paths.state,
        };
        place.clone_from(path);
    }
    if !own.paths.iter().any(|(name, _)| *name == "paths.policies") {
        paths.rudder_json = paths.policies.join("rudder.json");
    }
}

/// `policy_server.dat`: a host, optionally with the port of another protocol, which is not ours.
fn policy_server(text: &str, file: &Path, problems: &mut Vec<Problem>) -> Option<String> {
    let text = text.trim();
    let host = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.parse::<u16>().is_ok() => host,
        _ => text,
    };
    if host.is_empty() || agent_conf::is_host(host) {
        return Some(host.to_owned()).filter(|host| !host.is_empty());
    }
    problems.push(Problem {
        file: file.to_owned(),
        line: Some(1),
        cause: format!("{text:?} is not a host name or address"),
        remedy: "write the policy server's host name, or set `server` in agent.conf".into(),
    });
    None
}

/// No settings file is anywhere near this size.
const MAX_FILE: u64 = 16 << 20;

/// The text of a file, `None` when it is not there.
fn read(file: &Path, problems: &mut Vec<Problem>) -> Option<String> {
    let text = match fs::metadata(file) {
        Ok(metadata) if metadata.len() > MAX_FILE => Err(io::Error::other("bigger than 16 MiB")),
        Ok(_) => fs::read_to_string(file),
        Err(e) => Err(e),
    };
    match text {
        Ok(text) => Some(text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => {
            problems.push(Problem {
                file: file.to_owned(),
                line: None,
                cause: format!("cannot be read: {e}"),
                remedy: match e.kind() {
                    io::ErrorKind::PermissionDenied => "run the agent as root, or let this user read it",
                    _ => "make it a UTF-8 text file",
                }
                .into(),
            });
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn an_empty_machine_has_defaults() {
        let root = machine(&[]);
        let (settings, warnings) = Settings::load(root.path()).unwrap();
        assert_eq!(warnings, vec![]);
        assert_eq!(settings.run_interval.as_secs(), 300);
        assert_eq!(settings.config_id, "0");
        assert_eq!(settings.server, None);
        assert!(settings.sends_reports());
        assert!(!settings.inventory_arguments, "command lines may hold passwords");
    }

    #[test]
    fn own_settings_win_over_what_the_policies_say() {
        let root = machine(&[
            (
                "opt/rudder/etc/relayd-agent.conf",
                "run_interval = \"90s\"\n[paths]\nreports = \"/elsewhere\"\n",
            ),
            ("opt/rudder/etc/agent.conf", "cert_validation = false\n"),
            (
                "var/rudder/cfengine-community/inputs/rudder.json",
                r#"{"AGENT_RUN_INTERVAL": "5", "AGENT_RUN_SPLAYTIME": "4", "DAVUSER": "u", "DAVPASSWORD": "p",
                    "HTTPS_POLICY_DISTRIBUTION_PORT": "444"}"#,
            ),
            ("var/rudder/cfengine-community/policy_server.dat", "relay.example:5309\n"),
        ]);
        let (settings, _) = Settings::load(root.path()).unwrap();
        assert_eq!((settings.run_interval.as_secs(), settings.splay.as_secs()), (90, 90));
        assert_eq!(settings.server.unwrap().to_string(), "relay.example:444");
        assert_eq!(settings.credentials.unwrap().user, "u");
        assert_eq!(settings.paths.ready(), Path::new("/elsewhere/ready"));
    }

    #[test]
    fn mistakes_of_all_files_come_together() {
        let root = machine(&[
            ("opt/rudder/etc/relayd-agent.conf", "upload_user = \"x\"\nfoo = 1\n"),
            ("opt/rudder/etc/agent.conf", "https_port = none\n"),
            ("var/rudder/cfengine-community/inputs/rudder.json", "{"),
            ("var/rudder/cfengine-community/policy_server.dat", "not a host"),
        ]);
        let problems = Settings::load(root.path()).unwrap_err();
        assert_eq!(problems.0.len(), 5, "{problems}");
    }

    #[test]
    fn existing_policies_are_read() {
        let directory = std::env::var("RELAYD_FIXTURES").unwrap_or("../../shared/fixtures".into());
        for (name, initial, config_id) in [
            ("initial-policies", true, "0"),
            ("node", false, "cfe-node-cfg-id"),
            ("root", false, "root-cfg-id"),
        ] {
            let Ok(text) = fs::read_to_string(format!("{directory}/rudder-json/{name}.rudder.json")) else {
                eprintln!("skipped: no fixtures at {directory}");
                return;
            };
            let root = machine(&[("var/rudder/cfengine-community/inputs/rudder.json", &text)]);
            let (settings, _) = Settings::load(root.path()).unwrap();
            assert_eq!(settings.initial, initial);
            assert_eq!(settings.config_id, config_id);
            assert_eq!(settings.credentials.unwrap().user, "rudder");
        }
    }
}
