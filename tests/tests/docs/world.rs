// SPDX-License-Identifier: Apache-2.0
//! The machines of a document, and its steps on them.

use std::{collections::HashMap, fs, path::Path, time::Instant};

use tempfile::TempDir;
use tests::Result;

use crate::{
    compare::fits,
    document::{self, Action, Document, Exchange, Step},
    machine::{self, Machine},
    settings,
    shell::Shell,
};

/// What makes machines a site: enrolled, accepted, running.
const SITE: &str = include_str!("site.md");

/// What is on each machine before its document begins.
const INSTALLED: &str = include_str!("installed.sh");

/// Running machines with a shell on each.
#[derive(Debug)]
pub struct World {
    names: Vec<String>,
    shells: HashMap<String, Shell>,
    placeholders: Vec<(String, String)>,
    /// What runs beside: line, machine, file, and the exit status that it must have.
    begun: Vec<(usize, String, String, i32)>,
    machines: HashMap<String, Machine>,
    _directory: TempDir,
}

impl World {
    /// Boots what the document starts with.
    pub fn start(title: &str, document: &Document) -> Result<Self> {
        match &document.world {
            document::World::Empty(names) => Self::installed(title, names.clone()),
            document::World::Site(others) => {
                let site = document::parse(SITE)?;
                let document::World::Empty(names) = &site.world else {
                    return Err("site.md: no world".into());
                };
                let names = names.iter().chain(others).cloned().collect();
                let mut world = Self::installed(title, names)?;
                world.walk(&site).map_err(|e| format!("site.md:{e}\n{}", world.journals()))?;
                world.placeholders.clear();
                world.shells.clear();
                Ok(world)
            }
        }
    }

