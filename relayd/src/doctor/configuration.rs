// SPDX-License-Identifier: Apache-2.0
//! The files of the configuration, and those that say which nodes there are.

use std::path::Path;

use super::Examined;
use crate::{
    config::{ConfigError, NodesSource, load_logging, look, problem::Problem},
    finding::{Finding, split},
    nodes::read_files,
};

const NAME: &str = "configuration";
pub(super) const NODES: &str = "nodes";

/// All mistakes in both files, and what is allowed but doubtful.
pub(super) fn files(directory: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Err(error) = load_logging(directory) {
        found.extend(mistakes(error));
    }
    match look(directory) {
        Err(error) => found.extend(mistakes(error)),
        Ok(loaded) => {
            found.extend(loaded.warnings.iter().map(|warning| {
                let (cause, remedy) = split(warning, "change it, or leave it if that is meant");
                Finding::warning(NAME, directory.join("main.conf").display(), cause, remedy)
            }));
            found.extend(loaded.absent.iter().map(|(problem, absent)| {
                let text = format!("{}: not looked at: {}", problem.key, absent.cause);
                Finding::unknown(NAME, place(problem), text, absent.remedy())
            }));
        }
    }
    match found.is_empty() {
        true => vec![Finding::fine(NAME, format!("{} is valid", directory.display()))],
        false => found,
    }
}

fn mistakes(error: ConfigError) -> Vec<Finding> {
    match error {
        ConfigError::Unreadable { path, source, remedy, .. } => {
            vec![Finding::error(NAME, path.display(), source.to_string(), remedy)]
        }
        ConfigError::Problems(problems) => {
            let told = problems.into_iter().map(|problem| {
                let (cause, remedy) = split(&problem.text, "see `relayd config reference`");
                let key = if problem.key.is_empty() { String::new() } else { format!("{}: ", problem.key) };
                Finding::error(NAME, place(&problem), format!("{key}{cause}"), remedy)
            });
            told.collect()
        }
    }
}

/// File and line.
fn place(problem: &Problem) -> String {
    let line = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
    format!("{}{line}", problem.file.display())
}

/// The node list and the certificate bundle, where another program writes them.
pub(super) fn nodes(x: &mut Examined<'_>) -> Vec<Finding> {
    let general = &x.config.general;
    if x.config.nodes.source != NodesSource::Files {
        return Vec::new();
    }
    let list = general.nodes_list_file.display();
    match read_files(general) {
        Err(error) => {
            let (cause, remedy) =
                split(&error, "have it written again by what manages the nodes, then reload");
            vec![Finding::error(NODES, list, cause, remedy)]
        }
        Ok(table) if table.list().is_empty() => {
            let text = "no node is known: all uploads are refused";
            let remedy = "have it written by what manages the nodes, or set nodes.source to \"database\" (root) or \
                          \"upstream\" (relay)";
            vec![Finding::warning(NODES, list, text, remedy)]
        }
        Ok(_) => Vec::new(),
    }
}
