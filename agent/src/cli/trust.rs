// SPDX-License-Identifier: Apache-2.0
//! `agent trust`.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{CliError, init, print};
use crate::{
    server::{
        pin_memory::Memory,
        succession,
        trust::{self, Source},
    },
    settings::Settings,
};

/// Show or change how the policy server is known.
///
/// A server that changes its key as it should is followed without anybody. This is for the rest: a server that
/// was reinstalled, a node that was off for too long, a first contact that met the wrong machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent trust show
  agent trust pin sha256//I8utFWGj+OpqpbiAIZ/s8qRC4fQXxQ8IRVjFe0X1Lug=    as `relayd server-key show` prints it
  agent trust reset                                                       trust the next server met")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the keys that the policy server may have, and where they come from.
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
    }
    Ok(ExitCode::SUCCESS)
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
        "learnt": learnt.iter().filter(|one| known.pins.contains(&one.pin)).collect::<Vec<_>>(),
    }))
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
    text
}
