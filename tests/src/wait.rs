// SPDX-License-Identifier: Apache-2.0
//! Waiting for conditions, with a deadline.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::Result;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Calls `probe` until it gives something, at most for `limit`. The error says what was waited for
/// and, when `probe` failed last, why.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        interruption()?;
        let outcome = probe();
        if let Ok(Some(value)) = outcome {
            return Ok(value);
        }
        if start.elapsed() > limit {
            let last = outcome.err().map(|e| format!(" (last: {e})")).unwrap_or_default();
            return Err(format!("waited {} s in vain: {what}{last}", limit.as_secs()).into());
        }
        sleep(Duration::from_millis(20));
    }
}

/// Waits until `condition` holds, at most for `limit`.
pub fn until_true(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || condition().map(|holds| holds.then_some(())))
}

/// Makes Ctrl-C and SIGTERM end what waits with an error, so that everything is cleaned up on the way out.
pub fn heed_interruption() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .expect("SIGTERM can be handled");
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            INTERRUPTED.store(true, Ordering::Relaxed);
            // Keeps the handlers: a second signal must not end us in the middle of cleaning up.
            std::future::pending::<()>().await;
        });
    });
    Ok(())
}

/// An error once Ctrl-C was heeded.
pub fn interruption() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_waited_for_and_why_it_failed() {
        let error =
            until::<()>("the moon", Duration::ZERO, || Err("no rocket".into())).unwrap_err().to_string();
        assert!(error.contains("the moon") && error.contains("no rocket"), "{error}");
    }

    #[test]
    fn gives_what_the_probe_gives() {
        let mut calls = 0;
        let value = until("three calls", Duration::from_secs(10), || {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        });
        assert_eq!(value.unwrap(), 3);
    }
}
