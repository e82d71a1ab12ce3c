// SPDX-License-Identifier: Apache-2.0
//! `agent share`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Subcommand;
use protocol::{
    hash::KeyHash,
    relative_path::RelativePath,
    shared_file::{Address, FileId, List, Name, parse_ttl},
};
use serde_json::json;

use super::{CliError, print, runtime};
use crate::{
    identity::Identity,
    settings::Settings,
    share::{self, Fetched, FolderFile, Put, ShareError},
};

/// Send files to other nodes and fetch those sent to this one, through the policy servers.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 done, or there already; 1 the policy server refuses, has no such file or cannot be
asked, or the file is not what its signature says; 2 bad configuration or usage.

Examples:
  agent share put 37817c4d-fbf7-4850-a985-50021f4e8f41 /srv/backup.tar.gz --ttl 2d
  agent share list
  agent share get e745a140-40bc-4b86-b6dc-084488fc906b/backup.tar.gz -o /srv/incoming.tar.gz
  agent share folder-get scripts/check.sh -o /usr/local/bin/check.sh")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Put(PutArgs),
    List(ListArgs),
    Get(GetArgs),
    FolderGet(FolderArgs),
}

/// Sign a file with this node's key and send it to another node.
///
/// The policy servers keep it until its time is over; fetching does not remove it. What they have for that node already
/// is not sent again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent share put 37817c4d-fbf7-4850-a985-50021f4e8f41 /srv/backup.tar.gz
  agent share put 37817c4d-fbf7-4850-a985-50021f4e8f41 /etc/motd --id motd-of-monday --ttl '1d 12h'
  agent share put 37817c4d-fbf7-4850-a985-50021f4e8f41 /srv/dump --json | jq .sent")]
