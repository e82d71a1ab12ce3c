// SPDX-License-Identifier: Apache-2.0
//! Which nodes an operator means, and what they are called: by the node list that the daemon works with.

use std::{collections::HashMap, fs, path::Path};

use protocol::{node_id::NodeId, node_list::NodeList};

use crate::cli::CliError;

/// Most nodes that are named when a text may mean several.
const MOST_NAMED: usize = 10;

/// Ids and host names of all nodes.
#[derive(Debug, Default)]
pub struct Names {
    list: NodeList,
    /// Why there are none.
    problem: Option<String>,
}

impl Names {
    /// Reads the node list. Without one, nodes have no names but their ids.
    pub fn read(file: &Path) -> Self {
        let read = fs::read(file).map_err(|error| error.to_string());
        match read.and_then(|json| NodeList::from_json(&json).map_err(|error| error.to_string())) {
            Ok(list) => Self { list, problem: None },
            Err(error) => Self { list: NodeList::default(), problem: Some(error) },
        }
    }

    /// The node that an operator means: by its id, by the start of its id, or by its host name. What fits
    /// several nodes, in whatever way, means none of them; `id:` before a whole id means that one, and the daemon
    /// says whether it knows it.
    pub fn find(&self, text: &str, file: &Path) -> Result<NodeId, CliError> {
        if let Some(problem) = &self.problem {
            // The daemon says whether it knows the id.
            let id = text.strip_prefix("id:").unwrap_or(text);
            return id.parse().map_err(|error| {
                CliError::usage(format!(
                    "{text:?}: {error}; host names cannot be looked up: {}: {problem}",
                    file.display()
                ))
            });
        }
        match self.list.meant_by(text).as_slice() {
            [one] => Ok((*one).clone()),
            [] => {
                // The file follows the daemon, which may know a node that was taken in just now.
                let id = text.strip_prefix("id:").and_then(|id| id.parse().ok());
                id.ok_or_else(|| {
                    CliError::nothing(format!("there is no node {text:?} in {}", file.display()))
                })
            }
            several => {
                let named: Vec<&str> = several.iter().take(MOST_NAMED).map(|node| node.as_str()).collect();
                let text =
                    format!("{text:?} may mean {} nodes: {}; write id:ID", several.len(), named.join(", "));
                Err(CliError::usage(text))
            }
        }
    }

    /// What a node is called: its host name, unless another node has the same.
    pub fn show(&self) -> HashMap<NodeId, String> {
        let mut count: HashMap<&str, usize> = HashMap::new();
        self.list.iter().for_each(|(_, entry)| *count.entry(&entry.hostname).or_default() += 1);
        let named = self.list.iter().filter(|(_, entry)| count[entry.hostname.as_str()] == 1);
        let named = named.filter(|(_, entry)| !entry.hostname.is_empty());
        named.map(|(node, entry)| (node.clone(), entry.hostname.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let json = r#"{
            "root": {"hostname": "root.example.org", "policy-server": "root"},
            "aaaaaaaa-1": {"hostname": "web.example.org", "policy-server": "root"},
            "aaaaaaaa-2": {"hostname": "twin", "policy-server": "root"},
            "bbbbbbbb-1": {"hostname": "twin", "policy-server": "root"},
            "cccccccc-1": {"hostname": "aaaaaaaa-2", "policy-server": "root"}
        }"#;
        Names { list: NodeList::from_json(json.as_bytes()).unwrap(), problem: None }
    }

    fn find(text: &str) -> Result<String, CliError> {
        names().find(text, Path::new("list")).map(|node| node.to_string())
    }

    #[test]
    fn nodes_are_found_as_in_relayd_node() {
        assert_eq!(find("root").unwrap(), "root");
        assert_eq!(find("WEB.example.org").unwrap(), "aaaaaaaa-1");
        assert_eq!(find("bbbbbbbb").unwrap(), "bbbbbbbb-1");
        assert_eq!(find("id:aaaaaaaa-2").unwrap(), "aaaaaaaa-2");
        assert!(find("bbbbbbb").is_err(), "too short for a start");
        assert_eq!(find("id:bbbbbbbb").unwrap(), "bbbbbbbb", "for the daemon to judge: not the start of one");
        assert!(find("dddddddd-1").is_err());
        for ambiguous in ["twin", "aaaaaaaa", "aaaaaaaa-2"] {
            assert!(find(ambiguous).is_err(), "{ambiguous}");
        }
    }

    #[test]
    fn names_that_several_have_say_nothing() {
        let shown = names().show();
        assert_eq!(shown.get("aaaaaaaa-1").map(String::as_str), Some("web.example.org"));
        assert_eq!(shown.get("bbbbbbbb-1"), None);
    }
}