    fn installed(title: &str, names: Vec<String>) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix(&format!("{title}-")).tempdir()?;
        let start = Instant::now();
        let machines = machine::boot(directory.path(), &names)?;
        eprintln!("boot: {:.1} s", start.elapsed().as_secs_f32());
        let mut world = Self {
            names,
            shells: HashMap::new(),
            placeholders: vec![],
            begun: vec![],
            machines,
            _directory: directory,
        };
        for name in world.names.clone() {
            let outcome = world.shell(&name, |shell, machine| shell.run(machine, INSTALLED, true))?;
            if outcome.status != 0 {
                return Err(format!("installed.sh on {name}: {}\n{}", outcome.status, outcome.output).into());
            }
        }
        Ok(world)
    }

    /// Does what the document does. Errors begin with the line.
    pub fn walk(&mut self, document: &Document) -> Result<()> {
        for step in &document.steps {
            let start = Instant::now();
            self.step(step).map_err(|e| format!("{}: {e}", step.line))?;
            eprintln!("line {}: {:.1} s", step.line, start.elapsed().as_secs_f32());
        }
        for (line, on, file, exit) in std::mem::take(&mut self.begun) {
            let outcome = self.shell(&on, |shell, machine| shell.outcome(machine, &file))?;
            if outcome.status != exit {
                return Err(
                    format!("{line}: exit status {} on {on}:\n{}", outcome.status, outcome.output).into()
                );
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let on = step.on.clone().unwrap_or_else(|| self.names[0].clone());
        match &step.action {
            Action::Script { text, exit, background: true } => {
                let text = self.fill(text);
                let file = self.shell(&on, |shell, machine| shell.begin(machine, &text))?;
                self.begun.push((step.line, on, file, *exit));
            }
            Action::Script { text, exit, background: false } => {
                let text = self.fill(text);
                let outcome = self.shell(&on, |shell, machine| shell.run(machine, &text, true))?;
                if outcome.status != *exit {
                    return Err(format!("exit status {} on {on}:\n{}", outcome.status, outcome.output).into());
                }
            }
            Action::Session(exchanges) => self.session(&on, exchanges)?,
            Action::Settings { file, text } => {
                let path = self.machine(&on)?.file(file);
                let old = fs::read_to_string(&path).unwrap_or_default();
                write(&path, &settings::set(&old, &self.fill(text))?)?;
            }
            Action::Placeholder { word, command } => {
                let command = self.fill(command);
                let outcome = self.shell(&on, |shell, machine| shell.run(machine, &command, true))?;
                let value = outcome.output.trim().to_owned();
                if outcome.status != 0 || value.is_empty() || value == "null" || value.contains('\n') {
                    return Err(format!("{word} cannot be {value:?} (status {})", outcome.status).into());
                }
                self.placeholders.retain(|(other, _)| other != word);
                self.placeholders.push((word.clone(), value));
                // Longest first: one word may begin another.
                self.placeholders.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
            }
        }
        Ok(())
    }

    fn session(&mut self, on: &str, exchanges: &[Exchange]) -> Result<()> {
        for (number, Exchange { offset, command, output }) in exchanges.iter().enumerate() {
            let (command, output) = (self.fill(command), self.fill(output));
            let outcome = self.shell(on, |shell, machine| shell.run(machine, &command, false))?;
            let place = format!("line {} of the block: {command}", offset + 1);
            if !fits(&output, &outcome.output) {
                return Err(format!("{place}printed on {on}:\n{}\nand not:\n{output}", outcome.output).into());
            }
            let asked = exchanges.get(number + 1).is_some_and(|next| next.command.starts_with("echo $?"));
            if outcome.status != 0 && !asked {
                return Err(
                    format!("{place}exit status {} on {on}:\n{}", outcome.status, outcome.output).into()
                );
            }
        }
        Ok(())
    }

    fn fill(&self, text: &str) -> String {
        self.placeholders.iter().fold(text.to_owned(), |text, (word, value)| replace(&text, word, value))
    }

    fn machine(&self, name: &str) -> Result<&Machine> {
        self.machines.get(name).ok_or_else(|| format!("there is no machine {name}").into())
    }

    /// The shell there; a new one when the last one ended.
    fn shell<T>(&mut self, name: &str, run: impl FnOnce(&mut Shell, &Machine) -> Result<T>) -> Result<T> {
        let machine = self.machines.get(name).ok_or_else(|| format!("there is no machine {name}"))?;
        let alive = match self.shells.get_mut(name) {
            Some(shell) => shell.is_alive()?,
            None => false,
        };
        if !alive {
            self.shells.insert(name.to_owned(), Shell::start(machine)?);
        }
        run(self.shells.get_mut(name).ok_or("no shell")?, machine)
    }

    /// What helps to understand a failure: the journal of each machine.
    pub fn journals(&self) -> String {
        let mut text = String::new();
        for name in &self.names {
            let journal = self.machines[name]
                .command(&[
                    "journalctl",
                    "--no-pager",
                    "--lines=20",
                    "--output=cat",
                    "--unit=rudder-relayd",
                    "--unit=relayd-agent",
                ])
                .output();
            let said = journal
                .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
                .unwrap_or_default();
            text += &format!("--- journal of {name}\n{said}");
        }
        text
    }
}

/// The text with a value in place of a word, where it stands alone.
fn replace(text: &str, word: &str, value: &str) -> String {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    let mut replaced = String::new();
    let mut rest = text;
    while let Some(place) = rest.find(word) {
        let (before, after) = (&rest[..place], &rest[place + word.len()..]);
        let alone = !joins(before.chars().last()) && !joins(after.chars().next());
        replaced.extend([before, if alone { value } else { word }]);
        rest = after;
    }
    replaced + rest
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, text)?)
}

#[cfg(test)]
mod filling {
    #[test]
    fn words_are_replaced_where_they_stand_alone() {
        assert_eq!(
            super::replace("TOKEN a_TOKEN --x TOKEN, TOKENS", "TOKEN", "1"),
            "1 a_TOKEN --x 1, TOKENS"
        );
    }
}
