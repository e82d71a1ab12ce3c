// SPDX-License-Identifier: Apache-2.0
//! `agent cert`.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use protocol::certificate::Certificate;
use serde_json::{Value, json};

use super::{CliError, print, runtime};
use crate::{
    identity::Identity,
    issued::{
        self, Issued,
        export::{self, Export},
    },
    settings::Settings,
    state::State,
    upkeep::{self, Upkeep},
};

/// Show, renew and export this node's certificates.
///
/// A root with an authority of its own (`relayd ca init`) issues a certificate for this node's key, which the
/// daemon renews at half of its life. Other programs on this machine get copies by `agent cert export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent cert show
  agent cert renew
  agent cert export --cert /etc/nginx/node.pem --key /etc/nginx/node.key --hook systemctl reload nginx")]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show this node's certificates and what is exported.
    Show {
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Get a new certificate of the root's authority now.
    Renew,
    Export(ExportArgs),
}

/// Copy certificate, key and authority for another program, now and after each renewal.
///
/// Each file is replaced whole. The certificate file also has the authority's certificate behind; both may be read by
/// everybody. The hook is a program with its arguments, without a shell, and the last option; it runs after the files
/// are in place, has 60 s, and finds AGENT_CERTIFICATE, AGENT_KEY and AGENT_CA in its environment. A
/// hook that fails is run again later; the files stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent cert export --cert /etc/nginx/node.pem --key /etc/nginx/node.key --hook systemctl reload nginx
  agent cert export --cert /etc/postgresql/node.crt --key /etc/postgresql/node.key --ca /etc/postgresql/ca.crt \\
      --owner postgres --mode 0600 --hook systemctl reload postgresql
  agent cert export --list
  agent cert export --forget /etc/nginx/node.pem    the files stay")]
struct ExportArgs {
    /// Where the certificate goes.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Where the private key goes.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Where the certificate of the authority goes.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Owner of the files, by name or number.
    #[arg(long, value_name = "USER")]
    owner: Option<String>,
    /// Group of the files, by name or number.
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Mode of the key, octal; never for everybody.
    #[arg(long, value_name = "MODE", value_parser = mode, default_value = "0600")]
    mode: u32,
    /// Program and arguments to run after each change. Arguments that start with `-` need `--hook=-x`.
    #[arg(long, value_name = "PROGRAM ARGUMENT", num_args = 1..)]
    hook: Vec<String>,
    /// List what is exported.
    #[arg(long, conflicts_with_all = ["cert", "key", "ca", "forget"])]
    list: bool,
    /// Do not export to this file, and those with it, any more.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cert", "key", "ca"])]
    forget: Option<PathBuf>,
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) if mode & !0o770 == 0 && mode & 0o400 != 0 => Ok(mode),
        _ => Err("expected the mode of a private key, such as 0600 or 0640".into()),
    }
}

pub(super) fn run(settings: &Settings, args: Args) -> Result<ExitCode, CliError> {
    let identity = Identity::load(&settings.paths)?;
    let state = State::open(&settings.paths.state)?;
    match args.action {
        Action::Show { json } => {
            let shown = gather(settings, &state, &identity);
            print(&if json { format!("{shown:#}\n") } else { for_people(&shown) })?;
            Ok(ExitCode::SUCCESS)
        }
        Action::Renew => {
            let problems = runtime()?.block_on(upkeep::certificates(settings, &state, &identity, true))?;
            upkeep::wake(&state)?;
            ended(settings, &state, &identity, problems)
        }
        Action::Export(args) => export(settings, &state, &identity, args),
    }
}

