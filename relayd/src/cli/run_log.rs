// SPDX-License-Identifier: Apache-2.0
//! `relayd run-log`: for people who debug. Files may be hostile: sizes are capped, and nothing in
//! them reaches the terminal but as visible text.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use chrono::SecondsFormat;
use clap::{Args, Subcommand};
use protocol::{
    certificate::{self, Certificate},
    compression, limits,
    run_id::RunLogName,
    run_log::{self, Report, RunLog, json::View},
    smime,
};

use super::CliError;
use crate::spool::settle::without_number;

/// Commands about run logs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Unpack, verify (with --cert), parse and print run logs.
    #[command(after_help = "Examples:
  relayd run-log show /var/rudder/reports/failed/*.log.gz
  relayd run-log show --cert /opt/rudder/etc/ssl/agent.cert FILE
  relayd run-log show --json FILE | jq '.reports[] | select(.event_type == \"result_error\")'

A file is named as in a spool, <date>@<node id>.log[.gz|.zip]; one more extension .signed is ignored.")]
    Show(Show),
}

/// Arguments of `run-log show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Run log files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Certificates of the node, PEM: the signature must be by one of them. Without, signatures are
    /// not looked at.
    #[arg(long, value_name = "PEM")]
    cert: Option<PathBuf>,
    /// Print JSON, one document per file.
    #[arg(long)]
    json: bool,
}

/// Runs a command.
pub fn run(command: &Command) -> Result<(), CliError> {
    let Command::Show(show) = command;
    let certificates = show.cert.as_deref().map(certificates).transpose()?;
    let mut failed = 0;
    for file in &show.files {
        if let Err(error) = show_file(file, certificates.as_deref(), show.json) {
            if error.kind() == Some(io::ErrorKind::BrokenPipe) {
                return Ok(());
            }
            eprintln!("error: {}: {error}", file.display());
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        n => Err(CliError::failed(format!("{n} of {} files could not be shown", show.files.len()))),
    }
}

fn certificates(file: &Path) -> Result<Vec<Certificate>, CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::failed(format!("{}: {error}", file.display()));
    let pem = std::fs::read(file).map_err(|error| failed(&error))?;
    match certificate::read_bundle(&pem) {
        Ok(certificates) if certificates.is_empty() => Err(failed(&"no certificate in it; name a PEM file")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(failed(&error)),
    }
}

#[derive(Debug, thiserror::Error)]
enum ShowError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Name(#[from] protocol::run_id::RunLogNameError),
    #[error("the file name is not text")]
    NotText,
    #[error("larger than {} bytes", limits::RUN_LOG_COMPRESSED)]
    TooLarge,
    #[error("{0}")]
    Compression(#[from] protocol::compression::CompressionError),
    #[error("{0}")]
    Signature(#[from] protocol::smime::SmimeError),
    #[error("not signed, but --cert asks for a signature")]
    NotSigned,
    #[error("a signed message without content")]
    NoContent,
    #[error("{0}")]
    RunLog(#[from] protocol::run_log::RunLogError),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
}

impl ShowError {
    fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io(error) => Some(error.kind()),
            Self::Json(error) => error.io_error_kind(),
            _ => None,
        }
    }
}

fn show_file(file: &Path, certificates: Option<&[Certificate]>, json: bool) -> Result<(), ShowError> {
    let name = name(file)?;
    let mut packed = Vec::new();
    File::open(file)?.take(limits::RUN_LOG_COMPRESSED + 1).read_to_end(&mut packed)?;
    if packed.len() as u64 > limits::RUN_LOG_COMPRESSED {
        return Err(ShowError::TooLarge);
    }
    let message = compression::unpack(&packed, name.compression(), limits::RUN_LOG_INFLATED)?;
    let (text, trust) = text(&message, certificates)?;
    let run_log = run_log::parse(&text, &name.run_id().node_id)?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &View::new(name.run_id(), &run_log))?;
        writeln!(out)?;
    } else {
        print(&mut out, &name, &run_log, trust)?;
    }
    Ok(())
}

/// The name as in a spool: without the extension under which signed messages are kept, and without
/// the number that `failed/` gives to a second file of a name.
fn name(file: &Path) -> Result<RunLogName, ShowError> {
    let name = file.file_name().and_then(|name| name.to_str()).ok_or(ShowError::NotText)?;
    let name = without_number(name);
    Ok(match name.strip_suffix(".signed") {
        Some(stem) if stem.contains(".log") => stem.parse()?,
        Some(stem) => format!("{stem}.log").parse()?,
        None => name.parse()?,
    })
}

/// The log itself, and a word about its signature.
fn text(message: &[u8], certificates: Option<&[Certificate]>) -> Result<(String, &'static str), ShowError> {
    let signed =
        header(message).is_some_and(|header| header.to_ascii_lowercase().contains("multipart/signed"));
    match (signed, certificates) {
        (_, Some(certificates)) if signed => {
            Ok((smime::verify(message, certificates)?.text, "signature verified"))
        }
        (true, _) => {
            let content = unverified_content(message).ok_or(ShowError::NoContent)?;
            Ok((String::from_utf8_lossy(content).into_owned(), "signature not checked"))
        }
        (false, Some(_)) => Err(ShowError::NotSigned),
        (false, None) => Ok((String::from_utf8_lossy(message).into_owned(), "not signed")),
    }
}

/// The header block of a MIME entity, if the start looks like one.
fn header(message: &[u8]) -> Option<String> {
    let (header, _) = split_entity(message)?;
    String::from_utf8(header.to_vec()).ok().filter(|header| header.contains(':'))
}

/// An entity's header and body.
fn split_entity(entity: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = |gap: &[u8]| {
        let at = entity.windows(gap.len()).position(|window| window == gap)?;
        Some((at, at + gap.len()))
    };
    let (at, body) = [end(b"\n\n"), end(b"\r\n\r\n")].into_iter().flatten().min()?;
    Some((&entity[..at], &entity[body..]))
}

/// What a signed message claims to be signed: the body of its first part. Says nothing about truth.
fn unverified_content(message: &[u8]) -> Option<&[u8]> {
    let header = header(message)?;
    let boundary = header.split_once("boundary=")?.1.trim_start_matches('"');
    let boundary = boundary.split(['"', ';', '\r', '\n']).next().filter(|text| !text.is_empty())?;
    let delimiter = format!("\n--{boundary}");
    let find =
        |within: &[u8]| within.windows(delimiter.len()).position(|window| window == delimiter.as_bytes());
    let part = &message[find(message)? + delimiter.len()..];
    let part = &part[part.iter().position(|byte| *byte == b'\n')? + 1..];
    let part = &part[..find(part)?];
    split_entity(part).map(|(_, body)| body)
}

fn print(out: &mut impl Write, name: &RunLogName, run_log: &RunLog<'_>, trust: &str) -> io::Result<()> {
    let colours = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let paint = |colour: &str, text: &str| match colours {
        true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
        false => text.to_owned(),
    };
    let start = run_log.start.to_rfc3339_opts(SecondsFormat::Secs, false);
    let config_id = run_log.config_id.as_deref().map_or_else(|| "unknown".to_owned(), visible);
    writeln!(out, "{}  {}", paint("1", &format!("{} {start}", run_log.node_id)), trust)?;
    writeln!(
        out,
        "policies {config_id}, {}, {} reports, {} skipped, queue id {}",
        if run_log.complete { "complete" } else { "without start" },
        run_log.reports.len(),
        run_log.skipped.len(),
        name.queue_id()
    )?;
    for report in &run_log.reports {
        let event = format!("{:<19}", visible(report.event_type));
        writeln!(out, "{} {}", paint(colour(report.event_type), &event), line(report))?;
    }
    for skipped in &run_log.skipped {
        let what = format!("skipped, line {}", skipped.line);
        writeln!(out, "{} {:?}: {}", paint("35", &what), skipped.reason, visible(skipped.text))?;
    }
    writeln!(out)
}

/// Technique, component, key and message of a report.
fn line(report: &Report<'_>) -> String {
    if report.event_type.starts_with("log_") {
        return format!("    {}", visible(&report.message));
    }
    let key = match &*report.key_value {
        "" | "None" => String::new(),
        key => format!(" [{}]", visible(key)),
    };
    format!("{} / {}{key}: {}", visible(report.policy), visible(&report.component), visible(&report.message))
}

fn colour(event_type: &str) -> &'static str {
    match event_type {
        "result_error" | "audit_error" | "audit_noncompliant" | "log_warn" => "31",
        "result_repaired" | "log_repaired" => "33",
        "result_success" | "audit_compliant" => "32",
        _ => "2",
    }
}

/// Text of others for a terminal: control characters are escaped.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_name_in_the_spool_in_failed_and_as_kept_signed() {
        let expected = "2018-08-24T15:55:01+00:00@root.log";
        for (file, expected) in [
            (expected, expected),
            ("failed/2018-08-24T15:55:01+00:00@root.log.gz~2", "2018-08-24T15:55:01+00:00@root.log.gz"),
            ("2018-08-24T15:55:01+00:00@root.signed", expected),
            ("2018-08-24T15:55:01+00:00@root.log.signed", expected),
        ] {
            assert_eq!(name(Path::new(file)).unwrap().as_str(), expected, "{file}");
        }
        assert!(name(Path::new("2018-08-24T15:55:01+00:00@root.log.gz~")).is_err());
    }
}
