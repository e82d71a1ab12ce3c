// SPDX-License-Identifier: Apache-2.0
//! `relayd spool`: what waits, what failed and why, and what to do about it.
//!
//! Works on the directories alone, whether the daemon runs or not. Names given by users are single
//! file names: a path never leaves the spool.

mod entries;
mod print;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use protocol::{file_name, urls::UploadKind};

use self::entries::{Entry, Place};
use super::output;
use crate::{
    config::SpoolSettings,
    spool::{
        disposition::{Reason, printable},
        reason_file,
        settle::rename_new,
    },
};

/// Commands about the spools.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the files that wait and those that failed.
    #[command(
        after_help = "Examples:\n  relayd spool list --failed --reason bad_signature\n  relayd spool list --node root --older-than 1h --json"
    )]
    List {
        /// Which files.
        #[command(flatten)]
        filter: Filter,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Show one file: where it is, its size and age, and why it failed.
    #[command(after_help = "Example:\n  relayd spool show 2024-05-01T02:03:04+00:00@root.log.gz")]
    Show {
        /// File name, as listed.
        name: String,
        /// Where to look.
        #[command(flatten)]
        place: InSpool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put failed files back, to be delivered again.
    #[command(
        after_help = "Examples:\n  relayd spool retry --reason unknown_node\n  relayd spool retry --all"
    )]
    Retry(Selection),
    /// Delete failed files for good.
    #[command(after_help = "Example:\n  relayd spool drop --reason bad_name --older-than 1d --yes")]
    Drop {
        /// Which files.
        #[command(flatten)]
        selection: Selection,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
    },
}

/// Which spool.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct InSpool {
    /// Only this spool.
    #[arg(long, value_enum)]
    spool: Option<SpoolArg>,
}

/// A spool, on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SpoolArg {
    /// Run logs.
    Reports,
    /// Inventories of new nodes.
    Inventories,
    /// Inventories of accepted nodes.
    InventoryUpdates,
}

impl SpoolArg {
    fn kind(self) -> UploadKind {
        match self {
            Self::Reports => UploadKind::RunLog,
            Self::Inventories => UploadKind::NewInventory,
            Self::InventoryUpdates => UploadKind::InventoryUpdate,
        }
    }
}

/// Which files.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    #[command(flatten)]
    place: InSpool,
    /// Only files of this node.
    #[arg(long, value_name = "ID")]
    node: Option<String>,
    /// Only files that failed for this reason.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(Reason::ALL.map(Reason::as_str)))]
    reason: Option<String>,
    /// Only files not modified for this long, such as 90s, 2h or 7d.
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Option<Duration>,
    /// Only files that failed.
    #[arg(long, conflicts_with = "queued")]
    failed: bool,
    /// Only files that wait.
    #[arg(long)]
    queued: bool,
}

/// Failed files, chosen by name or by what they have in common.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// File names, as listed.
    names: Vec<String>,
    /// All failed files.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Nothing says which files.
    #[error("which files? Give names, --all, or a filter such as --reason or --node")]
    NothingSelected,
    /// Not the name of a file.
    #[error("{0:?} is not a file name: {1}; give names as `relayd spool list` prints them")]
    Name(String, file_name::UnsafeName),
    /// No such file.
    #[error("no file {0:?} in the spools; see `relayd spool list`")]
    Unknown(String),
    /// There is nobody to ask.
    #[error("deleting {0} file(s) needs --yes when nobody can be asked")]
    NeedsYes(usize),
    /// Files could not be handled; said one by one before.
    #[error("{0} of {1} files could not be handled")]
    Part(usize, usize),
    /// A directory cannot be read.
    #[error("cannot read {0:?}: {1}; run this as the user of the daemon or as root")]
    Directory(PathBuf, io::Error),
    /// Writing the output failed.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

