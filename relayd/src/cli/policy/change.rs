// SPDX-License-Identifier: Apache-2.0
//! `relayd policy activate`, `rollback`, `renew` and `remove`: which version is served.

use std::{
    collections::{HashMap, hash_map::Entry},
    io::{self, Write},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use protocol::{
    certificate::Certificate,
    hash::ContentDigest,
    node_id::NodeId,
    policy_manifest::{Expectation, FileList, Manifest, Refusal},
    smime,
};
use serde_json::json;

use super::{
    Expires, Targets, expires, failed_at, lock, note, prune, publish::largest, serve, sign_and_put, store,
};
use crate::{
    cli::{CliError, output::counted},
    config::Config,
    policies::{
        key::Known,
        publish::{Terms, Tree},
        store::{Before, Edition, Published, Store, Writer, next_version},
    },
};

/// What to serve.
#[derive(Debug, clap::Args)]
pub struct Activate {
    #[command(flatten)]
    targets: Targets,
    /// This version instead of the newest.
    #[arg(long)]
    version: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What to go back to.
#[derive(Debug, clap::Args)]
pub struct Rollback {
    #[command(flatten)]
    targets: Targets,
    /// The version whose files it shall be.
    #[arg(long, value_name = "VERSION")]
    to: Option<u64>,
    #[command(flatten)]
    terms: TermsArgs,
}

/// What to sign once more.
#[derive(Debug, clap::Args)]
pub struct Renew {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    terms: TermsArgs,
}

/// What to forget.
#[derive(Debug, clap::Args)]
pub struct Remove {
    #[command(flatten)]
    targets: Targets,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct TermsArgs {
    /// From when on nodes refuse it: a duration from now, a date, or `never`. By default policies.lifetime.
    #[arg(long, value_name = "WHEN", value_parser = expires)]
    expires: Option<Expires>,
    /// A line about it, for `list`; the nodes can read it.
    #[arg(long, value_name = "TEXT", value_parser = note)]
    note: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn activate(args: &Activate, config: &Config) -> Result<(), CliError> {
    let store = store(config);
    let nodes = args.targets.published(config, &store)?;
    let certificates = Known::load(&config.policies.key_directory)?.all();
    let writer = lock(config, &store)?;
    let mut check =
        Check { store: &store, writer: &writer, certificates, now: Utc::now(), trees: HashMap::new() };
    let (mut wanted, mut unchanged, mut refused, mut missing) = (Vec::new(), 0, 0, 0);
    for node in nodes {
        match check.edition(&node, args.version)? {
            Ok(Some(edition)) => wanted.push((node, edition)),
            Ok(None) => unchanged += 1,
            Err(why) => {
                refused += 1;
                missing += usize::from(matches!(why, Unfit::Missing(_)));
                eprintln!("error: {node}: {why}");
            }
        }
    }
    writer.activate(&wanted, Before::Noted).map_err(|error| failed_at(&config.policies.published, &error))?;
    let ids: Vec<_> = wanted.iter().map(|(node, _)| node.clone()).collect();
    prune(config, &writer, &ids);
    let mut out = io::stdout().lock();
    if args.json {
        let active: Vec<_> = wanted
            .iter()
            .map(|(node, edition)| json!({"node_id": node, "version": edition.version}))
            .collect();
        writeln!(out, "{}", json!({"active": active, "unchanged": unchanged, "refused": refused}))?;
    } else {
        let versions: Vec<_> = wanted.iter().map(|(_, edition)| edition.version).collect();
        match (versions.iter().min(), versions.iter().max()) {
            (Some(one), Some(last)) if one == last => {
                writeln!(out, "version {one} is served to {}", counted(wanted.len(), "node"))?;
            }
            (Some(first), Some(last)) => {
                let number = counted(wanted.len(), "node");
                writeln!(out, "versions {first} to {last} are served to {number}")?;
            }
            _ => {}
        }
        if unchanged > 0 {
            writeln!(out, "{} had it already", counted(unchanged, "node"))?;
        }
    }
    match refused {
        0 => Ok(()),
        _ if missing == refused => {
            Err(CliError::nothing(format!("{} have no such version, see above", counted(refused, "node"))))
        }
        _ => Err(CliError::failed(format!("refused for {}, see above", counted(refused, "node")))),
    }
}

/// Why a version cannot be served.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Unusable(String),
}

/// What is looked at before a version is served.
struct Check<'a> {
    store: &'a Store,
    writer: &'a Writer,
    certificates: Vec<Certificate>,
    now: DateTime<Utc>,
    /// Trees that were looked at, and what was wrong with them.
    trees: HashMap<ContentDigest, Option<String>>,
}

impl Check<'_> {
    /// The version to activate; `None` when it is active. The inner error says why it is refused.
    fn edition(&mut self, node: &NodeId, version: Option<u64>) -> io::Result<Result<Option<Edition>, Unfit>> {
        let editions = self.store.editions(node)?;
        let active = self.store.active_edition(node)?;
        let wanted = match version {
            Some(version) => editions.iter().find(|edition| edition.version == version),
            None => editions.last(),
        };
        Ok(match (wanted, active) {
            (None, _) => Err(Unfit::Missing(version.map_or_else(
                || "there is no version".into(),
                |version| format!("there is no version {version} (`relayd policy list {node}`)"),
            ))),
            (Some(wanted), Some(active)) if *wanted == active => Ok(None),
            (Some(wanted), Some(active)) if wanted.version < active.version => Err(Unfit::Unusable(format!(
                "version {} is older than {}, which is served: nodes would refuse it; use `relayd policy \
                 rollback --node {node} --to {}`",
                wanted.version, active.version, wanted.version
            ))),
            (Some(wanted), _) => self.usable(node, *wanted)?.map(|()| Some(*wanted)).map_err(Unfit::Unusable),
        })
    }

    /// Whether a node would take it: it may have been altered, or lain there for long.
    fn usable(&mut self, node: &NodeId, edition: Edition) -> io::Result<Result<(), String>> {
        let published = self.store.published(node, edition);
        let expectation =
            Expectation { node_id: node, pinned: &self.certificates, held: None, now: self.now };
        let message = match published.manifest() {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Err(error.to_string())),
            message => message?,
        };
        let head = published.head()?;
        let judged = smime::verify(&message, &self.certificates).map_err(Refusal::from);
        if let Err(refusal) = judged.and_then(|_| expectation.judge(&head)) {
            return Ok(Err(format!("{refusal}; publish it again")));
        }
        let wrong = match self.trees.get(&edition.list) {
            Some(wrong) => wrong.clone(),
            None => {
                let wrong = self.writer.check_tree(&*published.files()?).err().map(|error| error.to_string());
                self.trees.insert(edition.list, wrong.clone());
                wrong
            }
        };
        Ok(wrong.map_or(Ok(()), Err))
    }
}

