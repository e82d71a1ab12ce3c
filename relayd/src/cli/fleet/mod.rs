// SPDX-License-Identifier: Apache-2.0
//! What the commands that ask about the fleet share: the connection, filters, how lists are printed. They
//! work on the database, whether the daemon runs or not, and change nothing.

mod table;

use std::io::{self, BufWriter, Write};

use chrono::{DateTime, Utc};
use clap::Args;
use serde::Serialize;

pub use self::table::{Line, print};
use super::CliError;
use crate::{
    config::{Config, InventoryOutput, RunLogOutput},
    db::{Connection, Database},
    fleet::{Page, Paging, Row, Settings, Trouble, for_reading, moment, sets::ResultFilter, state::Moment},
    registry::admin,
};

/// What a command asks with.
pub struct Fleet {
    /// For reading only.
    pub connection: Connection,
    /// What counts.
    pub settings: Settings,
}

/// Which results.
#[derive(Debug, Default, Args)]
pub struct Filters {
    /// On this node only: an id, the first 8 or more characters of one, or a host name.
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// Of this rule only.
    #[arg(long, value_name = "ID")]
    pub rule: Option<String>,
    /// Of this directive only.
    #[arg(long, value_name = "ID")]
    pub directive: Option<String>,
    /// Of this technique only.
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,
    /// Of components that are called like this; * stands for any text, ? for one character.
    #[arg(long, value_name = "PATTERN")]
    pub component: Option<String>,
}

/// How a list is printed, and how much of it.
#[derive(Debug, Args)]
pub struct Listing {
    /// Print at most so many.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Print one JSON object per line.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print CSV, with a line of column names first.
    #[arg(long)]
    pub csv: bool,
}

/// Items that are read in one go.
const PAGE: usize = 1000;

impl Fleet {
    /// Connects, on a root with a database.
    pub fn open(config: &Config) -> Result<Self, CliError> {
        let has = (config.run_logs.output, config.inventories.output);
        if !matches!(has, (RunLogOutput::Database, _) | (_, InventoryOutput::Database)) {
            return Err(CliError::usage(
                "this server stores no run logs (processing.reporting.output): ask on the root",
            ));
        }
        let connection = Database::look(&config.database).and_then(for_reading).map_err(CliError::failed)?;
        Ok(Self { connection, settings: Settings::new(config.compliance.run_interval) })
    }

    /// Asks something; all of the answer is about the same moment.
    pub fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Connection, &Settings) -> Result<T, Trouble>,
    ) -> Result<T, CliError> {
        let settings = &self.settings;
        self.connection.snapshot(|c| question(c, settings)).map_err(CliError::from)
    }

    /// The id of the node that the operator means.
    pub fn node(&mut self, text: &str) -> Result<String, CliError> {
        Ok(admin::find(&mut self.connection, text)?.to_string())
    }

    /// What filters mean: the node, and which results.
    pub fn filter(&mut self, filters: &Filters) -> Result<(Option<String>, ResultFilter), CliError> {
        let node = filters.node.as_deref().map(|node| self.node(node)).transpose()?;
        let Filters { rule, directive, policy, component, .. } = filters;
        let filter = ResultFilter {
            rule: rule.clone(),
            directive: directive.clone(),
            policy: policy.clone(),
            component: component.clone(),
        };
        self.ask(|c, _| filter.must_be_known(c))?;
        Ok((node, filter))
    }

    /// The instant that an option names; now without it.
    pub fn moment(&self, text: Option<&str>) -> Result<Moment, CliError> {
        let at = text.map(instant).transpose()?;
        Moment::of(&self.settings, at).map_err(CliError::from)
    }

    /// The instant of which the state is asked; now without it.
    pub fn known_moment(&mut self, text: Option<&str>) -> Result<Moment, CliError> {
        let moment = self.moment(text)?;
        self.ask(|c, _| moment.must_be_known(c))?;
        Ok(moment)
    }

    /// Prints a list, page by page; gives how many items that were. Each page is about one moment: whoever reads
    /// slowly must not keep the database from tidying up.
    pub fn list<T: Row + Line>(
        &mut self,
        listing: &Listing,
        usual: usize,
        mut page: impl FnMut(&mut Connection, &Settings, &Paging) -> Result<Page<T>, Trouble>,
    ) -> Result<usize, CliError> {
        let most = listing.limit.map_or(usual, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let mut out = BufWriter::new(io::stdout().lock());
        let (mut after, mut printed, mut is_first_page, mut is_cut) = (None, 0, true, false);
        loop {
            let paging = Paging { after, limit: PAGE.min(most - printed) };
            let mut found = self.ask(|c, settings| page(c, settings, &paging))?;
            // Some pages end only with a node.
            is_cut |= found.items.len() > most - printed;
            found.items.truncate(most - printed);
            // Names of columns are there also over nothing.
            let with_names = if listing.csv { is_first_page } else { printed == 0 };
            listing.print(&mut out, &found.items, with_names)?;
            printed += found.items.len();
            is_first_page = false;
            after = found.next;
            if after.is_none() || printed >= most {
                break;
            }
        }
        out.flush()?;
        say_more(is_cut || after.is_some());
        Ok(printed)
    }
}

impl Listing {
    fn print<T: Row + Line>(&self, out: &mut impl Write, items: &[T], is_first: bool) -> io::Result<()> {
        if self.json {
            return items.iter().try_for_each(|item| json(out, item));
        }
        if self.csv {
            return crate::fleet::reply::write_csv(out, items, is_first);
        }
        table::print(out, items, is_first)
    }
}

/// Says that a list does not end where its output does. Not on standard output: programs read that one, and they
/// least of all may take a part for the whole.
pub fn say_more(is_more: bool) {
    if is_more {
        eprintln!("… and more; see --limit");
    }
}

/// Prints something as one line of JSON.
pub fn json<T: Serialize>(out: &mut impl Write, item: &T) -> io::Result<()> {
    serde_json::to_writer(&mut *out, item)?;
    out.write_all(b"\n")
}

/// Reads an instant.
pub fn instant(text: &str) -> Result<DateTime<Utc>, CliError> {
    moment::parse(text, Utc::now()).map_err(CliError::from)
}

impl From<Trouble> for CliError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Asked(_) => Self::usage(trouble),
            Trouble::Nothing | Trouble::Missing(_) => Self::nothing(trouble),
            Trouble::Late
            | Trouble::Busy
            | Trouble::Unusable(_)
            | Trouble::Database(_)
            | Trouble::Internal(_) => Self::failed(trouble),
        }
    }
}
