// SPDX-License-Identifier: Apache-2.0
//! `relayd policy key`.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::Subcommand;
use protocol::certificate::Certificate;
use serde_json::{Value, json};

use crate::{
    ca::issue::MAX_COMMON_NAME,
    cli::{
        CliError,
        output::{KeyArg, date},
    },
    durable::{self, Access, PUBLIC},
    policies::key::{Known, NewKey, PolicyKey},
};

/// Commands about the policy key.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the key and its certificate. Never overwrites one.
    #[command(after_help = "Example:
  relayd policy key init
  relayd policy key export --out policy_key.pem     # bring it to the nodes: agent trust policy-key

Whoever has the key says what nodes do: keep it readable for nobody else, and a backup of it
offline. It belongs to whoever runs this, not to the daemon, which does not need it.")]
    Init(NewArgs),
    /// Make the key that shall follow. Nodes must know it before it is used.
    #[command(after_help = "Example, the whole change:
  relayd policy key next
  relayd policy key export --out policy_key.pem     # both: bring it to the nodes
  # when all nodes have it
  relayd policy key activate && relayd policy renew --all
  # when all nodes have been here
  relayd policy key export --out policy_key.pem     # the new one alone: bring it to the nodes")]
    Next(NewArgs),
    /// Sign with the next key from now on. Sign what is served once more then: `relayd policy renew --all`.
    #[command(after_help = "Example:
  relayd policy key activate && relayd policy renew --all")]
    Activate,
    /// Print the certificates that nodes shall pin: of the key in use and, if there is one, of the next.
    #[command(after_help = "Example:
  relayd policy key export --out policy_key.pem")]
    Export {
        /// Write them to this file, PEM.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show which keys there are.
    #[command(after_help = "Example:
  relayd policy key show --json | jq -r .current.key_hash")]
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// How the key shall be.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// Common name of its certificate. By default `policy key` and the name of this host.
    #[arg(long, value_parser = common_name)]
    name: Option<String>,
    /// Which key to make. P-256 signs for 10,000 nodes in seconds, RSA in minutes.
    #[arg(long, value_enum, default_value_t = KeyArg::P256)]
    key: KeyArg,
    /// How many days its certificate is valid. Nodes do not look at that, other programs may.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

pub fn run(command: &Command, directory: &Path) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match command {
        Command::Init(args) => {
            made(args, |new| PolicyKey::init(directory, new))?;
            print_text(&mut out, &Known::load(directory)?)?;
            writeln!(
                out,
                "Bring its certificate to the nodes (`relayd policy key export`, on the node `agent trust \
                 policy-key FILE`). Keep a backup of {} offline.",
                directory.display()
            )?;
        }
        Command::Next(args) => {
            made(args, |new| PolicyKey::next(directory, new))?;
            print_text(&mut out, &Known::load(directory)?)?;
            writeln!(out, "Bring both certificates to the nodes before you activate it.")?;
        }
        Command::Activate => {
            print_text(&mut out, &PolicyKey::activate(directory)?)?;
            writeln!(out, "Sign what is served with it: `relayd policy renew --all`.")?;
        }
        Command::Export { out: file } => {
            let known = Known::load(directory)?;
            let pem: Vec<u8> = known.to_pin().into_iter().flat_map(Certificate::to_pem).collect();
            match file {
                None => out.write_all(&pem)?,
                Some(file) => durable::replace(file, &pem, Access::own(PUBLIC))
                    .map_err(|error| CliError::failed(format!("cannot write {}: {error}", file.display())))?,
            }
        }
        Command::Show { json: true } => writeln!(out, "{}", as_json(&Known::load(directory)?))?,
        Command::Show { json: false } => print_text(&mut out, &Known::load(directory)?)?,
    }
    Ok(())
}

fn made<T, E: Into<CliError>>(
    args: &NewArgs,
    make: impl FnOnce(&NewKey<'_>) -> Result<T, E>,
) -> Result<T, CliError> {
    let name = args.name.clone().unwrap_or_else(default_name);
    make(&NewKey { name: &name, kind: args.key.into(), days: args.days }).map_err(Into::into)
}

fn print_text(out: &mut impl Write, known: &Known) -> io::Result<()> {
    let mut line = |what: &str, certificate: &Certificate| {
        let (hash, until) = (certificate.key_hash(), date(certificate.not_after()));
        writeln!(out, "{what:<8} {hash}  certificate valid until {until}")
    };
    known.former.iter().try_for_each(|former| line("former", former))?;
    line("current", &known.current)?;
    known.next.iter().try_for_each(|next| line("next", next))
}

fn as_json(known: &Known) -> Value {
    let one = |certificate: &Certificate| {
        json!({
            "key_hash": certificate.key_hash().to_string(),
            "fingerprint": hex::encode(certificate.fingerprint()),
            "not_before": date(certificate.not_before()),
            "not_after": date(certificate.not_after()),
        })
    };
    json!({
        "current": one(&known.current),
        "next": known.next.as_ref().map(one),
        "former": known.former.iter().map(one).collect::<Vec<_>>(),
    })
}

fn default_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("policy key {host}").chars().take(MAX_COMMON_NAME).collect()
}

fn common_name(text: &str) -> Result<String, String> {
    match text.chars().count() {
        1..=MAX_COMMON_NAME if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Err(format!("write 1 to {MAX_COMMON_NAME} characters")),
    }
}
