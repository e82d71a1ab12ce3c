// SPDX-License-Identifier: Apache-2.0
//! What collectors may ask of a machine: small files and tools, both within limits.
//!
//! Everything is below one directory, `/` on a real machine, so that collectors can be tried on others.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::run::{
    capture::Stream,
    process::{self, Ending, Limits},
};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// What is kept of what a tool says, in bytes.
const MAX_OUTPUT: usize = 32 << 20;

/// A machine, or a directory that looks like one.
pub struct Machine<'a> {
    root: &'a Path,
    stop: &'a CancellationToken,
}

impl<'a> Machine<'a> {
    /// The one whose files are below `root`; tools are ended by `stop`.
    pub fn new(root: &'a Path, stop: &'a CancellationToken) -> Self {
        Self { root, stop }
    }

    /// Whether it is the machine that this program runs on, so that system calls tell of it as well.
    pub fn is_this(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a file is; `path` without the first slash.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// Whether there is such a file or directory.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Content of a file, if it can be read and is not too large.
    pub fn bytes(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let file = File::open(self.root.join(path)).ok()?;
        let mut content = vec![];
        file.take(MAX_FILE + 1).read_to_end(&mut content).ok()?;
        (content.len() as u64 <= MAX_FILE).then_some(content)
    }

    /// Content of a file as text.
    pub fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        Some(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// First line of a file, without what is around it; `None` when nothing is in it.
    pub fn line(&self, path: impl AsRef<Path>) -> Option<String> {
        let text = self.text(path)?;
        let line = text.lines().next()?.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        (!line.is_empty()).then(|| line.to_owned())
    }

    /// A number in a file.
    pub fn number<T: std::str::FromStr>(&self, path: impl AsRef<Path>) -> Option<T> {
        self.line(path)?.parse().ok()
    }

    /// Names in a directory, sorted.
    pub fn names(&self, directory: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(directory)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Last part of what a link points to.
    pub fn link(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.root.join(path)).ok()?;
        target.file_name()?.to_str().map(str::to_owned)
    }

    /// What a tool prints, when it ends with one of these statuses in time; `None` when it is not there. What keeps it
    /// from saying anything is logged: an inventory without a section is better than none.
    pub async fn tool(&self, command: &[&str], time: Duration, good: &[i32]) -> Option<Vec<String>> {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        let limits = Limits { time, grace: Duration::from_secs(2), output: MAX_OUTPUT };
        let environment = [("LC_ALL", "C".to_owned()), ("LANGUAGE", "C".to_owned())];
        let (ending, output) =
            process::execute(&command, &environment, limits, None, |_| (), self.stop).await;
        let name = command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        match ending {
            Ending::Exited(status) if good.contains(&status) => {}
            Ending::NotStarted(e) if e.kind() == std::io::ErrorKind::NotFound => return None,
            Ending::Stopped => return None,
            ending => {
                let said = output.lines().find(|line| line.stream == Stream::Err).map(|line| line.text);
                warn!("{name} tells nothing for the inventory: {ending}; {}", said.unwrap_or_default());
                return None;
            }
        }
        if output.dropped_bytes() > 0 {
            warn!("{name} said too much: {} bytes of it are not in the inventory", output.dropped_bytes());
        }
        let lines = output.lines().filter(|line| line.stream == Stream::Out);
        Some(lines.map(|line| line.text.to_owned()).collect())
    }
}
