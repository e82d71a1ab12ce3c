// SPDX-License-Identifier: Apache-2.0
//! `agent init`.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path, process::ExitCode};

use clap::ValueEnum;
use protocol::{hash::KeyHash, node_id::NodeId, private_key::KeyKind};

use super::{CliError, print};
use crate::{
    durable::{self, PUBLIC},
    identity::{self, InitOptions},
    server::succession,
    settings::{Settings, agent_conf},
};

/// Make this node's id, key and certificate, where missing, and print its id and pin.
///
/// `agent enroll` does the same and then asks the policy server to take this node in.
/// Can be repeated: what is there and fits is kept, and a usable key is never replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent init
  agent init --server relay.example.org --pin sha256//I8utFWGj+OpqpbiAIZ/s8qRC4fQXxQ8IRVjFe0X1Lug=
  agent init --key p256 --node-id e745a140-40bc-4b86-b6dc-084488fc906b")]
pub(super) struct Args {
    /// Kind of key to make when there is none.
    #[arg(long, value_enum, default_value_t = Key::Rsa4096)]
    key: Key,
    /// Id of this node; a random UUID when it has none.
    #[arg(long, value_name = "ID")]
    node_id: Option<NodeId>,
    /// Policy server, as HOST or HOST:PORT; written to agent.conf.
    #[arg(long, value_name = "HOST[:PORT]")]
    server: Option<String>,
    /// Pin of the policy server's key, several separated by `;`.
    #[arg(long, value_name = "sha256//…")]
    pin: Option<String>,
}

/// Kind of key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Key {
    /// RSA, 4096 bits: every server accepts it.
    Rsa4096,
    /// ECDSA on P-256: smaller and faster; relayd accepts it.
    P256,
}

impl From<Key> for KeyKind {
    fn from(key: Key) -> Self {
        match key {
            Key::Rsa4096 => Self::Rsa4096,
            Key::P256 => Self::P256,
        }
    }
}

pub(super) fn run(root: &Path, args: Args) -> Result<ExitCode, CliError> {
    let server = args.server.as_deref().map(server).transpose()?;
    let pins = args.pin.as_deref().map(pins).transpose()?;
    let (settings, _) = Settings::load(root)?;
    let options = InitOptions { key: args.key.into(), node_id: args.node_id };
    let done = identity::init(&settings.paths, &options)?;
    let mut made = done.made.clone();
    if let Some((host, port)) = server
        && write_server(&settings, &host, port)?
    {
        made.push(settings.paths.agent_conf.display().to_string());
    }
    if let Some(pins) = pins {
        succession::pin(&settings, &pins)?;
        made.push(settings.paths.server_pins.display().to_string());
    }
    for file in made {
        eprintln!("wrote {file}");
    }
    print(&format!("id  {}\npin {}\n", done.identity.node_id, done.pin()))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the policy server to agent.conf. Gives whether that is new.
pub(super) fn write_server(settings: &Settings, host: &str, port: Option<u16>) -> Result<bool, CliError> {
    let file = &settings.paths.agent_conf;
    let unreadable = |e: io::Error| CliError::Failure(format!("{}: {e}", file.display()));
    // It may hold the password of a proxy: others are not to read it if they could not before.
    let (text, mode) = match fs::metadata(file) {
        Ok(metadata) => (fs::read_to_string(file).map_err(unreadable)?, metadata.mode() & 0o777),
        Err(e) if e.kind() == io::ErrorKind::NotFound => (String::new(), PUBLIC),
        Err(e) => return Err(unreadable(e)),
    };
    let mut new = agent_conf::with_value(&text, "server", host);
    if let Some(port) = port {
        new = agent_conf::with_value(&new, "https_port", &port.to_string());
    }
    if new == text {
        return Ok(false);
    }
    durable::create_parent(file)?;
    durable::replace(file, new.as_bytes(), mode)?;
    Ok(true)
}

pub(super) fn server(text: &str) -> Result<(String, Option<u16>), CliError> {
    let bad = || CliError::Configuration(format!("--server {text:?} is not HOST or HOST:PORT"));
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?))
        }
        _ => (text, None),
    };
    let host = host.trim_matches(['[', ']']);
    if agent_conf::is_host(host) { Ok((host.to_owned(), port)) } else { Err(bad()) }
}

pub(super) fn pins(text: &str) -> Result<Vec<KeyHash>, CliError> {
    match crate::settings::policies::pins(text) {
        Ok(pins) if !pins.is_empty() => Ok(pins),
        Ok(_) => Err(CliError::Configuration("--pin is empty".into())),
        Err(e) => Err(CliError::Configuration(format!("--pin: {e}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_an_optional_port() {
        assert_eq!(server("relay").unwrap(), ("relay".into(), None));
        assert_eq!(server("127.0.0.1:4443").unwrap(), ("127.0.0.1".into(), Some(4443)));
        assert_eq!(server("[::1]:444").unwrap(), ("::1".into(), Some(444)));
        assert_eq!(server("::1").unwrap(), ("::1".into(), None));
        for bad in ["", "a/b", "a:0", "a:b", "https://x"] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_settings_of_others_stay_and_so_do_their_rights() {
        use std::os::unix::fs::PermissionsExt;

        let root = tempfile::tempdir().unwrap();
        let (settings, _) = Settings::load(root.path()).unwrap();
        let file = &settings.paths.agent_conf;
        assert!(write_server(&settings, "one", None).unwrap());
        fs::write(file, "https_proxy = \"http://u:secret@proxy\"\n").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(write_server(&settings, "two", Some(444)).unwrap());
        assert_eq!(fs::metadata(file).unwrap().mode() & 0o777, 0o600);
        assert!(fs::read_to_string(file).unwrap().contains("u:secret@proxy"));
        fs::write(file, b"# caf\xe9\n").unwrap();
        assert!(write_server(&settings, "three", None).is_err());
        assert_eq!(fs::read(file).unwrap(), b"# caf\xe9\n");
    }
}
