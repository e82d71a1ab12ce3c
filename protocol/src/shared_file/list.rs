// SPDX-License-Identifier: Apache-2.0
//! What waits for a node (protocol 15.2).

use serde::{Deserialize, Serialize};

use super::{FileId, Name};

/// The files that wait for a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "SharedFileList"))]
pub struct List {
    /// By source and file id.
    pub files: Vec<Listed>,
    /// Why there may be more than these; absent when there are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema), schemars(rename = "SharedFileListed"))]
pub struct Listed {
    /// Who sent it.
    pub source: Name,
    /// How it is called.
    pub file_id: FileId,
    /// Its size, in bytes.
    pub size: u64,
    /// Its hash, hexadecimal.
    pub hash: String,
    /// Which hash that is: `sha256` or `sha512`.
    pub hash_type: String,
    /// Until when it is kept, in seconds of Unix time.
    pub expires: Option<i64>,
}

impl List {
    /// Adds what another server has. Of a file that both have, the one that is here already counts.
    pub fn merge(&mut self, other: Self) {
        self.files.extend(other.files);
        self.files.sort_by(|a, b| (&a.source, &a.file_id).cmp(&(&b.source, &b.file_id)));
        self.files.dedup_by(|a, b| (&a.source, &a.file_id) == (&b.source, &b.file_id));
        self.incomplete = self.incomplete.take().or(other.incomplete);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(source: &str, file: &str, size: u64) -> Listed {
        Listed {
            source: source.parse().unwrap(),
            file_id: file.parse().unwrap(),
            size,
            hash: "00".into(),
            hash_type: "sha512".into(),
            expires: Some(1),
        }
    }

    #[test]
    fn lists_are_merged_and_ones_own_files_count() {
        let mut list = List { files: vec![listed("b", "x", 1)], incomplete: None };
        let other =
            List { files: vec![listed("b", "x", 2), listed("a", "y", 3)], incomplete: Some("why".into()) };
        list.merge(other);
        assert_eq!(list.files, [listed("a", "y", 3), listed("b", "x", 1)]);
        assert_eq!(list.incomplete.as_deref(), Some("why"));
    }

    #[test]
    fn names_in_json_are_checked() {
        let json =
            serde_json::to_string(&List { files: vec![listed("a", "y", 3)], incomplete: None }).unwrap();
        assert!(json.starts_with(r#"{"files":[{"source":"a","file_id":"y","size":3"#), "{json}");
        assert!(serde_json::from_str::<List>(&json).is_ok());
        assert!(serde_json::from_str::<List>(&json.replace("\"y\"", "\"../y\"")).is_err());
    }
}
