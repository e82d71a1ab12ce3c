// SPDX-License-Identifier: Apache-2.0
//! The shell of a document on one machine: variables and the directory stay from block to block.

use std::{
    fs,
    io::Write,
    process::{Child, Stdio},
    time::Duration,
};

use tests::{Result, wait};

use crate::machine::Machine;

/// How long a block or a command may take, on a machine that has much to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where scripts and their output are on the machine.
const PLACE: &str = "/run/document";

/// A running `bash`.
#[derive(Debug)]
pub struct Shell {
    bash: Child,
    commands: usize,
}

/// What came of commands.
#[derive(Debug)]
pub struct Outcome {
    /// Exit status of the last one.
    pub status: i32,
    /// What they printed, both streams.
    pub output: String,
}

impl Shell {
    /// A new shell, as of a person who logs in as root.
    pub fn start(machine: &Machine) -> Result<Self> {
        fs::create_dir_all(machine.file(PLACE))?;
        let mut bash = machine
            .command(&["bash", "--noprofile", "--norc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let input = bash.stdin.as_mut().ok_or("no standard input")?;
        input.write_all(b"cd; set -o pipefail; umask 022; status=0\n")?;
        Ok(Self { bash, commands: 0 })
    }

    /// Runs commands. With `strict` the first that fails is the last, and ends the shell.
    pub fn run(&mut self, machine: &Machine, commands: &str, strict: bool) -> Result<Outcome> {
        let file = self.script(machine, commands)?;
        // `$?` of the command before is there for the first command.
        let before = if strict { "set -e" } else { "(exit $status)" };
        self.type_in(&format!(
            "{before}; . {file}.sh </dev/null >{file}.output 2>&1; status=$?; set +e; \
             echo $status >{file}.new; mv {file}.new {file}.status\n"
        ))?;
        self.outcome(machine, &file)
    }

    /// Starts commands beside those that follow; [`Self::outcome`] of what it gives is what comes of them.
    pub fn begin(&mut self, machine: &Machine, commands: &str) -> Result<String> {
        let file = self.script(machine, commands)?;
        self.type_in(&format!(
            "{{ ( set -e; . {file}.sh ) </dev/null >{file}.output 2>&1; \
             echo $? >{file}.new; mv {file}.new {file}.status; }} &\n"
        ))?;
        Ok(file)
    }

    /// Waits for the end of commands.
    pub fn outcome(&mut self, machine: &Machine, file: &str) -> Result<Outcome> {
        let read = |kind: &str| fs::read(machine.file(&format!("{file}.{kind}")));
        let printed = || read("output").map(|text| String::from_utf8_lossy(&text).into_owned());
        let ended = wait::until("the end of the command", PATIENCE, || {
            if let Ok(text) = read("status") {
                return Ok(Some(String::from_utf8_lossy(&text).trim().parse()?));
            }
            Ok(self.bash.try_wait()?.map(|ended| ended.code().unwrap_or(-1)))
        });
        match ended {
            Ok(status) => Ok(Outcome { status, output: printed()? }),
            Err(e) => Err(format!("{e}; it printed:\n{}", printed().unwrap_or_default()).into()),
        }
    }

    fn script(&mut self, machine: &Machine, commands: &str) -> Result<String> {
        self.commands += 1;
        let file = format!("{PLACE}/{}.{}", self.bash.id(), self.commands);
        fs::write(machine.file(&format!("{file}.sh")), commands)?;
        Ok(file)
    }

    fn type_in(&mut self, line: &str) -> Result<()> {
        Ok(self.bash.stdin.as_mut().ok_or("no standard input")?.write_all(line.as_bytes())?)
    }

    /// Whether commands can be given.
    pub fn is_alive(&mut self) -> Result<bool> {
        Ok(self.bash.try_wait()?.is_none())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.bash.kill();
        let _ = self.bash.wait();
    }
}