pub fn rollback(args: &Rollback, config: &Config) -> Result<(), CliError> {
    let earlier = |store: &Store, node: &NodeId| match args.to {
        Some(version) => Ok(store.editions(node)?.into_iter().find(|edition| edition.version == version)),
        None => store.previous_edition(node),
    };
    let missing = match args.to {
        Some(version) => format!("there is no version {version}"),
        None => "nothing older is known to have been served: it went back already, or never had another; say with --to which of `relayd policy list`".into(),
    };
    sign_again(
        &args.targets,
        &args.terms,
        config,
        &Again { what: "went back", missing, before: Before::Forgotten, choose: &earlier },
    )
}

pub fn renew(args: &Renew, config: &Config) -> Result<(), CliError> {
    let missing = "nothing is served to it".into();
    let choose = |store: &Store, node: &NodeId| store.active_edition(node);
    sign_again(
        &args.targets,
        &args.terms,
        config,
        &Again { what: "renewed", missing, before: Before::Kept, choose: &choose },
    )
}

/// The files of a version as a policy key has signed them for this node, or why they are not.
///
/// The store belongs to the daemon, which has no policy key: what is only there, nobody may be brought to sign.
fn signed_files(
    published: &Published,
    node: &NodeId,
    certificates: &[Certificate],
) -> io::Result<Result<Arc<FileList>, String>> {
    let message = match published.manifest() {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(Err(error.to_string())),
        message => message?,
    };
    let signed = smime::verify(&message, certificates).map_err(Refusal::from);
    let manifest = signed.and_then(|signed| Ok(Manifest::from_json(signed.text.as_bytes())?));
    Ok(match manifest {
        Ok(manifest) if manifest.node_id() != node => {
            Err(format!("it was signed for the node {}", manifest.node_id()))
        }
        Ok(manifest) if manifest.version() != published.edition().version => {
            Err(format!("it was signed as version {}", manifest.version()))
        }
        Ok(manifest) => Ok(manifest.files().clone()),
        Err(refusal) => Err(refusal.to_string()),
    })
}

