// SPDX-License-Identifier: Apache-2.0
//! Manual pages from what the programs are made of: section 8 from the command line, section 5 from the
//! settings. For the tests of the programs, which keep a copy of each page in `packaging/man`.

mod fresh;
mod settings;

use std::io;

use clap::{Arg, Command};
use clap_mangen::Man;
use roff::{Inline, Roff, bold, italic, roman};

pub use fresh::assert_fresh;
pub use settings::{Section, Setting, settings_page};

/// Section of the manual for commands of administrators.
const ADMINISTRATION: &str = "8";

/// A file: its name, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Name, such as `relayd-node-accept.8`.
    pub name: String,
    /// Content.
    pub text: String,
}

/// A page for the program and one for each of its subcommands, at any depth.
///
/// # Panics
/// Never in fact: writing to memory does not fail.
pub fn command_pages(program: Command) -> Vec<File> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut pages = vec![];
    add(&program, program.get_name(), &mut pages);
    pages
}

fn add(command: &Command, name: &str, pages: &mut Vec<File>) {
    let mut text = vec![];
    render(command, &mut text).expect("writing to memory");
    let text = String::from_utf8(text).expect("help is text");
    pages.push(File { name: format!("{name}.{ADMINISTRATION}"), text });
    for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
        add(subcommand, &format!("{name}-{}", subcommand.get_name()), pages);
    }
}

fn render(command: &Command, text: &mut Vec<u8>) -> io::Result<()> {
    // The version of the program would make all pages stale with each release.
    let page = command.clone().version(None::<&str>);
    let man = Man::new(page).section(ADMINISTRATION).manual("relayd").source("relayd").date("");
    man.render_title(text)?;
    man.render_name_section(text)?;
    synopsis(command).to_writer(text)?;
    man.render_description_section(text)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(text)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(text)?;
    }
    if let Some(notes) = command.get_after_long_help().or(command.get_after_help()) {
        // Line by line: examples and exit codes stand in columns.
        let mut section = Roff::new();
        section.control("SH", ["NOTES"]).control("nf", []);
        for line in notes.to_string().lines() {
            section.text([roman(line)]);
        }
        section.control("fi", []);
        section.to_writer(text)?;
    }
    Ok(())
}

/// How it is called, with the values of options, which the library leaves out.
fn synopsis(command: &Command) -> Roff {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let mut line = vec![bold(name)];
    let shown = || command.get_arguments().filter(|argument| !argument.is_hide_set());
    for argument in shown().filter(|argument| !argument.is_positional()) {
        line.push(roman(if argument.is_required_set() { " " } else { " [" }));
        line.extend(option(argument));
        line.push(roman(if argument.is_required_set() { "" } else { "]" }));
    }
    for argument in command.get_positionals().filter(|argument| !argument.is_hide_set()) {
        line.extend([roman(" "), italic(argument.to_string())]);
    }
    if command.has_subcommands() {
        let is_needed = command.is_subcommand_required_set();
        line.extend([roman(" "), italic(if is_needed { "<SUBCOMMAND>" } else { "[SUBCOMMAND]" })]);
    }
    let mut section = Roff::new();
    section.control("SH", ["SYNOPSIS"]).text(line);
    section
}

fn option(argument: &Arg) -> Vec<Inline> {
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let mut parts: Vec<_> = short.into_iter().chain(long).map(bold).collect();
    if parts.len() == 2 {
        parts.insert(1, roman("|"));
    }
    if argument.get_action().takes_values() {
        for value in argument.get_value_names().unwrap_or_default() {
            parts.push(roman(" "));
            parts.push(italic(value.as_str()));
        }
    }
    parts
}
