// SPDX-License-Identifier: Apache-2.0
//! A manifest as JSON: one line for each file, so that people and `diff` can read it.

use std::{borrow::Cow, fmt::Write, sync::Arc};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::{FileList, Manifest, ManifestError, ManifestFile, check_size};
use crate::node_id::NodeId;

/// The first thing that a reader looks at.
const FORMAT: &str = "relayd-policy-manifest-1";

/// Unknown fields are refused: what a reader does not know it cannot heed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "format")]
    _format: String,
    node_id: NodeId,
    version: u64,
    created: DateTime<Utc>,
    expires: Option<DateTime<Utc>>,
    note: Option<String>,
    files: Vec<ManifestFile>,
}

/// Read first, so that a later format is called that and not malformed.
#[derive(Deserialize)]
struct Format<'a> {
    #[serde(borrow)]
    format: Cow<'a, str>,
}

pub(super) fn read(text: &[u8]) -> Result<Manifest, ManifestError> {
    check_size(text)?;
    let Format { format } = serde_json::from_slice(text).map_err(malformed)?;
    if format != FORMAT {
        return Err(ManifestError::Format(format.chars().take(100).collect()));
    }
    let document: Document = serde_json::from_slice(text).map_err(malformed)?;
    let files = Arc::new(FileList::new(document.files)?);
    let manifest =
        Manifest::new(document.node_id, document.version, document.created, document.expires, files)?;
    match document.note {
        Some(note) => manifest.with_note(note),
        None => Ok(manifest),
    }
}

pub(super) fn write(manifest: &Manifest) -> String {
    let mut out = String::with_capacity(2048 + manifest.files.lines().len());
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    out.push_str("{\n");
    push(&mut out, "format", FORMAT);
    push(&mut out, "node_id", manifest.node_id.as_str());
    push(&mut out, "version", manifest.version);
    push(&mut out, "created", time(manifest.created));
    if let Some(expires) = manifest.expires {
        push(&mut out, "expires", time(expires));
    }
    if let Some(note) = &manifest.note {
        push(&mut out, "note", note);
    }
    out.push_str(" \"files\": [\n");
    out.push_str(manifest.files.lines());
    out.push_str("\n ]\n}\n");
    out
}

pub(super) fn write_files(files: &FileList) -> String {
    let lines: Vec<_> = files.iter().map(|file| format!("  {}", json(file))).collect();
    lines.join(",\n")
}

pub(super) fn read_files(lines: &str) -> Result<FileList, ManifestError> {
    check_size(lines.as_bytes())?;
    let files = serde_json::from_str(&format!("[{lines}]")).map_err(malformed)?;
    FileList::new(files)
}

fn malformed(error: serde_json::Error) -> ManifestError {
    ManifestError::Json(error.to_string())
}

fn push(out: &mut String, name: &str, value: impl Serialize) {
    let _ = writeln!(out, " \"{name}\": {},", json(&value));
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers are JSON")
}
