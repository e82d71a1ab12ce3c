// SPDX-License-Identifier: Apache-2.0
//! `relayd why NODE`: why a run log of a node is missing or old.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::Args;

use super::{CliError, finding, node::duration, output::date};
use crate::{
    config::Config,
    finding::Level,
    spool::disposition::printable,
    why::{self, Answer, Bounds, Evidence, Verdict},
};

/// Say why a run log of a node is missing or old.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relayd why web1.example.org
  relayd why 4f2a9c1e --all
  relayd why web1.example.org --json | jq -r '.cause | .text, .remedy'

Looks at identity, spool, failed/, uplink, database, clock and schedule, in this order, whether the
daemon runs or not, and changes nothing. NODE is an id, the first 8 or more characters of one, or a
host name; id:ID when other nodes have that for a name. On a relay it says what is the case there;
which runs are stored is known on the root.

Who does not answer in time, but may be only slow or far away, is named as unknown, and is no cause;
with --wait of two seconds or more it is one.

Exit codes:
  0  its run logs come, or nothing was found here that keeps them back
  1  there is a cause: the first line says which
  2  wrong form of the command line or of the configuration")]
pub struct Command {
    /// Whose run log.
    #[arg(value_name = "NODE", value_parser = name)]
    node: String,
    /// Print what every check found, also where all is well.
    #[arg(long)]
    all: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// How long to wait for daemon, database and uplink, all at a time, such as 500ms or 5s.
    #[arg(long, value_name = "DURATION", default_value = "150ms", value_parser = duration)]
    wait: Duration,
}

/// Neither ids nor host names are empty or have blanks.
fn name(text: &str) -> Result<String, &'static str> {
    match text.is_empty() || text.contains(char::is_whitespace) {
        true => Err(
            "that is no name of a node; write an id, the first 8 or more characters of one, or a host name",
        ),
        false => Ok(text.to_owned()),
    }
}

/// Runs the command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    let bounds = Bounds { wait: command.wait, ..Bounds::default() };
    let evidence = Evidence::gather(config, &command.node, bounds).map_err(CliError::usage)?;
    let answer = why::judge(&evidence);
    let mut out = io::stdout().lock();
    match command.json {
        true => {
            serde_json::to_writer_pretty(&mut out, &answer).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        false => print(&mut out, &answer, command.all)?,
    }
    match answer.cause {
        None => Ok(()),
        // Said already.
        Some(_) => Err(CliError { text: String::new(), code: 1 }),
    }
}

fn print(out: &mut impl Write, answer: &Answer, all: bool) -> io::Result<()> {
    if let Some(cause) = &answer.cause {
        finding::print(out, cause)?;
    }
    let host = answer.hostname.as_deref().map(|host| format!("{host} ")).unwrap_or_default();
    let last = answer.last_run.map(|last| format!(", the last one of {}", date(last))).unwrap_or_default();
    let verdict = match answer.verdict {
        Verdict::Fresh => "run logs come as they should",
        Verdict::Stale => "run logs do not come any more",
        Verdict::Missing => "no run is stored",
        Verdict::Unknown if answer.cause.is_some() => "not known which runs are stored",
        Verdict::Unknown => "nothing was found here that keeps run logs back",
    };
    writeln!(out, "{}{}: {verdict}{last}", printable(&host), printable(&answer.node))?;
    for found in &answer.findings {
        if (all || found.level != Level::Fine) && Some(found) != answer.cause.as_ref() {
            finding::print(out, found)?;
        }
    }
    Ok(())
}
