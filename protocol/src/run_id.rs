// SPDX-License-Identifier: Apache-2.0
//! Run ids and the names of run log files (protocol 2.4).
//!
//! ```text
//! form A   2018-08-24T15:55:01+00:00@root.log.gz     (or `_` for each `:`)
//! form B   root_2018-08-24T15:55:01+00:00.log.gz
//! ```

use std::{fmt, str::FromStr};

use chrono::{DateTime, FixedOffset, SecondsFormat};

use crate::{
    compression::Compression,
    hash::QueueId,
    node_id::{NodeId, NodeIdError},
};

/// One agent run on one node: who and when it started, as its file name says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunId {
    /// The node that ran.
    pub node_id: NodeId,
    /// Start of the run, by the node's clock.
    pub start: DateTime<FixedOffset>,
}

/// The checked name of a run log file.
///
/// Holds the name as it was, because the name is kept on every hop and the queue id comes from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunLogName {
    text: Box<str>,
    run_id: RunId,
    compression: Compression,
}

/// Longest accepted file name, in bytes: what Linux file systems hold.
pub const MAX_NAME: usize = 255;

impl RunLogName {
    /// The name a new run log gets: form A, gzipped.
    pub fn new(run_id: RunId) -> Self {
        let start = run_id.start.to_rfc3339_opts(SecondsFormat::Secs, false);
        Self {
            text: format!("{start}@{}.log.gz", run_id.node_id).into(),
            run_id,
            compression: Compression::Gzip,
        }
    }

    /// The file name.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Node and start.
    pub fn run_id(&self) -> &RunId {
        &self.run_id
    }

    /// How the content is packed, by the last extension (protocol 2.6).
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// The id under which every hop logs this file.
    pub fn queue_id(&self) -> QueueId {
        QueueId::of_file_name(&self.text)
    }
}

/// Whether a file in a run log spool is meant to be one: decided by the last extension alone.
///
/// Others, such as the temporary files of a DAV server, are left alone.
pub fn is_considered(file_name: &str) -> bool {
    !file_name.starts_with('.')
        && matches!(file_name.rsplit_once('.'), Some((stem, "gz" | "zip" | "log")) if !stem.is_empty())
}

/// Why a file name is not that of a run log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunLogNameError {
    /// Neither `<date>@<node>.log…` nor `<node>_<date>.log…`.
    #[error("not a run log name: expected <date>@<node id>.log[.gz] or <node id>_<date>.log[.gz]")]
    Shape,
    /// Longer than [`MAX_NAME`].
    #[error("a file name has at most {MAX_NAME} bytes, this one has {0}")]
    TooLong(usize),
    /// The date is not RFC 3339 with an offset.
    #[error("the date {0:?} is not RFC 3339 with an offset")]
    Date(String),
    /// The node id is none.
    #[error(transparent)]
    NodeId(#[from] NodeIdError),
    /// What follows the id or date is not `.log` with known compressions.
    #[error("the extension {0:?} is not .log, .log.gz or .log.zip")]
    Extension(String),
}

impl FromStr for RunLogName {
    type Err = RunLogNameError;

    fn from_str(text: &str) -> Result<Self, RunLogNameError> {
        if text.len() > MAX_NAME {
            return Err(RunLogNameError::TooLong(text.len()));
        }
        match form_a(text) {
            Ok(name) => Ok(name),
            // An empty node id in form A is final.
            Err(e @ RunLogNameError::NodeId(NodeIdError::Empty)) => Err(e),
            // With an `@` there can be no form B: no node id has one. The first error says more.
            Err(e) if text.contains('@') => Err(e),
            Err(_) => form_b(text),
        }
    }
}

impl fmt::Display for RunLogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn form_a(text: &str) -> Result<RunLogName, RunLogNameError> {
    let (date, rest) = text.split_once('@').ok_or(RunLogNameError::Shape)?;
    let (node, extension) = split_at_dot(rest);
    build(text, node, date, extension)
}

