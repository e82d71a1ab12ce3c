// SPDX-License-Identifier: Apache-2.0
//! `relayd token`: one-time tokens that let a node in without an operator.

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use chrono::Utc;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{
    CliError,
    node::{duration, operator},
    output::{counted, date},
};
use crate::{
    config::Config,
    db::Connection,
    registry::{
        admin::{self, NewToken, Purpose},
        record::{TokenRecord, TokenState},
    },
    spool::disposition::printable,
};

// clap would make a line break of the braces; a change of style that changes nothing keeps them apart.
const HOST_HELP: &str = "Host name of the node; {\u{1b}[0mn} stands for a number that counts from 1";
const CREATE_EXAMPLES: &str = "\
Examples:
  relayd token create --host web1.example.org --expires 1h > web1.token
  relayd token create --host 'web{\u{1b}[0mn}.example.org' --count 200 > tokens

Standard output has one token per line, in the order of the host names; this is the only time
that they can be seen. Standard error says what was made. On the node: `agent enroll
--token-file FILE`. A token lets no relay in: those need `relayd node accept --relay`.";

/// Commands about enrolment tokens.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make tokens. Each lets in one node, of this host name, once, until it expires.
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        #[arg(long, value_name = "NAME", help = HOST_HELP)]
        host: String,
        /// How long it can be used.
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
        expires: Duration,
        /// How many.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        count: u32,
        /// Print one JSON object per line, with the token.
        #[arg(long)]
        json: bool,
    },
    /// List tokens: for whom, whether used and by which node. Their texts are not known any more.
    #[command(after_help = "Examples:
  relayd token list --state usable
  relayd token list --json | jq -r 'select(.host == \"web1.example.org\") | .used_by'")]
    List {
        /// Only tokens in this state; may be repeated.
        #[arg(long, value_enum)]
        state: Vec<StateArg>,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Take tokens back before they are used.
    #[command(after_help = "Example:
  relayd token revoke 4f2a9c1e77b0")]
    Revoke {
        /// Ids, as listed: the part of a token before its hyphen.
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// Whether a token can be used, on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StateArg {
    /// It can.
    Usable,
    /// It was.
    Used,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl From<TokenState> for StateArg {
    fn from(state: TokenState) -> Self {
        match state {
            TokenState::Usable => Self::Usable,
            TokenState::Used => Self::Used,
            TokenState::Expired => Self::Expired,
            TokenState::Revoked => Self::Revoked,
        }
    }
}

impl StateArg {
    fn name(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// Tokens in one transaction.
const AT_A_TIME: usize = 1000;

/// Runs a command.
pub fn run(command: &Command, config: &Config) -> Result<(), CliError> {
    match command {
        Command::Create { host, expires, count, json } => {
            create(&mut admin::open(config, Purpose::Write)?, &hosts(host, *count), *expires, *json)
        }
        Command::List { state, json } => list(&mut admin::open(config, Purpose::Read)?, state, *json),
        Command::Revoke { ids } => revoke(&mut admin::open(config, Purpose::Write)?, ids),
    }
}

fn hosts(pattern: &str, count: u32) -> Vec<String> {
    (1..=count).map(|n| pattern.replace("{n}", &n.to_string())).collect()
}

fn create(c: &mut Connection, hosts: &[String], expires: Duration, json: bool) -> Result<(), CliError> {
    // Written out after each part: what is in the database by then must be in somebody's hands.
    let (mut out, mut table) = (io::stdout().lock(), io::stderr().lock());
    writeln!(table, "{:<12}  {:<20}  HOST NAME", "ID", "EXPIRES")?;
    for part in hosts.chunks(AT_A_TIME) {
        for NewToken { record, text } in admin::create_tokens(c, part, expires, &operator())? {
            match json {
                true => {
                    let line = json!({
                        "token": &*text, "id": record.id, "host": record.host, "expires": date(record.expires),
                    });
                    writeln!(out, "{line}")?;
                }
                false => writeln!(out, "{}", &*text)?,
            }
            writeln!(table, "{:<12}  {:<20}  {}", record.id, date(record.expires), printable(&record.host))?;
        }
        out.flush()?;
    }
    Ok(writeln!(table, "{} made", counted(hosts.len(), "token"))?)
}

fn list(c: &mut Connection, states: &[StateArg], json: bool) -> Result<(), CliError> {
    let mut tokens = admin::list_tokens(c)?;
    tokens.retain(|token| states.is_empty() || states.contains(&token.state.into()));
    let mut out = BufWriter::new(io::stdout().lock());
    if json {
        for token in &tokens {
            serde_json::to_writer(&mut out, token).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    } else {
        if !tokens.is_empty() {
            writeln!(out, "{:<12}  {:<7}  {:<20}  HOST NAME", "ID", "STATE", "EXPIRES")?;
        }
        for token in &tokens {
            print(&mut out, token)?;
        }
        writeln!(out, "{}", counted(tokens.len(), "token"))?;
    }
    Ok(out.flush()?)
}

fn print(out: &mut impl Write, token: &TokenRecord) -> io::Result<()> {
    let state = StateArg::from(token.state).name();
    write!(out, "{:<12}  {state:<7}  {:<20}  {}", token.id, date(token.expires), printable(&token.host))?;
    match (&token.used, &token.used_by) {
        (Some(at), Some(by)) => writeln!(out, "  (used {} by {by})", date(*at)),
        _ => writeln!(out, "  (made {} by {})", date(token.created), printable(&token.created_by)),
    }
}

fn revoke(c: &mut Connection, ids: &[String]) -> Result<(), CliError> {
    let mut failed = None;
    for id in ids {
        match admin::revoke_token(c, id) {
            Ok(TokenRecord { id, used: Some(at), .. }) => {
                failed = Some(CliError::failed(format!("token {id} was used on {} already", date(at))));
            }
            Ok(TokenRecord { id, expires, .. }) if expires <= Utc::now() => {
                println!("{id}  had expired");
            }
            Ok(TokenRecord { id, .. }) => println!("{id}  revoked"),
            Err(error) => failed = Some(error.into()),
        }
    }
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_counted_from_one() {
        assert_eq!(hosts("web{n}.example.org", 2), ["web1.example.org", "web2.example.org"]);
        assert_eq!(hosts("a", 2), ["a", "a"]);
    }
}
