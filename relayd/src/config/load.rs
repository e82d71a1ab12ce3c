// SPDX-License-Identifier: Apache-2.0
//! Reading the configuration directory: `main.conf`, which must be there, and `logging.conf`,
//! which may be missing.

use std::{fs, io, path::Path};

use super::{
    Config, LocalAddress,
    logging_file::{self, Logging, LoggingFile},
    main_file::MainFile,
    problem::{ConfigError, Problem},
    resolve,
    value::Absent,
};

/// The configuration, and what an operator should know about it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// `main.conf` as typed.
    pub typed: MainFile,
    /// `main.conf`, resolved.
    pub config: Config,
    /// What is allowed but doubtful.
    pub warnings: Vec<String>,
    /// Settings that are credentials which this process cannot read, and why a daemon would not start with that.
    pub absent: Vec<(Problem, Absent)>,
}

/// Reads and checks `main.conf` in `directory`, as the daemon does, which needs all that is in there.
pub fn load(directory: &Path) -> Result<Loaded, ConfigError> {
    look(directory)?.whole()
}

impl Loaded {
    /// The same when no credential is absent.
    pub fn whole(self) -> Result<Self, ConfigError> {
        match self.absent.is_empty() {
            true => Ok(self),
            false => {
                Err(ConfigError::Problems(self.absent.into_iter().map(|(problem, _)| problem).collect()))
            }
        }
    }
}

/// Reads and checks `main.conf` in `directory`, for commands: the service manager passes credentials to the daemon,
/// and most commands do well without them. Whoever needs one that is absent is told then.
pub fn look(directory: &Path) -> Result<Loaded, ConfigError> {
    let path = directory.join("main.conf");
    let text = fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable {
        what: "main",
        path: path.clone(),
        source,
        remedy: "make it with \"relayd config default\", or name another directory with --config",
    })?;
    resolve::read(&path, &text)
}

/// Where the daemon listens, and what is wrong with `main.conf` as it is now: a daemon that runs goes on with what it
/// read when it started, and can be asked. What cannot be known is taken by default.
pub fn listen(directory: &Path) -> (LocalAddress, Option<ConfigError>) {
    let error = match look(directory) {
        Ok(loaded) => return (loaded.config.general.listen, None),
        Err(error) => error,
    };
    let path = directory.join("main.conf");
    let text = fs::read_to_string(&path).unwrap_or_default();
    (resolve::listen(&path, &text), Some(error))
}

/// Reads and checks `logging.conf` in `directory`. Defaults apply when there is no such file.
pub fn load_logging(directory: &Path) -> Result<(LoggingFile, Logging), ConfigError> {
    let path = directory.join("logging.conf");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => {
            let remedy = "make it readable, or remove it to use the defaults";
            return Err(ConfigError::Unreadable { what: "logging", path, source, remedy });
        }
    };
    logging_file::read(&path, &text)
}

/// Reads and checks both files, as start-up does; the first error counts.
pub fn check(directory: &Path) -> Result<Loaded, ConfigError> {
    load_logging(directory)?;
    load(directory)
}
