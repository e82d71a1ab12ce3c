// SPDX-License-Identifier: Apache-2.0
//! Can files come in, does somebody work on them, and what waits?

use std::{cmp::Reverse, io, time::Duration};

use protocol::urls::UploadKind;

use super::{
    files::Seen,
    gather::{Evidence, Trouble},
    traces::{self, When},
};
use crate::{
    config::{RunLogOutput, SpoolSettings},
    finding::{Finding, Level},
    spool::{clock::short, directories},
    status::disk,
};

pub(super) const NAME: &str = "spool";

/// A delivery takes less time.
const DELIVERY: Duration = Duration::from_secs(30);
/// An upload takes less time.
const UPLOAD: Duration = Duration::from_secs(600);
/// So many files that wait are a backlog.
const BACKLOG: u64 = 1000;

pub(super) fn check(e: &Evidence<'_>) -> Vec<Finding> {
    let settings = &e.config.run_logs.spool;
    if e.config.run_logs.output == RunLogOutput::Disabled {
        let text = "this server does nothing with run logs: processing.reporting.output is \"disabled\"";
        let remedy = "set it to \"database\" on a root or \"upstream\" on a relay in main.conf, and restart";
        return vec![Finding::error(NAME, "main.conf", text, remedy)];
    }
    let mut found: Vec<_> = unreadable(e).into_iter().chain(room(e, settings)).chain(daemon(e)).collect();
    found.extend(left_alone(e));
    found.extend(waiting(e));
    if e.files.has_more {
        let text =
            format!("only {} names were looked at: there may be more of this node", e.files.names_read);
        let incoming = directories(UploadKind::RunLog, &settings.directory).incoming;
        found.push(Finding::unknown(NAME, incoming.display(), text, "see `relayd spool list --node ID`"));
    }
    found
}

fn unreadable(e: &Evidence<'_>) -> Option<Finding> {
    let (path, kind, error) = e.files.unreadable.first()?;
    Some(match kind {
        io::ErrorKind::NotFound => {
            let text = "the directory is not there: nothing can come in";
            let remedy = "start the daemon, which makes it, or correct processing.reporting.directory";
            let finding = Finding::error(NAME, path.display(), text, remedy);
            if e.daemon.is_err() { finding.at_most(Level::Warning) } else { finding }
        }
        io::ErrorKind::PermissionDenied => {
            let remedy = "run this as root or as the user of the daemon";
            Finding::unknown(NAME, path.display(), error, remedy)
        }
        _ => Finding::error(NAME, path.display(), error, "see `relayd doctor`"),
    })
}

fn room(e: &Evidence<'_>, settings: &SpoolSettings) -> Option<Finding> {
    let systems = disk::file_systems(e.config);
    let system = systems.iter().find(|system| system.paths.contains(&settings.directory))?;
    let problem = system.problem.as_ref()?;
    let remedy = "make room there; `relayd spool list --failed` shows what may go with `relayd spool drop`";
    Some(Finding::error(NAME, settings.directory.display(), problem, remedy))
}

fn daemon(e: &Evidence<'_>) -> Option<Finding> {
    let away = e.daemon.as_ref().err()?;
    let text = match away.is_absent {
        true => format!("the daemon does not run, so nothing is delivered: {}", away.why),
        false => format!("the daemon does not answer: {}", away.why),
    };
    let finding = Finding::error(NAME, &away.place, text, away.remedy());
    // It does not start without its database.
    let has_no_database = matches!(e.stored, Some(Err(Trouble::Failed(..))));
    Some(if has_no_database || !away.is_absent { finding.at_most(Level::Warning) } else { finding })
}

/// What looks like an upload that never ended, or has a name that the spool does not look at.
fn left_alone(e: &Evidence<'_>) -> Option<Finding> {
    let file = traces::telling(e, e.files.left_alone.iter())?;
    let age = file.age.unwrap_or_default();
    let is_temporary = file_name(file).starts_with('.');
    let finding = match is_temporary {
        true if age < UPLOAD => {
            let text = format!("an upload is under way, for {}", short(age));
            Finding::warning(NAME, file.path.display(), text, "wait for its end")
        }
        true => {
            let text = format!("an upload broke off {} ago", short(age));
            let remedy =
                "the node sends it again at its next run; see what cuts connections (`agent send` there)";
            Finding::error(NAME, file.path.display(), text, remedy)
        }
        false => {
            let text = "the spool leaves this file alone: its name does not end in .log, .log.gz or .log.zip";
            let remedy = "see which program writes it; renaming it delivers it";
            Finding::error(NAME, file.path.display(), text, remedy)
        }
    };
    Some(traces::judged(e, When::of(file), finding))
}

fn waiting(e: &Evidence<'_>) -> Option<Finding> {
    // The one that waits longest says most.
    let mut longest: Vec<_> = e.files.waiting.iter().collect();
    longest.sort_by_key(|file| Reverse(file.age));
    let file = traces::telling(e, longest.into_iter())?;
    Some(traces::judged(e, When::of(file), waits(e, file)))
}

fn waits(e: &Evidence<'_>, file: &Seen) -> Finding {
    let since = file.age.map_or_else(|| "for an unknown time".into(), |age| format!("for {}", short(age)));
    let many = match e.files.waiting.len() {
        1 => String::new(),
        number => format!(", one of {number} of this node"),
    };
    let text = format!("it waits {since}{many}");
    let place = file.path.display();
    let Ok(daemon) = &e.daemon else {
        return Finding::warning(NAME, place, text, "it is delivered when the daemon runs, and works");
    };
    if e.outlet_down().is_some() {
        let remedy = "nothing: it is delivered when the outlet works again, see below";
        return Finding::warning(NAME, place, format!("{text}, because the outlet is down"), remedy);
    }
    let reports = &daemon["reports"];
    if reports["lastPutOff"]["file"] == file_name(file) {
        let why = reports["lastPutOff"]["details"].as_str().unwrap_or("put off");
        let text = format!(
            "{text}, and was put off at {}: {why}",
            reports["lastPutOff"]["at"].as_str().unwrap_or("-")
        );
        return Finding::error(NAME, place, text, remedy_of_put_off(e, why, file));
    }
    if file.age.is_none_or(|age| age < DELIVERY) {
        let text = format!("{text}: it is being delivered");
        return Finding::warning(NAME, place, text, "wait some seconds");
    }
    match reports["depth"].as_u64() {
        Some(depth @ BACKLOG..) => {
            let text = format!("{text}, as {depth} files of all nodes do: more comes than is delivered");
            let remedy =
                "see the rates in `relayd status`, and what slows the outlet; it is delivered in its turn";
            Finding::error(NAME, place, text, remedy)
        }
        _ => {
            let text = format!("{text}, though the outlet works");
            Finding::error(NAME, place, text, log_of(file))
        }
    }
}

/// What to do when a server refuses one file for now.
fn remedy_of_put_off(e: &Evidence<'_>, why: &str, file: &Seen) -> String {
    let is_refused = why.contains("403") || why.contains("404");
    match &e.config.upstream {
        Some(upstream) if is_refused => format!(
            "on {}: see that the node is known there and below this relay (`relayd why id:{}`)",
            upstream.host,
            e.node.as_ref().map_or("ID", |node| node.as_str())
        ),
        _ => log_of(file),
    }
}

fn log_of(file: &Seen) -> String {
    format!("see what the log says of it: `journalctl -u rudder-relayd QUEUE_ID={}`", file.queue_id)
}

fn file_name(file: &Seen) -> String {
    file.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
