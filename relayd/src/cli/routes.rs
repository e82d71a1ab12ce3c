// SPDX-License-Identifier: Apache-2.0
//! `relayd routes`: which routes there are and who may use them.

use std::io::{self, Write};

use clap::Args;

use super::CliError;
use crate::{
    gateway::access::{Listener, Row, Who, table},
    open_api::document,
};

/// Prints the rule table by which the gateway and the local API decide.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  relayd routes
  relayd routes --openapi gateway > gateway.json
  relayd routes --json | jq -r 'select(.who | index(\"anyone\")) | .path'

Each route lets in whoever is named; what is not in the table is refused.")]
pub struct Command {
    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,
    /// Print the OpenAPI 3.1 document of this listener instead.
    #[arg(long, value_name = "LISTENER", conflicts_with = "json")]
    openapi: Option<Listener>,
}

/// Runs the command.
pub fn run(command: &Command) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    if let Some(listener) = command.openapi {
        out.write_all(document(listener).to_pretty_json().as_bytes())?;
        return Ok(());
    }
    let rows = table();
    if command.json {
        for row in &rows {
            serde_json::to_writer(&mut out, row).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
        return Ok(());
    }
    let methods = |row: &Row| row.methods.join(",");
    let width = |of: &dyn Fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or_default();
    let (method, path) = (width(&|row| methods(row).len()), width(&|row| row.path.len()));
    for row in &rows {
        let who: Vec<_> = row.who.iter().map(Who::to_string).collect();
        let (listener, methods, route) = (row.listener, methods(row), row.path);
        writeln!(out, "{listener:<7}  {methods:<method$}  {route:<path$}  {}", row.meaning)?;
        writeln!(out, "{:<7}  {:<method$}  {:<path$}    {}", "", "", "", who.join(" | "))?;
    }
    Ok(())
}
