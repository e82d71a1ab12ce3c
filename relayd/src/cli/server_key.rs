// SPDX-License-Identifier: Apache-2.0
//! `relayd server-key`: the key by which nodes know this server, and the one that follows it.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use chrono::{DateTime, Utc};
use clap::Subcommand;
use protocol::certificate::Certificate;
use serde_json::{Value, json};

use super::{
    CliError,
    output::{KeyArg, date},
};
use crate::{
    config::{AGENT_KEY, Config, IdentityFiles},
    server_key::{self, ServerKey, ServerKeyError, next_files},
};

/// Commands about the key of the gateway.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the next key and announce it: agents that come by from then on know it before it is used.
    #[command(after_help = "Example, the whole change:
  relayd server-key next && systemctl reload relayd
  # some days later, when most nodes have been here
  relayd server-key activate && systemctl reload relayd
  # months later, when no node can still know only the old key
  relayd server-key forget-chain && systemctl reload relayd")]
    Next {
        /// Which key to make.
        #[arg(long, value_enum, default_value_t)]
        key: KeyArg,
    },
    /// Use the next key from the next reload on. Its predecessors vouch for it to whoever knows only them.
    #[command(after_help = "Example:
  relayd server-key activate && systemctl reload relayd

When interrupted, run it again.")]
    Activate,
    /// Show the current key, its predecessors and the next one.
    #[command(after_help = "Example:
  relayd server-key show --json | jq -r .current.key_hash")]
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give the next key up. Agents that know it already do no harm by that.
    #[command(after_help = "Example:
  relayd server-key cancel && systemctl reload relayd")]
    Cancel,
    /// Stop sending the predecessors of the current key. After the theft of one, do this at once.
    #[command(after_help = "Example:
  relayd server-key forget-chain && systemctl reload relayd

Agents that know only a predecessor do not come back by themselves then: `agent trust` on each.")]
    ForgetChain,
}

/// Runs a command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    let gateway = config.gateway.as_ref().ok_or_else(|| {
        CliError::failed("there is no gateway (gateway.listen is not set), so no server key is used")
    })?;
    let files = &gateway.identity;
    let mut out = io::stdout().lock();
    match command {
        Command::Next { key } => {
            refuse_agents_key(files, config)?;
            let made = server_key::prepare(files, (*key).into(), &config.general.node_id)?;
            print_text(&mut out, &made, files)?;
            writeln!(
                out,
                "It is announced from the next reload of the daemon on (SIGHUP). Use it with `relayd server-key \
                 activate` when most nodes have been here."
            )?;
        }
        Command::Activate => {
            refuse_agents_key(files, config)?;
            let active = server_key::activate(files)?;
            print_text(&mut out, &active, files)?;
            writeln!(out, "It is used from the next reload of the daemon on (SIGHUP).")?;
        }
        Command::Show { json: true } => writeln!(out, "{}", as_json(&ServerKey::load(files)?, files))?,
        Command::Show { json: false } => print_text(&mut out, &ServerKey::load(files)?, files)?,
        Command::Cancel => match server_key::cancel(files)? {
            true => {
                writeln!(out, "given up; announced no more from the next reload of the daemon on (SIGHUP)")?
            }
            false => return Err(CliError::nothing(ServerKeyError::NoNext)),
        },
        Command::ForgetChain => match server_key::forget_chain(files)? {
            0 => writeln!(out, "there are no predecessors")?,
            dropped => {
                writeln!(out, "{dropped} dropped; not sent from the next reload of the daemon on (SIGHUP)")?
            }
        },
    }
    Ok(())
}

impl From<ServerKeyError> for CliError {
    fn from(error: ServerKeyError) -> Self {
        match error {
            ServerKeyError::NoNext => Self::nothing(error),
            error => Self::failed(error),
        }
    }
}

/// The agent on this machine signs with its key, and the servers above know it by that: it changes by
/// another way, and not together with that of the gateway.
fn refuse_agents_key(files: &IdentityFiles, config: &Config) -> Result<(), CliError> {
    let own = fs::canonicalize(&files.key).ok();
    let is_that = |path: &Path| path == files.key || (own.is_some() && fs::canonicalize(path).ok() == own);
    let identity = config.upstream.as_ref().and_then(|upstream| upstream.client_identity.as_ref());
    if !is_that(Path::new(AGENT_KEY)) && !identity.is_some_and(|identity| is_that(&identity.key)) {
        return Ok(());
    }
    Err(CliError::failed(format!(
        "{} is the key of the agent on this machine, too, which changes with `agent key roll`; first give the \
         gateway files of its own, with the same key, so that no node notices: copy this key and {} to \
         /opt/rudder/etc/ssl/server.key and server.cert, name these in gateway.key and gateway.certificate, and \
         restart the daemon",
        files.key.display(),
        files.certificate.display()
    )))
}

fn print_text(out: &mut impl Write, key: &ServerKey, files: &IdentityFiles) -> io::Result<()> {
    let line = |what: &str, certificate: &Certificate| {
        let (pin, until) = (certificate.key_hash(), date(certificate.not_after()));
        format!("{what:<9} {pin}  certificate valid until {until}")
    };
    writeln!(out, "{}", line("current", key.certificate()))?;
    for before in &key.chain[1..] {
        writeln!(out, "{}", line("before", before))?;
    }
    match (&key.next, announced(files)) {
        (Some(next), Some(since)) => writeln!(out, "{}, made {}", line("next", next), date(since)),
        (Some(next), None) => writeln!(out, "{}", line("next", next)),
        (None, _) => writeln!(out, "next      none"),
    }
}

fn as_json(key: &ServerKey, files: &IdentityFiles) -> Value {
    let one = |certificate: &Certificate| {
        json!({
            "key_hash": certificate.key_hash().to_string(),
            "fingerprint": hex::encode(certificate.fingerprint()),
            "not_before": date(certificate.not_before()),
            "not_after": date(certificate.not_after()),
        })
    };
    json!({
        "current": one(key.certificate()),
        "before": key.chain[1..].iter().map(one).collect::<Vec<_>>(),
        "next": key.next.as_ref().map(one),
        "next_made": key.next.as_ref().and_then(|_| announced(files)).map(date),
    })
}

/// When the next key was made.
fn announced(files: &IdentityFiles) -> Option<DateTime<Utc>> {
    Some(next_files(files).certificate.metadata().ok()?.modified().ok()?.into())
}