fn export(
    settings: &Settings,
    state: &State,
    identity: &Identity,
    args: ExportArgs,
) -> Result<ExitCode, CliError> {
    if args.list {
        print(&listed(&gather(settings, state, identity)))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = args.forget {
        let _lock = state.lock_identity().map_err(super::locked)?;
        let forgotten = export::forget(state, &absolute(&path)?)?;
        print(&format!("{forgotten} forgotten; the files stay\n"))?;
        return Ok(if forgotten > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let new = Export {
        certificate: args.cert.as_ref().map(absolute).transpose()?,
        key: args.key.as_ref().map(absolute).transpose()?,
        authority: args.ca.as_ref().map(absolute).transpose()?,
        owner: args.owner,
        group: args.group,
        key_mode: args.mode,
        hook: args.hook,
        done: None,
        problem: None,
    };
    refuse_own_files(settings, &new)?;
    if new.certificate.is_none() && new.key.is_none() && new.authority.is_none() {
        return Err(CliError::Configuration(
            "nothing to export\n    give --cert, --key or --ca, or --list".into(),
        ));
    }
    {
        let _lock = state.lock_identity().map_err(super::locked)?;
        export::remember(state, new)?;
    }
    let problems = runtime()?.block_on(upkeep::certificates(settings, state, identity, false))?;
    upkeep::wake(state)?;
    if problems.is_empty() && issued::of_key(settings, identity).is_none() {
        return Err(CliError::Failure(
            "there is no certificate of the root's authority yet\n    the export is remembered; get one with `agent cert renew`"
                .into(),
        ));
    }
    ended(settings, state, identity, problems)
}

/// Files of the agent are no copies, and one file cannot be two.
fn refuse_own_files(settings: &Settings, new: &Export) -> Result<(), CliError> {
    let paths = &settings.paths;
    let own = [
        &paths.key,
        &paths.public_key,
        &paths.certificate,
        &paths.issued_certificate,
        &paths.http_key,
        &paths.http_certificate,
        &paths.node_id,
    ];
    let places: Vec<&PathBuf> = [&new.certificate, &new.key, &new.authority].into_iter().flatten().collect();
    for (at, place) in places.iter().enumerate() {
        if own.contains(place) || places[..at].contains(place) {
            return Err(CliError::Configuration(format!(
                "{} cannot be the place of this copy: it is a file of the agent, or given twice\n    name another file",
                place.display()
            )));
        }
    }
    Ok(())
}

/// Relative places mean something else to the daemon.
fn absolute(path: &PathBuf) -> Result<PathBuf, CliError> {
    Ok(std::path::absolute(path)?)
}

fn ended(
    settings: &Settings,
    state: &State,
    identity: &Identity,
    problems: Vec<String>,
) -> Result<ExitCode, CliError> {
    print(&for_people(&gather(settings, state, identity)))?;
    if problems.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(CliError::Failure(format!("{}\n    the daemon tries again", problems.join("\n"))))
}

/// This node's certificates, for programs.
pub(super) fn gather(settings: &Settings, state: &State, identity: &Identity) -> Value {
    let issued = Issued::load(settings);
    let exports = export::load(state);
    json!({
        "own": one(&identity.certificate),
        "issued": issued.as_ref().map(|issued| {
            let mut value = one(&issued.certificate);
            value["authority"] = issued.authorities.last().map(one).unwrap_or_default();
            value["renewal"] = json!(issued.renewal(&identity.node_id));
            value["of_key_in_use"] = json!(issued.is_of(identity));
            value
        }),
        "problem": Upkeep::load(state).problem,
        "exports": exports.iter().map(|export| json!({
            "certificate": export.certificate, "key": export.key, "authority": export.authority,
            "owner": export.owner, "group": export.group, "mode": format!("{:04o}", export.key_mode),
            "hook": export.hook, "problem": export.problem,
            "done": issued.as_ref().is_some_and(|issued| !export::is_open(export, issued)),
        })).collect::<Vec<_>>(),
    })
}

fn one(certificate: &Certificate) -> Value {
    let fingerprint: String = certificate.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "key": certificate.key_hash().to_string(),
        "fingerprint": fingerprint,
        "names": certificate.dns_names(),
        "not_before": certificate.not_before(),
        "not_after": certificate.not_after(),
    })
}

fn for_people(shown: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let own = &shown["own"];
    let mut out = format!("own       key {}, until {}\n", text(&own["key"]), text(&own["not_after"]));
    let issued = &shown["issued"];
    out += &match issued {
        Value::Null => "issued    none\n".to_owned(),
        _ if issued["of_key_in_use"] == false => "issued    for an older key; it is renewed\n".to_owned(),
        _ => format!(
            "issued    until {}, renewed at {}, for {}\nauthority until {}\n",
            text(&issued["not_after"]),
            text(&issued["renewal"]),
            names(&issued["names"]),
            text(&issued["authority"]["not_after"])
        ),
    };
    if let Some(problem) = shown["problem"].as_str() {
        out += &format!("problem   {problem}\n");
    }
    out + &listed(shown)
}

fn names(names: &Value) -> String {
    let names: Vec<&str> = names.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { "no host name".to_owned() } else { names.join(", ") }
}

fn listed(shown: &Value) -> String {
    let mut out = String::new();
    for export in shown["exports"].as_array().into_iter().flatten() {
        let places: Vec<&str> =
            ["certificate", "key", "authority"].iter().filter_map(|place| export[place].as_str()).collect();
        let state = match (export["problem"].as_str(), &export["done"]) {
            (Some(problem), _) => problem,
            (None, Value::Bool(true)) => "done",
            _ => "waits for a certificate",
        };
        out += &format!("export    {}: {state}\n", places.join(", "));
    }
    out
}