struct PutArgs {
    /// Node id of the receiver.
    target: Name,
    /// The file.
    file: PathBuf,
    /// What the receiver asks for; the name of the file without this. Letters, digits, `_`, `.` and `-`.
    #[arg(long)]
    id: Option<FileId>,
    /// How long it is kept: seconds, or as in `1d 2h 30min`.
    #[arg(long, default_value = "1d", value_parser = parse_ttl)]
    ttl: Duration,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// List the files that other nodes sent to this one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent share list
  agent share list --json | jq -r '.files[] | .source + \"/\" + .file_id'")]
struct ListArgs {
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

/// Fetch a file that another node sent to this one.
///
/// Its hash and signature are checked before it gets its name. Whose key the signature is of, the policy server has
/// checked; with --sender-key this node does as well.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent share get e745a140-40bc-4b86-b6dc-084488fc906b/backup.tar.gz
  agent share get e745a140-40bc-4b86-b6dc-084488fc906b/backup.tar.gz -o /srv/backup.tar.gz
  agent share get e745a140-40bc-4b86-b6dc-084488fc906b/dump --sender-key sha256//I8utFWGj+OpqpbiAIZ/s8qRC4fQXxQ8IRVjFe0X1Lug=")]
struct GetArgs {
    /// Node id of the sender, a slash, and the id of the file.
    #[arg(value_name = "SOURCE/ID")]
    file: Sent,
    /// Where to put it; a file that is there is replaced. Mode 0600.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Key that the sender must have, as `relayd node show` prints it.
    #[arg(long, value_name = "HASH")]
    sender_key: Option<KeyHash>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Fetch a file from the shared folder of the policy server.
///
/// A file that is here already is not fetched again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  agent share folder-get scripts/check.sh
  agent share folder-get 'a file' -o /srv/file")]
struct FolderArgs {
    /// Path within the shared folder.
    path: RelativePath,
    /// Where to put it; a file that is there is replaced. Mode 0600.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// A sender and what it sent.
#[derive(Debug, Clone)]
struct Sent(Name, FileId);

impl FromStr for Sent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (source, file) =
            text.split_once('/').ok_or("expected the sender's node id, a slash, and a file id")?;
        let source = source.parse().map_err(|error| format!("{source:?}: {error}"))?;
        Ok(Self(source, file.parse().map_err(|error| format!("{file:?}: {error}"))?))
    }
}

impl From<ShareError> for CliError {
    fn from(e: ShareError) -> Self {
        match e.is_configuration() {
            true => Self::Configuration(e.to_string()),
            false => Self::Failure(e.to_string()),
        }
    }
}

pub(super) fn run(settings: &Settings, args: Args) -> Result<ExitCode, CliError> {
    let identity = Identity::load(&settings.paths)?;
    let text = runtime()?.block_on(async {
        match args.command {
            Command::Put(args) => put(settings, &identity, args).await,
            Command::List(args) => list(settings, &identity, args).await,
            Command::Get(args) => get(settings, &identity, args).await,
            Command::FolderGet(args) => folder_get(settings, &identity, args).await,
        }
    })?;
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn put(settings: &Settings, identity: &Identity, args: PutArgs) -> Result<String, CliError> {
    let file = match args.id {
        Some(id) => id,
        None => {
            let name = args.file.file_name().unwrap_or_default().to_string_lossy();
            let id = name.parse();
            id.map_err(|error| {
                CliError::Configuration(format!("{name:?} cannot be an id: {error}\n    name one with --id"))
            })?
        }
    };
    let address = Address { target: args.target, source: Name::from(&identity.node_id), file };
    let Put { size, hash, sent } = share::put(settings, identity, &address, &args.file, args.ttl).await?;
    let Address { target, source, file } = &address;
    if args.json {
        let seconds = args.ttl.as_secs();
        let hash = hash.to_string();
        return Ok(pretty(&json!({
            "target": target, "source": source, "file_id": file, "size": size, "hash": hash, "sent": sent,
            "ttl_seconds": seconds,
        })));
    }
    let ttl = humantime::format_duration(args.ttl);
    Ok(match sent {
        true => format!("sent {file} to {target}: {size} bytes, kept for {ttl}\n"),
        false => format!("{file} is there for {target} already; it is kept for as long as was said then\n"),
    })
}

async fn list(settings: &Settings, identity: &Identity, args: ListArgs) -> Result<String, CliError> {
    let list = share::list(settings, identity).await?;
    if args.json {
        return Ok(pretty(&json!(list)));
    }
    let List { files, incomplete } = list;
    let mut text = String::new();
    for file in &files {
        let expires = file.expires.map_or("never".to_owned(), date);
        text += &format!("{}/{}  {} bytes  until {expires}\n", file.source, file.file_id, file.size);
    }
    if files.is_empty() {
        text += "nothing waits for this node\n";
    }
    if let Some(why) = incomplete {
        let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
        text += &format!("there may be more: {why}\n");
    }
    Ok(text)
}

async fn get(settings: &Settings, identity: &Identity, args: GetArgs) -> Result<String, CliError> {
    let Sent(source, file) = &args.file;
    let path = args.output.unwrap_or_else(|| PathBuf::from(file.as_str()));
    let fetched = share::fetch(settings, identity, (source, file), &path, args.sender_key.as_ref()).await?;
    let Fetched { metadata, size, signed_by, is_sender_known } = fetched;
    if args.json {
        let hash = metadata.hash_value.to_string();
        return Ok(pretty(&json!({
            "source": source, "file_id": file, "file": path.display().to_string(), "size": size, "hash": hash,
            "signed_by": signed_by, "sender_key_known": is_sender_known, "expires": metadata.expires,
        })));
    }
    let mut text = fetched_line(&path, size);
    text += &match is_sender_known {
        true => format!("signed by {source}, whose key is {signed_by}\n"),
        false => format!(
            "signed with {signed_by}; that this is the key of {source}, the policy server has checked and this node has \
             not (--sender-key)\n"
        ),
    };
    Ok(text)
}

async fn folder_get(settings: &Settings, identity: &Identity, args: FolderArgs) -> Result<String, CliError> {
    let path = args.output.unwrap_or_else(|| PathBuf::from(args.path.file_name()));
    let FolderFile { hash, fetched } =
        share::fetch_from_folder(settings, identity, &args.path, &path).await?;
    if args.json {
        let (file, hash, changed) = (path.display().to_string(), hash.to_string(), fetched.is_some());
        return Ok(pretty(
            &json!({ "path": args.path, "file": file, "hash": hash, "changed": changed, "size": fetched }),
        ));
    }
    Ok(match fetched {
        Some(size) => fetched_line(&path, size),
        None => format!("{} is the same already\n", path.display()),
    })
}

fn fetched_line(path: &Path, size: u64) -> String {
    format!("{}: {size} bytes\n", path.display())
}

fn date(seconds: i64) -> String {
    let date = DateTime::<Utc>::from_timestamp(seconds, 0);
    date.map_or("further than dates go".to_owned(), |date| date.to_rfc3339_opts(SecondsFormat::Secs, true))
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
