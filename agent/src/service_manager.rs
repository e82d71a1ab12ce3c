// SPDX-License-Identifier: Apache-2.0
//! What the daemon tells the service manager (systemd, sd_notify(3)): that it is ready, what it does, that it
//! lives. Without a service manager all of this does nothing.

use std::{env, process::Command};

use sd_notify::NotifyState;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Everything is open and on schedule.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What `systemctl status` shows, on one line; asked for only when somebody listens.
pub fn status(text: impl FnOnce() -> String) {
    if listens() {
        tell(&[NotifyState::Status(&text().replace('\n', "; "))]);
    }
}

/// Tells until `stop` that this process lives: its one thread comes around to everything that it does.
pub async fn signs_of_life(stop: &CancellationToken) {
    if let Some(watchdog) = sd_notify::watchdog_enabled().filter(|_| listens()) {
        while !stop.is_cancelled() {
            tell(&[NotifyState::Watchdog]);
            stop.run_until_cancelled(sleep(watchdog / 3)).await;
        }
    }
    stop.cancelled().await;
    tell(&[NotifyState::Stopping, NotifyState::Status("waiting for what runs to end")]);
}

/// What others run is not the daemon: a server that a policy starts must not speak for it.
pub fn keep_from(command: &mut Command) {
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        command.env_remove(name);
    }
}

fn listens() -> bool {
    env::var_os("NOTIFY_SOCKET").is_some()
}

/// Nobody needs to know when it cannot be told: the service manager draws its own conclusions.
fn tell(state: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(state);
}