fn form_b(text: &str) -> Result<RunLogName, RunLogNameError> {
    let (node, rest) = text.split_once('_').ok_or(RunLogNameError::Shape)?;
    let (date, extension) = split_at_dot(rest);
    build(text, node, date, extension)
}

fn split_at_dot(text: &str) -> (&str, &str) {
    text.split_at(text.find('.').unwrap_or(text.len()))
}

fn build(text: &str, node: &str, date: &str, extension: &str) -> Result<RunLogName, RunLogNameError> {
    let node_id = node.parse()?;
    // File systems without colons have `_` in their place.
    let start = DateTime::parse_from_rfc3339(&date.replace('_', ":"))
        .map_err(|_| RunLogNameError::Date(date.to_owned()))?;
    let compression = match extension {
        ".log" => Compression::None,
        ".log.gz" => Compression::Gzip,
        ".log.zip" | ".log.gz.zip" => Compression::Zip,
        _ => return Err(RunLogNameError::Extension(extension.to_owned())),
    };
    Ok(RunLogName { text: text.into(), run_id: RunId { node_id, start }, compression })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<(String, String, Compression), RunLogNameError> {
        name.parse::<RunLogName>().map(|n| {
            assert_eq!(n.as_str(), name);
            (n.run_id.node_id.to_string(), n.run_id.start.to_rfc3339(), n.compression)
        })
    }

    #[test]
    fn reads_both_forms() {
        let uuid = "e745a140-40bc-4b86-b6dc-084488fc906b";
        for (name, node, compression) in [
            ("2018-08-24T15:55:01+00:00@root.log", "root", Compression::None),
            (&format!("2018-08-24T15_55_01+00_00@{uuid}.log.gz"), uuid, Compression::Gzip),
            (&format!("{uuid}_2018-08-24T15_55_01+00_00.log.gz"), uuid, Compression::Gzip),
            ("root_2018-08-24T15:55:01+00:00.log.zip", "root", Compression::Zip),
            ("2018-08-24T15:55:01+00:00@root.log.zip", "root", Compression::Zip),
            ("a.b_2018-08-24T15:55:01Z.log", "a.b", Compression::None),
        ] {
            let (id, start, packed) = parse(name).unwrap();
            assert_eq!(
                (id.as_str(), start.as_str(), packed),
                (node, "2018-08-24T15:55:01+00:00", compression)
            );
        }
    }

    #[test]
    fn refuses_other_names() {
        for name in [
            "",
            "x",
            "@{.log",
            ">@.log",
            "2018-08-24T15:55:01+00:00@root.lg.gz",
            "2018-08-24T15:55:01+00:00@.log",
            "2018-08-24T15:55:01@root.log",
            "_2018-08-24T15:55:01Z.log",
            "2018-08-24T15:55:01+00:00@ro/ot.log",
            "2018-08-24T15:55:01+00:00@root",
            "root_2018-08-24T15:55:01Z.log.zip.gz",
            &format!("2018-08-24T15:55:01+00:00@{}.log", "a".repeat(300)),
        ] {
            assert!(parse(name).is_err(), "{name:?}");
        }
        assert_eq!(parse("2018-08-24T15:55:01+00:00@.log"), Err(RunLogNameError::NodeId(NodeIdError::Empty)));
    }

    #[test]
    fn a_new_name_reads_back() {
        let run_id = RunId { node_id: NodeId::root(), start: "2026-01-02T03:04:05+00:00".parse().unwrap() };
        let name = RunLogName::new(run_id.clone());
        assert_eq!(name.as_str(), "2026-01-02T03:04:05+00:00@root.log.gz");
        assert_eq!(name.as_str().parse::<RunLogName>().unwrap(), name);
    }

    #[test]
    fn the_last_extension_decides_what_is_looked_at() {
        for (name, expected) in [
            ("a.log", true),
            ("a.b.gz", true),
            ("x.zip", true),
            (".davfs.tmp1", false),
            (".part-1.log", false),
            ("x", false),
            ("x.tmp", false),
            ("log", false),
        ] {
            assert_eq!(is_considered(name), expected, "{name}");
        }
    }
}
