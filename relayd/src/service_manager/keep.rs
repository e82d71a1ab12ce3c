// SPDX-License-Identifier: Apache-2.0
//! Keeps the service manager told: the status line when it changes, and that this process lives.
//!
//! The sign of life is worth something: it is sent from a task of the same runtime as all work, so it
//! stops when the runtime does, and it is withheld when a supervised task has ended or is stuck.

use std::time::Duration;

use tokio::time::sleep;
use tracing::error;

use sd_notify::NotifyState;

use super::{StatusLine, tell};
use crate::pulse::Pulses;

/// Time between two looks at the status line.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Tells until it is dropped. Returns at once when nobody listens.
pub async fn keep(line: StatusLine, pulses: Pulses) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    // Three chances before the service manager gives up.
    let pause = watchdog.map_or(STATUS_EVERY, |watchdog| STATUS_EVERY.min(watchdog / 3));
    let (mut last, mut complained) = (String::new(), false);
    loop {
        let text = line.text();
        if text != last {
            tell(&[NotifyState::Status(&text)]);
            last = text;
        }
        if let Some(watchdog) = watchdog {
            match pulses.ailing(watchdog / 2).await {
                None => {
                    complained = false;
                    tell(&[NotifyState::Watchdog]);
                }
                Some(ailing) if !complained => {
                    complained = true;
                    error!("{ailing}; the service manager gets no sign of life until that is over");
                }
                Some(_) => {}
            }
        }
        sleep(pause).await;
    }
}
