// SPDX-License-Identifier: Apache-2.0
//! `agent trust`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Subcommand;
use protocol::certificate::Certificate;
use serde_json::{Value, json};

use super::{CliError, init, print};
use crate::{
    durable,
    server::{
        pin_memory::Memory,
        succession,
        trust::{self, Source},
    },
    settings::Settings,
    update::pinned::Pinned,
};

/// Show or change how the policy server is known, and who may sign policies.
///
/// A server that changes its key as it should is followed without anybody. This is for the rest: a server that
/// was reinstalled, a node that was off for too long, a first contact that met the wrong machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent trust show
  agent trust pin sha256//I8utFWGj+OpqpbiAIZ/s8qRC4fQXxQ8IRVjFe0X1Lug=    as `relayd server-key show` prints it
  agent trust reset                                                       trust the next server met
  agent trust policy-key policy_key.pem      take only policies signed by these keys (`relayd policy key export`)")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the keys that the policy server may have, where they come from, and those that may sign policies.
    Show {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Trust these keys and no others; also instead of those of the policies, until the policies change.
    Pin {
        /// Pins, several separated by `;`.
        #[arg(value_name = "sha256//…")]
        pins: String,
    },
    /// Forget all pins but those of the policies: the next server that is met is trusted.
    Reset,
    /// Take only policies that are signed by one of these keys: no server on the way can alter them then.
    #[command(after_help = "\
Examples:
  agent trust policy-key policy_key.pem     as `relayd policy key export` writes it; several for a change of keys
  agent trust policy-key --forget           take whatever the policy server gives")]
    PolicyKey {
        /// Certificates of the keys, PEM. They replace those that are pinned.
        #[arg(value_name = "FILE", required_unless_present = "forget", conflicts_with = "forget")]
        file: Option<PathBuf>,
        /// Forget them all.
        #[arg(long)]
        forget: bool,
    },
}

pub(super) fn run(settings: &Settings, args: Args) -> Result<ExitCode, CliError> {
    match args.action {
        Action::Show { json } => {
            let shown = gather(settings)?;
            print(&if json { format!("{shown:#}\n") } else { for_people(&shown) })?;
        }
        Action::Pin { pins } => {
            succession::pin(settings, &init::pins(&pins)?)?;
            print(&for_people(&gather(settings)?))?;
        }
        Action::Reset => {
            succession::reset(&settings.paths)?;
            print(&for_people(&gather(settings)?))?;
        }
        Action::PolicyKey { file, .. } => {
            match file {
                Some(file) => pin_policy_keys(&settings.paths.policy_key, &file)?,
                None => forget_policy_keys(&settings.paths.policy_key)?,
            }
            print(&for_people(&gather(settings)?))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Only the certificates are kept: somebody may give a file with a key in it.
fn pin_policy_keys(pinned: &Path, file: &Path) -> Result<(), CliError> {
    let unusable = |why: &dyn std::fmt::Display| {
        CliError::Failure(format!(
            "{}: {why}; it must hold certificates, PEM, as `relayd policy key export` writes them",
            file.display()
        ))
    };
    let certificates = Pinned::load(file).map_err(|error| CliError::Failure(error.to_string()))?.certificates;
    if certificates.is_empty() {
        return Err(unusable(&"there is no such file"));
    }
    if let Some(strange) = certificates.iter().find(|one| one.public_key().is_err()) {
        return Err(unusable(&format!("the key {} cannot be used", strange.key_hash())));
    }
    let pem: Vec<u8> = certificates.iter().flat_map(Certificate::to_pem).collect();
    let unwritable =
        |error: io::Error| CliError::Failure(format!("cannot write {}: {error}", pinned.display()));
    durable::create_parent(pinned).map_err(unwritable)?;
    durable::replace(pinned, &pem, durable::PUBLIC).map_err(unwritable)
}

fn forget_policy_keys(pinned: &Path) -> Result<(), CliError> {
    match fs::remove_file(pinned).and_then(|()| durable::sync_parent(pinned)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(CliError::Failure(format!("cannot remove {}: {error}", pinned.display())))
        }
        _ => Ok(()),
    }
}

/// How the policy server is known, for programs.
pub(super) fn gather(settings: &Settings) -> Result<Value, CliError> {
    let known = trust::pins(settings)?;
    let source = match known.source {
        _ if settings.cert_validation => "authority",
        Source::Policies => "policies",
        Source::Operator => "operator",
        Source::File => "file",
        Source::None => "first use",
    };
    let learnt = Memory::load(&settings.paths).learnt;
    Ok(json!({
        "source": source,
        "pins": known.pins.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "policy_keys": policy_keys(settings),
        "learnt": learnt.iter().filter(|one| known.pins.contains(&one.pin)).collect::<Vec<_>>(),
    }))
}

/// The keys that may sign policies; what is wrong with their file is a text.
fn policy_keys(settings: &Settings) -> Value {
    let one = |certificate: &Certificate| {
        json!({
            "key_hash": certificate.key_hash().to_string(),
            "fingerprint": hex::encode(certificate.fingerprint()),
        })
    };
    match Pinned::load(&settings.paths.policy_key) {
        Ok(pinned) => pinned.certificates.iter().map(one).collect(),
        Err(error) => error.to_string().into(),
    }
}

fn for_people(shown: &Value) -> String {
    let source = match shown["source"].as_str().unwrap_or_default() {
        "authority" => "by certificates of authorities, and its name",
        "policies" => "by the pins of the policies (POLICY_SERVER_KEY_HASH)",
        "operator" => "by `agent trust pin`, instead of the pins of the policies",
        "file" => "by the pin file",
        _ => "not yet: the next server that takes something from this node is pinned",
    };
    let mut text = format!("the policy server is known {source}\n");
    for pin in shown["pins"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let learnt = shown["learnt"].as_array().into_iter().flatten().find(|one| one["pin"] == pin);
        let from = learnt.and_then(|one| one["by"].as_str()).map(|by| format!("  (learnt from {by})"));
        text += &format!("pin  {pin}{}\n", from.unwrap_or_default());
    }
    match &shown["policy_keys"] {
        Value::String(why) => text += &format!("policies are refused: {why}\n"),
        keys if keys.as_array().is_none_or(Vec::is_empty) => {
            text += "policies need no signature: no policy key is pinned\n";
        }
        keys => {
            for hash in keys.as_array().into_iter().flatten().filter_map(|key| key["key_hash"].as_str()) {
                text += &format!("policy key  {hash}\n");
            }
        }
    }
    text
}