/// Which files shall be signed once more.
struct Again<'a> {
    /// For the closing line.
    what: &'static str,
    /// When there are none.
    missing: String,
    before: Before,
    choose: &'a dyn Fn(&Store, &NodeId) -> io::Result<Option<Edition>>,
}

fn sign_again(
    targets: &Targets,
    args: &TermsArgs,
    config: &Config,
    again: &Again<'_>,
) -> Result<(), CliError> {
    let store = store(config);
    let nodes = targets.published(config, &store)?;
    let now = Utc::now();
    let expires = args.expires.unwrap_or(Expires::After(config.policies.lifetime)).from(now)?;
    let certificates = Known::load(&config.policies.key_directory)?.all();
    let writer = lock(config, &store)?;
    let mut trees: HashMap<ContentDigest, Arc<Tree>> = HashMap::new();
    let (mut wanted, mut missing, mut refused) = (Vec::new(), 0, 0);
    for node in nodes {
        let Some(edition) = (again.choose)(&store, &node)? else {
            missing += 1;
            eprintln!("error: {node}: {} (`relayd policy list {node}`)", again.missing);
            continue;
        };
        let files = match signed_files(&store.published(&node, edition), &node, &certificates)? {
            Ok(files) => files,
            Err(why) => {
                refused += 1;
                eprintln!("error: {node}: version {}: {why}; publish it again", edition.version);
                continue;
            }
        };
        let tree = Tree::new(files).map_err(CliError::failed)?;
        let tree = match trees.entry(tree.lines().digest()) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(new) => {
                writer.check_tree(tree.files())?;
                new.insert(Arc::new(tree)).clone()
            }
        };
        wanted.push((node, tree));
    }
    let ids: Vec<_> = wanted.iter().map(|(node, _)| node.clone()).collect();
    let version = next_version(largest(&store, &ids)?, now);
    let terms = Terms { version, created: now, expires, note: args.note.clone() };
    let signed = sign_and_put(config, &writer, &terms, &wanted)?;
    serve(config, &writer, &signed, again.before)?;
    prune(config, &writer, &ids);
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(
            out,
            "{}",
            json!({"version": version, "node_ids": ids, "missing": missing, "refused": refused})
        )?,
        false if ids.is_empty() => {}
        false => writeln!(out, "{} {}; version {version} is served", counted(ids.len(), "node"), again.what)?,
    }
    let not_done = format!("not done for {}, see above", counted(missing + refused, "node"));
    match (missing, refused) {
        (0, 0) => Ok(()),
        (_, 0) => Err(CliError::nothing(not_done)),
        _ => Err(CliError::failed(not_done)),
    }
}

pub fn remove(args: &Remove, config: &Config) -> Result<(), CliError> {
    let store = store(config);
    let nodes = args.targets.published(config, &store)?;
    let writer = lock(config, &store)?;
    let removed = writer.remove(&nodes).map_err(|error| failed_at(&config.policies.published, &error))?;
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", json!({"node_ids": nodes, "versions": removed.versions}))?,
        false => writeln!(
            out,
            "forgot {} of {}; policies.directory is served to them again",
            counted(removed.versions, "version"),
            counted(nodes.len(), "node")
        )?,
    }
    Ok(())
}
