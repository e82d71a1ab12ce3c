// SPDX-License-Identifier: Apache-2.0
//! Commands in running text and tables. They are not run, but must exist: the subcommand and each option.

use std::process::Command;

use tests::{Result, programs};

use crate::document::Document;

/// An error that names the line of a command of ours that is not there.
pub fn check(document: &Document) -> Result<()> {
    for (line, code) in &document.mentions {
        if let Some((program @ ("relayd" | "agent"), arguments)) = code.split_once(' ') {
            exists(program, arguments).map_err(|e| format!("{line}: `{code}`: {e}"))?;
        }
    }
    Ok(())
}

fn exists(program: &str, arguments: &str) -> Result<()> {
    let mut words = arguments.split_whitespace().peekable();
    let mut command = vec![];
    let mut help = said(program, &command)?;
    while let Some(word) = words.next_if(|word| is_subcommand(&help, word)) {
        command.push(word);
        help = said(program, &command)?;
    }
    if command.is_empty() && !arguments.starts_with('-') {
        return Err("no such subcommand".into());
    }
    if let Some(word) = words.peek()
        && help.contains("\nCommands:")
        && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        && !word.starts_with('-')
    {
        return Err(format!("no subcommand {word}").into());
    }
    // What stands after `--` is somebody else's.
    for word in words.take_while(|word| *word != "--") {
        let option = word.split(['=', '…', ',']).next().unwrap_or_default();
        let known = || help.split([' ', '\n', ',', '[', '=', ']']).any(|said| said == option);
        if option.starts_with('-') && option.len() > 1 && !known() {
            return Err(format!("no option {option}").into());
        }
    }
    Ok(())
}

fn said(program: &str, command: &[&str]) -> Result<String> {
    let output = Command::new(programs::find(program)?).args(command).arg("--help").output()?;
    Ok(String::from_utf8(output.stdout)?)
}

fn is_subcommand(help: &str, word: &str) -> bool {
    help.split_once("\nCommands:\n").is_some_and(|(_, commands)| {
        commands
            .lines()
            .take_while(|line| !line.is_empty())
            .any(|line| line.strip_prefix("  ").and_then(|line| line.split_whitespace().next()) == Some(word))
    })
}