/// Runs a command on the spools of run logs and inventories.
pub fn run(
    command: &Command,
    run_logs: &SpoolSettings,
    inventories: &SpoolSettings,
) -> Result<(), CommandError> {
    let place = Place { run_logs: run_logs.directory.clone(), inventories: inventories.directory.clone() };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = execute(command, &place, &mut out).and_then(|()| Ok(out.flush()?));
    match done {
        // Whoever read the output has enough.
        Err(CommandError::Output(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn execute(command: &Command, place: &Place, out: &mut impl Write) -> Result<(), CommandError> {
    match command {
        Command::List { filter, json } => {
            let mut listing = print::Listing::new(out, *json);
            place.each(filter, |entry| listing.entry(&entry))?;
            listing.finish()?;
        }
        Command::Show { name, place: InSpool { spool }, json } => {
            check(name)?;
            let filter = Filter { place: InSpool { spool: *spool }, ..Filter::default() };
            let found = place.named(name, &filter);
            if found.is_empty() {
                return Err(CommandError::Unknown(name.clone()));
            }
            for entry in &found {
                print::show(out, entry, *json)?;
            }
        }
        Command::Retry(selection) => retry(place, selection, out)?,
        Command::Drop { selection, yes } => drop_files(place, selection, *yes, out)?,
    }
    Ok(())
}

fn retry(place: &Place, selection: &Selection, out: &mut impl Write) -> Result<(), CommandError> {
    let (mut done, mut failed) = (0, 0);
    let chosen = selected(place, selection)?;
    for entry in &chosen {
        match put_back(place, entry) {
            Ok(()) => done += 1,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                failed += 1;
                eprintln!("error: {}: {e}", entry.name);
            }
        }
    }
    writeln!(out, "{done} put back for delivery")?;
    if failed > 0 { Err(CommandError::Part(failed, chosen.len())) } else { Ok(()) }
}

/// Moves a failed file back under the name it came with. Never overwrites.
fn put_back(place: &Place, entry: &Entry) -> io::Result<()> {
    let original = entry.original_name();
    let target = place.incoming(entry.kind).join(&original);
    // Set aside first: the daemon may reject the file again at once, and write another reason.
    let (reason, aside) = (reason_file::path_of(&entry.path), reason_file::aside(&entry.path));
    let has_reason = fs::rename(&reason, &aside).is_ok();
    let moved = rename_new(&entry.path, &target);
    if has_reason {
        // Left behind it goes with retention.
        let _ = if moved.is_ok() { fs::remove_file(&aside) } else { fs::rename(&aside, &reason) };
    }
    moved.map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            let text = "a file of this name waits already; retry when it was delivered";
            io::Error::new(e.kind(), text)
        }
        _ => e,
    })
}

fn drop_files(
    place: &Place,
    selection: &Selection,
    yes: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let chosen = selected(place, selection)?;
    if !yes && !chosen.is_empty() && !confirm(chosen.len())? {
        writeln!(out, "nothing deleted")?;
        return Ok(());
    }
    let (mut done, mut failed) = (0, 0);
    for entry in &chosen {
        let removed = match entry.is_directory {
            // Only an empty one: nothing in it is the spool's.
            true => fs::remove_dir(&entry.path),
            false => fs::remove_file(&entry.path),
        };
        match removed {
            Ok(()) => {
                done += 1;
                remove_reason(&entry.path);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                failed += 1;
                eprintln!("error: {}: {e}", entry.name);
            }
        }
    }
    writeln!(out, "{done} deleted")?;
    if failed > 0 { Err(CommandError::Part(failed, chosen.len())) } else { Ok(()) }
}

fn selected(place: &Place, selection: &Selection) -> Result<Vec<Entry>, CommandError> {
    let filter = Filter { failed: true, queued: false, ..selection.filter.clone() };
    let narrowed = filter.reason.is_some() || filter.node.is_some() || filter.older_than.is_some();
    if selection.names.is_empty() {
        if !selection.all && !narrowed && filter.place.spool.is_none() {
            return Err(CommandError::NothingSelected);
        }
        let mut chosen = Vec::new();
        place.each(&filter, |entry| {
            chosen.push(entry);
            Ok(())
        })?;
        return Ok(chosen);
    }
    // All names are checked before anything is touched.
    selection.names.iter().try_for_each(|name| check(name))?;
    let mut chosen = Vec::new();
    for name in &selection.names {
        let found = place.named(name, &filter);
        // Put back or delivered by an earlier call: what was wanted.
        if found.is_empty() {
            eprintln!("{}: not in failed/, nothing to do", printable(name));
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

fn remove_reason(failed_file: &Path) {
    // An orphan goes with retention.
    let _ = fs::remove_file(reason_file::path_of(failed_file));
}

fn check(name: &str) -> Result<(), CommandError> {
    file_name::check(name).map_err(|e| CommandError::Name(name.to_owned(), e))
}

fn confirm(files: usize) -> Result<bool, CommandError> {
    output::confirm(&format!("Delete {files} failed files for good?"))?.ok_or(CommandError::NeedsYes(files))
}
