// SPDX-License-Identifier: Apache-2.0
//! `agent.conf`, shared with existing agents (protocol 1.7): `key = value` lines, `#` comments.
//!
//! Unknown keys are warnings only: the file also belongs to others.

use std::path::Path;

use protocol::proxy::{FromEnvironment, ProxyRule};

use super::{
    own::{Key, key},
    problem::{Problem, nearest},
};

/// What the file is.
pub const ABOUT: &str = "`/opt/rudder/etc/agent.conf`: lines `key = value`, `#` begins a comment. It is shared with \
                         other programs: unknown keys are warnings. An empty value means the default.";

/// All settings that are read.
#[rustfmt::skip]
pub const KEYS: [Key; 6] = [
    key("server", "", "relay.example.com", "Policy server of this node, a host name or address. `agent enroll --server` writes it."),
    key("https_port", "443", "", "Its HTTPS port."),
    key("https_proxy", "", "http://proxy.example.com:3128",
        "Proxy on the way there. `system`: as the environment says. Default: none."),
    key("https_only", "false", "", "For other programs; the agent speaks nothing but HTTPS."),
    key("cert_validation", "false", "", "The policy server is known by the chain and the name of its certificate, instead of its pinned key."),
    key("inventory", "", "module", "For other programs: which inventory collector is used, `fusion` or `module`."),
];

/// What `agent.conf` says; absent keys are `None` or the default of the protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentConf {
    /// Host name or address of the policy server.
    pub server: Option<String>,
    /// HTTPS port.
    pub https_port: Option<u16>,
    /// The proxy on the way to the policy server.
    pub https_proxy: ProxyRule,
    /// Policies over HTTPS only.
    pub https_only: bool,
    /// Chain and host name instead of pins.
    pub cert_validation: bool,
    /// Which inventory collector.
    pub inventory: Option<String>,
}

/// Reads the text of an `agent.conf`; mistakes go to `problems`, unknown keys to `warnings`.
pub fn parse(text: &str, file: &Path, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) -> AgentConf {
    let mut conf = AgentConf::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let problem = |cause: String, remedy: String| Problem {
            file: file.to_owned(),
            line: Some(number + 1),
            cause,
            remedy,
        };
        let Some((key, value)) = line.split_once('=') else {
            // Not the whole line, which may hold a password.
            let word =
                line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            problems.push(problem(
                format!("the line that starts with {word:?} is not a setting"),
                "write `key = value`, or `#` in front of a comment".into(),
            ));
            continue;
        };
        let (key, value) = (key.trim(), value.split(" #").next().unwrap_or_default().trim());
        if !KEYS.iter().any(|known| known.name == key) {
            let names = KEYS.map(|known| known.name);
            let remedy = match nearest(key, names) {
                Some(known) => format!("did you mean `{known}`? The line is ignored"),
                None => format!("the line is ignored; known keys: {}", names.join(", ")),
            };
            warnings.push(problem(format!("unknown key `{key}`"), remedy));
        } else if let Err((cause, remedy)) = set(&mut conf, key, value) {
            problems.push(problem(cause, remedy.into()));
        }
    }
    conf
}

/// Sets one key; an empty value is the default.
fn set(conf: &mut AgentConf, key: &str, value: &str) -> Result<(), (String, &'static str)> {
    let bad = |what: &str| format!("`{key}` is {value:?}, which is not {what}");
    match key {
        "server" if value.is_empty() => conf.server = None,
        "server" if is_host(value) => conf.server = Some(value.to_owned()),
        "server" => {
            return Err((
                bad("a host name or address"),
                "write the host alone; the port goes to `https_port`",
            ));
        }
        "https_port" if value.is_empty() => conf.https_port = None,
        "https_port" => match value.parse::<u16>() {
            Ok(port) if port > 0 => conf.https_port = Some(port),
            _ => return Err((bad("a port"), "write a number from 1 to 65535")),
        },
        "https_proxy" => {
            conf.https_proxy = match value {
                "" => ProxyRule::None,
                "system" => ProxyRule::Environment(FromEnvironment::read(|name| std::env::var(name).ok())),
                url => match url.parse() {
                    Ok(proxy) => ProxyRule::Fixed(proxy),
                    Err(e) => {
                        return Err((
                            format!("`{key}` is not usable: {e}"),
                            "write `system`, or http://[user:password@]host[:port]",
                        ));
                    }
                },
            }
        }
        "inventory" if value.is_empty() => conf.inventory = None,
        "inventory" if ["fusion", "module"].contains(&value) => conf.inventory = Some(value.to_owned()),
        "inventory" => return Err((bad("an inventory collector"), "write `fusion` or `module`")),
        switch => {
            let on = match value {
                "true" => true,
                "false" | "" => false,
                _ => return Err((bad("true or false"), "write `true` or `false`")),
            };
            if switch == "https_only" { conf.https_only = on } else { conf.cert_validation = on }
        }
    }
    Ok(())
}

/// Whether a text can be a host name, an IPv4 address or an IPv6 address without brackets.
pub fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && (text.parse::<std::net::IpAddr>().is_ok()
            || text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)))
}

/// The text with `key` set to `value`: its line is replaced, or one is added; all else stays.
pub fn with_value(text: &str, key: &str, value: &str) -> String {
    let new = format!("{key} = {value}");
    let is_it = |line: &str| line.split_once('=').is_some_and(|(k, _)| k.trim() == key);
    let mut found = false;
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        if !is_it(line) {
            lines.push(line);
        } else if !found {
            found = true;
            lines.push(&new);
        }
    }
    if !found {
        lines.push(&new);
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (AgentConf, Vec<Problem>, Vec<Problem>) {
        let (mut problems, mut warnings) = (vec![], vec![]);
        let conf = parse(text, Path::new("agent.conf"), &mut problems, &mut warnings);
        (conf, problems, warnings)
    }

    #[test]
    fn reads_all_keys() {
        let (conf, problems, warnings) = read(
            "# comment\nserver = relay.example # ours\nhttps_port=4443\nhttps_proxy = http://u:p@proxy:3128\n\
             https_only = true\n\ncert_validation = false\ninventory = module\n",
        );
        assert_eq!((problems, warnings), (vec![], vec![]));
        assert_eq!(
            conf,
            AgentConf {
                server: Some("relay.example".into()),
                https_port: Some(4443),
                https_proxy: ProxyRule::Fixed("u:p@proxy:3128".parse().unwrap()),
                https_only: true,
                cert_validation: false,
                inventory: Some("module".into()),
            }
        );
    }

    #[test]
    fn names_every_mistake_with_its_line() {
        let (_, problems, warnings) =
            read("server = a/b\nhttps_port = 70000\nhttps_only = yes\nnonsense\nservr = x\ninventory = x\n");
        assert_eq!(problems.iter().map(|p| p.line.unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 6]);
        assert!(problems[0].remedy.contains("https_port"));
        assert!(warnings[0].remedy.contains("`server`"));
    }

    #[test]
    fn sets_a_key_and_keeps_the_rest() {
        assert_eq!(
            with_value("# top\nserver = a\nserver=b\nx = 1\n", "server", "c"),
            "# top\nserver = c\nx = 1\n"
        );
        assert_eq!(with_value("", "server", "c"), "server = c\n");
    }
}
