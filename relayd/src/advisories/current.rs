// SPDX-License-Identifier: Apache-2.0
//! The advisories in use: read at start and whenever the files have changed. Files that cannot be read leave
//! in use what was read before, and are said in log, status and answers.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use chrono::{DateTime, Utc};
use prometheus::{IntGauge, Registry};
use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{exposure::Matched, load};
use crate::{api::Outcome, status::date};

/// Time between two looks whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// The advisories in use.
#[derive(Debug)]
pub struct Current {
    path: PathBuf,
    state: RwLock<State>,
    /// One reading at a time.
    reading: Mutex<()>,
    loaded: IntGauge,
    broken: IntGauge,
}

#[derive(Debug, Default)]
struct State {
    matched: Option<Arc<Matched>>,
    read: Option<DateTime<Utc>>,
    /// Of the files as they were last read, in vain or not.
    fingerprint: Option<u64>,
    error: Option<String>,
}

/// What the status tells of advisories.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// In error when the files as they are cannot be read.
    status: Outcome,
    /// Why, and what is in use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<String>,
    /// Where they are.
    path: String,
    /// How many are in use.
    advisories: usize,
    /// When those were read, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    read: Option<String>,
}

impl Current {
    /// Advisories from a file or directory; nothing is read yet.
    pub fn new(path: PathBuf, registry: &Registry) -> Result<Self, prometheus::Error> {
        let loaded = IntGauge::new("relayd_advisories", "Advisories in use")?;
        let broken = IntGauge::new(
            "relayd_advisories_unreadable",
            "1 when the advisories as they are on disk cannot be read, else 0",
        )?;
        registry.register(Box::new(loaded.clone()))?;
        registry.register(Box::new(broken.clone()))?;
        Ok(Self { path, state: RwLock::default(), reading: Mutex::default(), loaded, broken })
    }

    /// Reads the files if they have changed, or anyway. The error is for people. Blocks.
    pub fn refresh(&self, anyway: bool) -> Result<(), String> {
        let _reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        // Before they are read: what changes meanwhile is read the next time.
        let fingerprint = load::fingerprint(&self.path);
        let (known, error) = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            (state.fingerprint, state.error.clone())
        };
        match (&fingerprint, error) {
            (Ok(fingerprint), error) if !anyway && known == Some(*fingerprint) => {
                return error.map_or(Ok(()), Err);
            }
            (Err(problem), Some(error)) if !anyway && error == problem.to_string() => return Err(error),
            _ => {}
        }
        let read = fingerprint.map(|fingerprint| (fingerprint, load::load(&self.path)));
        let (fingerprint, catalogue) = match read {
            Ok((fingerprint, catalogue)) => (Some(fingerprint), catalogue),
            Err(problem) => (None, Err(problem)),
        };
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.fingerprint = fingerprint;
        match catalogue {
            Ok(catalogue) => {
                info!(advisories = catalogue.len(), path = %self.path.display(), "advisories read");
                self.loaded.set(i64::try_from(catalogue.len()).unwrap_or(i64::MAX));
                self.broken.set(0);
                state.matched = Some(Arc::new(Matched::new(catalogue)));
                (state.read, state.error) = (Some(Utc::now()), None);
                Ok(())
            }
            Err(problem) => {
                let text = problem.to_string();
                let kept =
                    if state.matched.is_some() { "those read before stay in use" } else { "there are none" };
                error!("cannot read advisories: {text}; {kept}");
                self.broken.set(1);
                state.error = Some(text.clone());
                Err(text)
            }
        }
    }

    /// What is in use, read now if that was not done yet; the error says why there is nothing. Blocks.
    pub fn matched(&self) -> Result<Arc<Matched>, String> {
        match self.held() {
            Ok(Some(matched)) => Ok(matched),
            Ok(None) => {
                self.refresh(false)?;
                self.held()?.ok_or_else(|| "the advisories were not read".into())
            }
            Err(error) => Err(error),
        }
    }

    fn held(&self) -> Result<Option<Arc<Matched>>, String> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match (&state.matched, &state.error) {
            (Some(matched), _) => Ok(Some(matched.clone())),
            (None, Some(error)) => Err(format!("the advisories cannot be read: {error}")),
            (None, None) => Ok(None),
        }
    }

    /// Why the files as they are are not in use, if so.
    pub fn error(&self) -> Option<String> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).error.clone()
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For the status.
    pub fn shown(&self) -> Shown {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let kept = state.read.map(|read| format!("in use is what was read at {}", date(read)));
        let details = state
            .error
            .as_ref()
            .map(|error| format!("{error}; {}", kept.as_deref().unwrap_or("there are no advisories to use")));
        Shown {
            status: if details.is_some() { Outcome::Error } else { Outcome::Success },
            details,
            path: self.path.display().to_string(),
            advisories: state.matched.as_ref().map_or(0, |matched| matched.catalogue().len()),
            read: state.read.map(date),
        }
    }

    /// Looks from time to time whether the files have changed, until stopped. `warm` is called with advisories
    /// that are new, so that nobody has to wait for what is only slow the first time.
    pub async fn run(
        self: Arc<Self>,
        warm: impl Fn(&Matched) + Send + Sync + 'static,
        stop: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let warm = Arc::new(warm);
        let mut warmed: Option<Arc<Matched>> = None;
        loop {
            let (current, warm, last) = (self.clone(), warm.clone(), warmed.take());
            let look = move || {
                // An error is noted where it belongs.
                let _ = current.refresh(false);
                let now = current.held().ok().flatten();
                if let Some(new) =
                    now.as_ref().filter(|new| !last.is_some_and(|last| Arc::ptr_eq(new, &last)))
                {
                    warm(new);
                }
                now
            };
            // A panic was logged.
            warmed = tokio::task::spawn_blocking(look).await.ok().flatten();
            if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_broken_file_leaves_in_use_what_was_read_before() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ours.csv");
        let current = Current::new(file.clone(), &Registry::new()).unwrap();
        assert!(current.refresh(false).unwrap_err().contains("ours.csv: No such file"));
        assert!(current.matched().unwrap_err().contains("No such file"));
        assert_eq!(current.broken.get(), 1);

        fs::write(&file, "advisory,package\nA,b\n").unwrap();
        current.refresh(false).unwrap();
        let first = current.matched().unwrap();
        assert_eq!((current.loaded.get(), current.broken.get()), (1, 0));

        fs::write(&file, "advisory,package\nA,b\nB\n").unwrap();
        let error = current.refresh(false).unwrap_err();
        assert!(error.contains("ours.csv: ") && error.contains("line: 3"), "{error}");
        assert!(Arc::ptr_eq(&first, &current.matched().unwrap()));
        let shown = serde_json::to_value(current.shown()).unwrap();
        assert_eq!((&shown["status"], &shown["advisories"]), (&"error".into(), &1.into()));
        assert!(shown["details"].as_str().unwrap().contains("in use is what was read at"));
        // Nothing has changed: it still says so, without reading it again.
        assert_eq!(current.refresh(false), Err(error));

        fs::write(&file, "advisory,package\nA,b\nB,c\n").unwrap();
        current.refresh(false).unwrap();
        assert_eq!((current.loaded.get(), current.error()), (2, None));
        let second = current.matched().unwrap();
        current.refresh(false).unwrap();
        assert!(Arc::ptr_eq(&second, &current.matched().unwrap()));
        current.refresh(true).unwrap();
        assert!(!Arc::ptr_eq(&second, &current.matched().unwrap()));
    }
}
