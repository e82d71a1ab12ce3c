// SPDX-License-Identifier: Apache-2.0
//! `relayd-agent.conf`, our own settings (TOML). [`KEYS`] is the one list of them: the commented default,
//! the check for unknown keys and the reader go by it.

use std::{ops::Range, path::Path, time::Duration};

use protocol::tls::TlsVersion;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    logging,
    problem::{Problem, nearest},
    units,
};

/// One setting: name, default as TOML, and what it does.
pub struct Key {
    /// Name; with a dot when in a table.
    pub name: &'static str,
    /// The default, as it would be written; empty when there is none.
    pub default: &'static str,
    /// An example for settings without default.
    pub example: &'static str,
    /// What it does.
    pub doc: &'static str,
}

pub(super) const fn key(
    name: &'static str,
    default: &'static str,
    example: &'static str,
    doc: &'static str,
) -> Key {
    Key { name, default, example, doc }
}

/// What the file is.
pub const ABOUT: &str = "`/opt/rudder/etc/relayd-agent.conf`, in TOML. It may be missing; unknown keys are refused. \
                         `agent config default` prints it commented, `agent config check` names all mistakes.";

/// All settings, tables last.
#[rustfmt::skip]
pub const KEYS: [Key; 36] = [
    key("policy_command", "", r#"["/usr/local/bin/policies", "--enforce"]"#,
        "The command that applies the policies: program and arguments, no shell. `agent run -- COMMAND` goes before it."),
    key("run_interval", "", r#""5m""#,
        "Time between runs of `agent daemon`, counted from 1970-01-01 00:00 UTC.\nDefault: what the policies say (AGENT_RUN_INTERVAL), else 5 minutes. AGENT_RUN_SCHEDULE and AGENT_RUN_STARTTIME are not used."),
    key("splay", "", r#""5m""#,
        "Runs of different nodes spread over this time, each node always at its own moment.\nDefault: what the policies say (AGENT_RUN_SPLAYTIME), else the run interval."),
    key("time_limit", r#""30m""#, "",
        "A policy command that runs longer is ended, with all processes of its group; what it said is still sent."),
    key("stop_grace", r#""10s""#, "",
        "Time between the request to end (SIGTERM) and the end by force (SIGKILL)."),
    key("max_output_size", r#""10MiB""#, "",
        "Output of a run beyond this is dropped, and the run log says how much. At most 64MiB."),
    key("outbox_retention", r#""7d""#, "",
        "Run logs that could not be sent for this long are dropped and counted."),
    key("outbox_max_size", "", r#""1GiB""#,
        "The oldest run logs are dropped and counted when all together are bigger. Default: no limit."),
    key("sent_retention", r#""2d""#, "",
        "Copies of run logs that the policy server has are kept for this long, for a server that comes back from a backup and asks\nfor what it lacks; `agent resend` sends them by hand. \"0s\" keeps none. They make room when the disk is full."),
    key("upload_user", "", r#""rudder""#,
        "User for basic authentication of uploads. Default: what the policies say (DAVUSER)."),
    key("upload_password", "", r#""secret""#,
        "Its password."),
    key("connected", "true", "",
        "Whether `agent daemon` keeps a connection to the policy server, over which it hears at once of runs that are asked for.\nWithout it, they wait until the agent next has something to send."),
    key("condition_argument", r#""-D""#, "",
        "How the policy command is told of the conditions of a run: this argument and the condition, for each. With \"\", only by AGENT_CONDITIONS in its environment."),
    key("min_tls_version", r#""1.3""#, "",
        "Oldest TLS version to speak: \"1.2\" or \"1.3\"."),
    key("update", "true", "",
        "Whether `agent run` fetches the policies from the policy server first. `agent update` does it in any case."),
    key("update_time_limit", r#""10m""#, "",
        "Fetching the policies is given up after this time."),
    key("validate_command", "", r#"["/opt/rudder/bin/cf-promises", "-f", "/var/rudder/cfengine-community/inputs/promises.cf"]"#,
        "Run when new policies are in place, before they are used: program and arguments, no shell. When it fails, the previous policies\ncome back, and the new ones are not fetched again until they change. It finds the directory in AGENT_POLICIES."),
    key("validate_time_limit", r#""5m""#, "",
        "A validation that runs longer is ended, and has failed."),
    key("inventory", "", "true",
        "Whether `agent daemon` makes inventories of this machine: at night, and when something has changed.\nDefault: unless another agent's collector is installed (/opt/rudder/bin/run-inventory). `agent inventory` makes one in any case."),
    key("inventory_arguments", "false", "",
        "Whether inventories tell the command lines of processes as they are: all who may read inventories then see them, and some programs take passwords there. Otherwise only the program is told."),
    key("paths.node_id", "", r#""/opt/rudder/etc/uuid.hive""#, "Node id."),
    key("paths.certificate", "", r#""/opt/rudder/etc/ssl/agent.cert""#, "Certificate of the node."),
    key("paths.key", "", r#""/var/rudder/cfengine-community/ppkeys/localhost.priv""#, "Private key of the node."),
    key("paths.public_key", "", r#""/var/rudder/cfengine-community/ppkeys/localhost.pub""#, "Its public key."),
    key("paths.policies", "", r#""/var/rudder/cfengine-community/inputs/rudder.json""#, "What the policies say about themselves; by default `rudder.json` in `policies_directory`."),
    key("paths.policies_directory", "", r#""/var/rudder/cfengine-community/inputs""#, "The policies. The directory is replaced as a whole; `.next` and `.previous` are beside it."),
    key("paths.library_directory", "", r#""/var/rudder/ncf""#, "The library that comes with policies of other programs."),
    key("paths.policy_key", "", r#""/var/rudder/lib/ssl/policy_key.pem""#, "Certificates of the policy keys, PEM. When the file is there, nothing else than policies signed by one of them is taken."),
    key("paths.server_pins", "", r#""/var/rudder/lib/ssl/policy_server_hash""#, "Pins of the policy server."),
    key("paths.reports", "", r#""/var/rudder/reports""#, "Directory of the outbox (`ready`) and of refused run logs (`failed`)."),
    key("paths.temporary", "", r#""/var/rudder/tmp/reports""#, "Run logs that are being written; on the same file system as the outbox."),
    key("paths.state", "", r#""/var/rudder/lib/relayd-agent""#, "What the agent remembers, and its lock files."),
    key("logging.level", r#""info""#, "", "How much is logged: \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\". The daemon reads this table before each run, and at SIGHUP."),
    key("logging.filter", "", r#""agent::triggers=debug""#, "More directives, separated by commas, that win over level."),
    key("logging.format", r#""auto""#, "", "\"journal\" for entries of the journal with fields (`journalctl NODE_ID=…`), \"human\" for lines, \"json\" for programs that read the log;\n\"auto\" is the journal where the service manager has connected the program to it, else lines. Applies from the next start on."),
    key("logging.repeats", "5", "", "How many equal events are written within 30 seconds; further ones are counted, and one line says how many there were. 0: all."),
];

/// The commented default file.
pub fn default_text() -> String {
    let mut text = String::from(
        "# Settings of the agent, beside agent.conf. Every line here is a comment: uncomment to change.\n\
         # `agent config check` names each mistake.\n",
    );
    let mut table = "";
    for key in &KEYS {
        let name = match key.name.split_once('.') {
            Some((new, name)) => {
                if new != table {
                    table = new;
                    text += &format!("\n#[{table}]\n");
                }
                name
            }
            None => key.name,
        };
        text.push('\n');
        for line in key.doc.lines() {
            text += &format!("# {line}\n");
        }
        let value = if key.default.is_empty() { key.example } else { key.default };
        text += &format!("#{name} = {value}\n");
    }
    text
}

/// What the file says; absent keys are `None`.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the list of keys documents each")]
pub struct Own {
    pub policy_command: Option<Vec<String>>,
    pub run_interval: Option<Duration>,
    pub splay: Option<Duration>,
    pub time_limit: Option<Duration>,
    pub stop_grace: Option<Duration>,
    pub max_output_size: Option<u64>,
    pub outbox_retention: Option<Duration>,
    pub outbox_max_size: Option<u64>,
    pub sent_retention: Option<Duration>,
    pub upload_user: Option<String>,
    pub upload_password: Option<super::Secret>,
    pub connected: Option<bool>,
    pub condition_argument: Option<String>,
    pub min_tls_version: Option<TlsVersion>,
    pub update: Option<bool>,
    pub update_time_limit: Option<Duration>,
    pub validate_command: Option<Vec<String>>,
    pub validate_time_limit: Option<Duration>,
    pub inventory: Option<bool>,
    pub inventory_arguments: Option<bool>,
    pub paths: Vec<(&'static str, std::path::PathBuf)>,
    pub logging: logging::Own,
}

/// Longest time a run, an interval or a splay may have.
const A_WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Reads the text of a `relayd-agent.conf`; mistakes go to `problems`.
pub fn parse(text: &str, file: &Path, problems: &mut Vec<Problem>) -> Own {
    let first = problems.len();
    let mut reader = Reader { text, file, problems, own: Own::default() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.problem(error.span(), error.message().to_owned(), "correct the TOML syntax".into());
    }
    reader.table("", table.get_ref());
    let own = reader.own;
    problems[first..].sort_by_key(|problem| problem.line);
    own
}

struct Reader<'a> {
    text: &'a str,
    file: &'a Path,
    problems: &'a mut Vec<Problem>,
    own: Own,
}

impl Reader<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            match (KEYS.iter().find(|k| k.name == name), value.get_ref()) {
                (Some(key), _) => {
                    if let Err(expected) = self.set(key.name, value) {
                        let example = if key.default.is_empty() { key.example } else { key.default };
                        self.problem(
                            Some(value.span()),
                            format!("`{name}`: {expected}"),
                            format!("write for example `{name} = {example}`"),
                        );
                    }
                }
                (None, DeValue::Table(inner))
                    if prefix.is_empty() && ["paths", "logging"].contains(&name.as_str()) =>
                {
                    self.table(&format!("{name}."), inner);
                }
                (None, _) => {
                    let remedy = match nearest(&name, KEYS.iter().map(|k| k.name)) {
                        Some(known) => format!("did you mean `{known}`?"),
                        None => "remove it; `agent config default` lists all keys".into(),
                    };
                    self.problem(Some(key.span()), format!("unknown key `{name}`"), remedy);
                }
            }
        }
    }

    fn set(&mut self, name: &'static str, value: &Spanned<DeValue<'_>>) -> Result<(), String> {
        let value = value.get_ref();
        let text = || value.as_str().ok_or_else(|| format!("expected a text, found {}", value.type_str()));
        let time = |least: u64| {
            units::duration(text()?).and_then(|d| match d {
                d if d.as_secs() < least => Err(format!("must be at least {least} s")),
                d if d > A_WEEK && !["outbox_retention", "sent_retention"].contains(&name) => {
                    Err("must be at most a week".into())
                }
                d => Ok(Some(d)),
            })
        };
        let own = &mut self.own;
        match name {
            "policy_command" => own.policy_command = Some(command(value)?),
            "run_interval" => own.run_interval = time(1)?,
            "splay" => own.splay = time(0)?,
            "time_limit" => own.time_limit = time(1)?,
            "stop_grace" => own.stop_grace = time(0)?,
            "outbox_retention" => own.outbox_retention = time(1)?,
            "sent_retention" => own.sent_retention = time(0)?,
            "max_output_size" => match units::size(text()?)? {
                size if (1024..=64 << 20).contains(&size) => own.max_output_size = Some(size),
                _ => return Err("must be from 1KiB to 64MiB".into()),
            },
            "update" => own.update = Some(switch(value)?),
            "inventory" => own.inventory = Some(switch(value)?),
            "inventory_arguments" => own.inventory_arguments = Some(switch(value)?),
            "update_time_limit" => own.update_time_limit = time(1)?,
            "validate_command" => own.validate_command = Some(command(value)?),
            "validate_time_limit" => own.validate_time_limit = time(1)?,
            "outbox_max_size" => own.outbox_max_size = Some(units::size(text()?)?),
            "upload_user" if text()?.contains(':') => return Err("a user has no colon".into()),
            "upload_user" => own.upload_user = Some(text()?.to_owned()),
            "upload_password" => own.upload_password = Some(super::Secret::new(text()?.to_owned())),
            "connected" => own.connected = Some(switch(value)?),
            "condition_argument" if text()?.contains('\0') => return Err("no argument has a NUL".into()),
            "condition_argument" => own.condition_argument = Some(text()?.to_owned()),
            "min_tls_version" => {
                own.min_tls_version = Some(match text()? {
                    "1.2" => TlsVersion::V1_2,
                    "1.3" => TlsVersion::V1_3,
                    _ => return Err("expected \"1.2\" or \"1.3\"".into()),
                })
            }
            name if name.starts_with("logging.") => own.logging.set(name, value)?,
            path => match text()? {
                value if value.starts_with('/') => own.paths.push((path, value.into())),
                _ => return Err("expected an absolute path".into()),
            },
        }
        Ok(())
    }

    fn problem(&mut self, span: Option<Range<usize>>, cause: String, remedy: String) {
        let before = span.and_then(|span| self.text.get(..span.start));
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: before.map(|text| text.matches('\n').count() + 1),
            cause,
            remedy,
        });
    }
}

fn switch(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| format!("expected true or false, found {}", value.type_str()))
}

fn command(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let words: Option<Vec<String>> = value
        .as_array()
        .and_then(|array| array.iter().map(|word| word.get_ref().as_str().map(str::to_owned)).collect());
    match words {
        Some(words) if words.first().is_some_and(|program| !program.is_empty()) => Ok(words),
        _ => Err("expected an array of texts: the program, then its arguments".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Own, Vec<Problem>) {
        let mut problems = vec![];
        (parse(text, Path::new("own.conf"), &mut problems), problems)
    }

    #[test]
    fn the_default_file_names_every_key_and_is_valid_once_uncommented() {
        let uncommented: String = default_text()
            .lines()
            .filter_map(|line| line.strip_prefix('#'))
            .filter(|line| !line.starts_with(' '))
            .map(|line| format!("{line}\n"))
            .collect();
        let (own, problems) = read(&uncommented);
        assert_eq!(problems, vec![], "{uncommented}");
        assert_eq!(uncommented.matches(" = ").count(), KEYS.len());
        assert_eq!(own.paths.len(), 12);
        assert_eq!(own.policy_command.unwrap().len(), 2);
    }

    #[test]
    fn names_all_mistakes_at_once() {
        let (_, problems) = read(
            "policy_comand = []\ntime_limit = 5\nmin_tls_version = \"1.1\"\n\n[paths]\nkey = \"relative\"\nkeyy = \"/x\"\n",
        );
        assert_eq!(problems.iter().map(|p| p.line.unwrap()).collect::<Vec<_>>(), [1, 2, 3, 6, 7]);
        assert!(problems[0].remedy.contains("`policy_command`"));
        assert!(problems[4].remedy.contains("`paths.key`"));
        let (_, problems) = read("run_interval = \"5m\"\nx = = 1\n");
        assert_eq!(problems[0].line, Some(2));
    }
}
