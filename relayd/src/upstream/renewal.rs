// SPDX-License-Identifier: Apache-2.0
//! Notices that the files with which the upstream is talked to were replaced: a relay's key rolls over
//! like that of any node, and the old one ends some time later.

use std::{
    fmt::Display,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the files are looked at: far more often than keys end.
pub const EVERY: Duration = Duration::from_secs(10);

/// What tells one state of a file from another; `None` when it is not there.
type Facts = Option<(u64, i64, i64, u64)>;

/// Calls `reload` each time one of the files was replaced, until stopped. While that fails, as between the
/// replacements of a certificate and its key, it is tried again.
pub async fn watch<E: Display + Send + 'static>(
    files: Vec<PathBuf>,
    every: Duration,
    reload: Arc<dyn Fn() -> Result<(), E> + Send + Sync>,
    stop: CancellationToken,
) -> Result<(), std::convert::Infallible> {
    // They may have been replaced since they were read: the first look always reads them.
    let mut loaded = None;
    let mut failed = None;
    while stop.run_until_cancelled(sleep(every)).await.is_some() {
        let now = facts(&files);
        if loaded.as_ref() == Some(&now) {
            continue;
        }
        let reload = reload.clone();
        let reloaded = spawn_blocking(move || reload().map_err(|error| error.to_string())).await;
        match reloaded.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(()) => {
                if loaded.is_some() {
                    info!("certificates for the upstream were replaced; the new ones are in use");
                }
                loaded = Some(now);
            }
            Err(error) => {
                if failed.as_ref() != Some(&now) {
                    warn!(
                        "certificates for the upstream were replaced, but: {error}; those read earlier stay in use"
                    );
                }
                failed = Some(now);
            }
        }
    }
    Ok(())
}

fn facts(files: &[PathBuf]) -> Vec<Facts> {
    let facts = |file: &Path| {
        let facts = std::fs::metadata(file).ok()?;
        Some((facts.ino(), facts.mtime(), facts.mtime_nsec(), facts.len()))
    };
    files.iter().map(|file| facts(file)).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn reloads_after_a_replacement_until_it_succeeds() {
        let directory = tempfile::tempdir().unwrap();
        let files = vec![directory.path().join("cert"), directory.path().join("key")];
        fs::write(&files[0], "one").unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let (reload, enough) = (calls.clone(), Arc::new(tokio::sync::Notify::new()));
        let (stop, told) = (CancellationToken::new(), enough.clone());
        let reload = move || match reload.fetch_add(1, Ordering::SeqCst) {
            1 | 2 => Err("the key does not fit"),
            _ => {
                told.notify_one();
                Ok(())
            }
        };
        let every = Duration::from_millis(5);
        let watching = tokio::spawn(watch(files.clone(), every, Arc::new(reload), stop.clone()));
        timeout(Duration::from_secs(10), enough.notified()).await.unwrap();
        sleep(every * 4).await;
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        // One that was not there before counts as well.
        for (file, calls_then) in [(&files[1], 4), (&files[0], 5)] {
            fs::write(directory.path().join("new"), "another").unwrap();
            fs::rename(directory.path().join("new"), file).unwrap();
            timeout(Duration::from_secs(10), enough.notified()).await.unwrap();
            sleep(every * 4).await;
            assert_eq!(calls.load(Ordering::SeqCst), calls_then);
        }
        stop.cancel();
        timeout(Duration::from_secs(10), watching).await.unwrap().unwrap().unwrap();
    }
}
