// SPDX-License-Identifier: Apache-2.0
//! What this process and the service manager (systemd) tell each other.
//!
//! ```text
//! service manager ──sockets, bound already──▶ sockets ──▶ gateway, local API
//!        ▲                                    credentials ──▶ configuration
//!        └── READY, RELOADING, STOPPING, STATUS, WATCHDOG ── here, keep
//! ```
//!
//! Without a service manager (no `NOTIFY_SOCKET`, sd_notify(3)) all of this does nothing. A message that
//! cannot be sent is logged for those who look, and nothing else: the service manager draws its own
//! conclusions.

mod keep;
mod sockets;
mod status;

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

pub use self::{
    keep::keep,
    sockets::{PassedSockets, Unusable},
    status::StatusLine,
};

/// Longer than the grace period by what closing takes.
const CLOSING: Duration = Duration::from_secs(15);

/// Everything is bound and works.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload begins; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!("no monotonic clock: {error}"),
    }
}

/// The end begins; it takes at most a little more than `grace`.
pub fn stopping(grace: Duration) {
    let most = u32::try_from((grace + CLOSING).as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("finishing what is under way"),
        NotifyState::ExtendTimeoutUsec(most),
    ]);
}

/// Says why this process does not start, for those who ask the service manager.
pub fn failed(why: &str) {
    tell(&[NotifyState::Status(&one_line(why))]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!("cannot tell the service manager: {error}");
    }
}

/// Lines are what separates messages.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
