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

/// How long a block or a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

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
        self.commands += 1;
        let file = |name: &str| format!("{PLACE}/{}.{}.{name}", self.bash.id(), self.commands);
        let (script, output, status) = (file("sh"), file("output"), file("status"));
        fs::write(machine.file(&script), commands)?;
        // `$?` of the command before is there for the first command.
        let before = if strict { "set -e" } else { "(exit $status)" };
        let line = format!(
            "{before}; . {script} </dev/null >{output} 2>&1; status=$?; set +e; \
             echo $status >{status}.new; mv {status}.new {status}\n"
        );
        self.bash.stdin.as_mut().ok_or("no standard input")?.write_all(line.as_bytes())?;
        let read =
            || Ok::<_, tests::Error>(String::from_utf8_lossy(&fs::read(machine.file(&output))?).into_owned());
        let ended = wait::until("the end of the command", PATIENCE, || {
            if let Ok(text) = fs::read_to_string(machine.file(&status)) {
                return Ok(Some(text.trim().parse()?));
            }
            Ok(self.bash.try_wait()?.map(|ended| ended.code().unwrap_or(-1)))
        });
        match ended {
            Ok(status) => Ok(Outcome { status, output: read()? }),
            Err(e) => Err(format!("{e}; it printed:\n{}", read().unwrap_or_default()).into()),
        }
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
