// SPDX-License-Identifier: Apache-2.0
//! `relayd policy diff`.

use std::{
    io::{self, BufWriter, IsTerminal, Read, Write},
    str,
};

use protocol::{
    hash::ContentDigest,
    policy_manifest::{Changes, FileList, ManifestFile},
};
use serde_json::{Value, json};
use similar::TextDiff;

use super::{
    store,
    targets::{Known, find_published},
};
use crate::{
    cli::{
        CliError,
        output::{bytes, counted},
    },
    config::Config,
    policies::store::{Edition, Published},
};

/// Which versions.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node: its id, the first 8 or more characters of it, or its host name.
    #[arg(value_name = "NODE")]
    node: String,
    /// From this version.
    #[arg(value_name = "FROM")]
    from: Option<u64>,
    /// To this version. When only FROM is given: to the active one.
    #[arg(value_name = "TO")]
    to: Option<u64>,
    /// Only names, no lines.
    #[arg(long)]
    names: bool,
    /// Print JSON, without lines.
    #[arg(long)]
    json: bool,
}

/// Largest file of which lines are compared, in bytes.
const LARGEST_TEXT: u64 = 256 * 1024;

pub fn run(args: &Args, config: &Config) -> Result<(), CliError> {
    let store = store(config);
    let there = store.nodes()?.into_iter().collect();
    let node = find_published(&Known::read(config)?, &there, &args.node)?;
    let editions = store.editions(&node)?;
    let active = store.active_edition(&node)?;
    let (from, to) = choose(args, &editions, active)?;
    let (from, to) = (from.map(|edition| store.published(&node, edition)), store.published(&node, to));
    let old = from.as_ref().map(Published::files).transpose()?;
    let (old, new) = (old.unwrap_or_default(), to.files()?);
    let changes = Changes::between(&old, &new);
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        let object = json!({
            "node_id": node,
            "from": from.as_ref().map(|from| from.edition().version),
            "to": to.edition().version,
            "added": changes.added,
            "changed": changes.changed.iter().map(|(a, b)| json!({"from": a, "to": b})).collect::<Vec<Value>>(),
            "removed": changes.removed,
        });
        writeln!(out, "{object}")?;
    } else {
        let printer = Printer { names_only: args.names, clean: io::stdout().is_terminal() };
        let before =
            from.as_ref().map_or("nothing".into(), |from| format!("version {}", from.edition().version));
        writeln!(out, "{node}: {before} to version {}", to.edition().version)?;
        printer.print(&mut out, from.as_ref(), &to, &changes)?;
        writeln!(out, "{}", summary(&changes, &new))?;
    }
    Ok(out.flush()?)
}

/// From which, `None` being no files, to which.
fn choose(
    args: &Args,
    editions: &[Edition],
    active: Option<Edition>,
) -> Result<(Option<Edition>, Edition), CliError> {
    let list = format!("`relayd policy list {}` says which there are", args.node);
    let version = |version: u64| {
        let found = editions.iter().copied().find(|edition| edition.version == version);
        found.ok_or_else(|| CliError::nothing(format!("there is no version {version}; {list}")))
    };
    let no_active = || CliError::nothing(format!("no version is active; {list}"));
    match (args.from, args.to) {
        (Some(from), Some(to)) => Ok((Some(version(from)?), version(to)?)),
        (Some(from), None) => Ok((Some(version(from)?), active.ok_or_else(no_active)?)),
        (None, _) => match (editions.last().copied(), active) {
            (Some(newest), Some(active)) if newest.version <= active.version => {
                let before = editions.iter().copied().rfind(|edition| edition.version < active.version);
                Ok((before, active))
            }
            (Some(newest), active) => Ok((active, newest)),
            (None, _) => Err(no_active()),
        },
    }
}

fn summary(changes: &Changes<'_>, new: &FileList) -> String {
    if changes.is_empty() {
        return "no difference".into();
    }
    format!(
        "{} added, {} changed, {} removed; {} then",
        changes.added.len(),
        changes.changed.len(),
        changes.removed.len(),
        counted(new.len(), "file")
    )
}

struct Printer {
    names_only: bool,
    /// Whether a terminal reads it, on which control characters do things.
    clean: bool,
}

impl Printer {
    fn print(
        &self,
        out: &mut impl Write,
        from: Option<&Published>,
        to: &Published,
        changes: &Changes<'_>,
    ) -> io::Result<()> {
        for file in &changes.removed {
            writeln!(out, "removed  {}", file.path)?;
            self.lines(out, from.zip(Some(file)), None)?;
        }
        for (before, file) in &changes.changed {
            let mode = match (before.executable, file.executable) {
                (false, true) => "  (executable)",
                (true, false) => "  (not executable any more)",
                _ => "",
            };
            writeln!(out, "changed  {}{mode}", file.path)?;
            if before.sha256 != file.sha256 {
                self.lines(out, from.zip(Some(before)), Some((to, file)))?;
            }
        }
        for file in &changes.added {
            let mode = if file.executable { "  (executable)" } else { "" };
            writeln!(out, "added    {}{mode}", file.path)?;
            self.lines(out, None, Some((to, file)))?;
        }
        Ok(())
    }

    /// The lines that differ, when both are small texts.
    fn lines(
        &self,
        out: &mut impl Write,
        before: Option<(&Published, &ManifestFile)>,
        after: Option<(&Published, &ManifestFile)>,
    ) -> io::Result<()> {
        if self.names_only {
            return Ok(());
        }
        let text = |side: Option<(&Published, &ManifestFile)>| match side {
            None => Ok(Some(String::new())),
            Some((published, file)) => read_text(published, file.sha256, file.size),
        };
        let name = |side: Option<(&Published, &ManifestFile)>, letter: char| {
            side.map_or_else(|| "/dev/null".into(), |(_, file)| format!("{letter}/{}", file.path))
        };
        match (text(before)?, text(after)?) {
            (Some(old), Some(new)) => {
                let diff = TextDiff::from_lines(&old, &new);
                let text = diff.unified_diff().header(&name(before, 'a'), &name(after, 'b')).to_string();
                out.write_all(self.fit_to_print(&text).as_bytes())
            }
            _ => {
                let size = |side: Option<(&Published, &ManifestFile)>| {
                    side.map_or_else(|| "nothing".into(), |(_, file)| bytes(file.size))
                };
                writeln!(out, "  no text, or a long one: {} then {}", size(before), size(after))
            }
        }
    }

    fn fit_to_print(&self, text: &str) -> String {
        let harmless =
            |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
        if self.clean { text.chars().map(harmless).collect() } else { text.to_owned() }
    }
}

/// The content, if it is a text and not too long.
fn read_text(published: &Published, content: ContentDigest, size: u64) -> io::Result<Option<String>> {
    if size > LARGEST_TEXT {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    published.open(content)?.take(LARGEST_TEXT).read_to_end(&mut bytes)?;
    Ok(str::from_utf8(&bytes).ok().filter(|text| !text.contains('\0')).map(str::to_owned))
}
