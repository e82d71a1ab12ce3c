// SPDX-License-Identifier: Apache-2.0
//! `agent inventory`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use chrono::{Local, Utc};
use protocol::node_id::NodeId;
use serde_json::{Value, json};

use super::{CliError, print, runtime, stop_on_signals};
use crate::{
    durable::{self, PRIVATE},
    identity::Identity,
    inventory::{
        self, InventoryError, Made,
        document::Document,
        schedule::{self, Facts, Memory, Why},
        send::SendInventoryError,
        signs,
        waiting::Pair,
    },
    settings::Settings,
    state::State,
};

/// Make an inventory of this machine, sign it, and bring it to the policy server.
///
/// The daemon does it by itself: between 00:00 and 06:00, each node at its own moment; when what an inventory says
/// has changed; when the file /opt/rudder/etc/force_inventory is there, or a run has the condition force_inventory. It does
/// not while /opt/rudder/etc/disable-inventory is there, or with the setting `inventory = false`.
///
/// Programs in /opt/rudder/var/hooks.d and /var/rudder/hooks.d may add custom properties: each prints a JSON object.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The exit status is 0 when the policy server has the inventory, 1 when it has not: then it waits, and the daemon
sends it later.

Examples:
  agent inventory
  agent inventory --print | less          what it would say, without sending it
  agent inventory --output /media/stick   the signed files, to be carried to the server
  agent inventory --due                   only if it is due, for machines that run the agent from a timer
  agent inventory --json | jq .sent")]
pub(super) struct Args {
    /// Print the inventory, and send nothing.
    #[arg(long, conflicts_with_all = ["output", "due", "json", "quiet"])]
    print: bool,
    /// Write the inventory and its signature into this directory, and send nothing.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["due", "json", "quiet"])]
    output: Option<PathBuf>,
    /// Only if one is due.
    #[arg(long)]
    due: bool,
    /// Print the result as JSON.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Print nothing; what goes wrong is logged.
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(root: &Path, settings: &Settings, args: Args) -> Result<ExitCode, CliError> {
    let identity = Identity::load(&settings.paths)?;
    if args.print || args.output.is_some() {
        return only_make(root, settings, &identity, args.output.as_deref());
    }
    if settings.paths.disable_inventory.exists() {
        let file = settings.paths.disable_inventory.display();
        let text = format!("no inventories are made while {file} is there: remove it first");
        return if args.due { Ok(ExitCode::SUCCESS) } else { Err(CliError::Configuration(text)) };
    }
    let why = match args.due {
        false => Some(Why::Asked),
        true => due_now(root, settings, &identity)?,
    };
    let made = match why {
        None => None,
        Some(why) => Some(runtime()?.block_on(async {
            let stop = stop_on_signals()?;
            Ok::<_, CliError>(inventory::make(root, settings, &identity, why, &stop).await)
        })?),
    };
    if args.quiet {
        made.iter().for_each(inventory::log);
        // What is not sent yet is noted, and tried again in time.
        let failed = matches!(&made, Some(Err(e)) if !e.is_nobodys_fault());
        return Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    }
    if args.json {
        print(&format!("{:#}\n", to_json(made.as_ref())))?;
    }
    let made = made.transpose()?;
    if !args.json {
        print(&format!("{}\n", describe(made.as_ref())))?;
    }
    Ok(if let Some(Made::Waits(_)) = made { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn due_now(root: &Path, settings: &Settings, identity: &Identity) -> Result<Option<Why>, CliError> {
    if !schedule::is_enabled(settings) {
        return Ok(None);
    }
    let state = State::open(&settings.paths.state)?;
    let (memory, signs) = (Memory::load(&state), signs::of(root, settings));
    let is_asked = settings.paths.force_inventory.exists();
    let facts = Facts {
        memory: &memory,
        is_asked,
        signs: &signs,
        initial: settings.initial,
        node_id: &identity.node_id,
    };
    let (at, why) = schedule::due(facts, Local::now());
    Ok((at <= Utc::now()).then_some(why))
}

/// Makes one for whoever asked, as far as it can be known without asking the policy server who it is.
fn only_make(
    root: &Path,
    settings: &Settings,
    identity: &Identity,
    output: Option<&Path>,
) -> Result<ExitCode, CliError> {
    let state = State::open(&settings.paths.state)?;
    let policy_server = inventory::send::known_node_id(&state).unwrap_or_else(NodeId::root);
    let document = runtime()?.block_on(async {
        let stop = stop_on_signals()?;
        let made = Document::make(root, settings, identity, &policy_server, &state, &stop).await;
        made.map_err(|e| CliError::Failure(e.to_string()))
    })?;
    let Some(directory) = output else {
        print(&document.xml)?;
        return Ok(ExitCode::SUCCESS);
    };
    let pair = Pair::of(&document, settings, identity)?;
    let failure = |e: std::io::Error| CliError::Failure(format!("{}: {e}", directory.display()));
    fs::create_dir_all(directory).map_err(failure)?;
    for (name, content) in [(pair.signature_name(), &pair.signature), (pair.name.clone(), &pair.inventory)] {
        let path = directory.join(name);
        durable::replace(&path, content, PRIVATE).map_err(failure)?;
        print(&format!("{}\n", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(made: Option<&Made>) -> String {
    match made {
        None => "no inventory is due".to_owned(),
        Some(Made::Sent { name, size, keys }) => {
            let keys: String = keys.iter().map(|change| format!("; {change}")).collect();
            format!("inventory sent: {name} ({size} bytes){keys}")
        }
        Some(Made::Unchanged) => "nothing has changed since the last inventory".to_owned(),
        Some(Made::Waits(why)) => format!("the inventory waits: {why}"),
    }
}

fn to_json(made: Option<&Result<Made, InventoryError>>) -> Value {
    match made {
        None => json!({ "sent": false, "problem": null }),
        Some(Ok(Made::Sent { name, size, keys })) => {
            json!({ "sent": true, "name": name, "bytes": size, "keys": keys, "problem": null })
        }
        Some(Ok(Made::Unchanged)) => json!({ "sent": false, "unchanged": true, "problem": null }),
        Some(Ok(Made::Waits(why))) => json!({ "sent": false, "problem": why }),
        Some(Err(e)) => json!({ "sent": false, "problem": e.to_string() }),
    }
}

impl From<InventoryError> for CliError {
    fn from(e: InventoryError) -> Self {
        match &e {
            InventoryError::InProgress(_) => Self::Busy(e.to_string()),
            InventoryError::Send(SendInventoryError::Refused(_)) => Self::Refused(e.to_string()),
            InventoryError::Send(cause) if cause.is_configuration() => Self::Configuration(e.to_string()),
            _ => Self::Failure(e.to_string()),
        }
    }
}
