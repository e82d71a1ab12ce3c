// SPDX-License-Identifier: Apache-2.0
//! The socket unit that opens low ports for the daemon, which has no right to them.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use super::ports::NAME;
use crate::finding::Finding;

const UNIT: &str = "relayd-gateway.socket";

/// What systemd says of the unit: its `ActiveState`. `None` where there is no systemd, or no such unit.
pub(super) fn state() -> Option<String> {
    let asked = ["show", "--property=LoadState", "--property=ActiveState", UNIT];
    let output = Command::new("systemctl").args(asked).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| active_state(&String::from_utf8_lossy(&output.stdout)))?
}

fn active_state(shown: &str) -> Option<String> {
    let property = |name| shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let is_loaded = property("LoadState")? == "loaded";
    property("ActiveState").filter(|_| is_loaded).map(str::to_owned)
}

/// What to say of a low port that nobody has opened, while the daemon does not run.
pub(super) fn closed(address: SocketAddr, user: &str, first: u16, state: Option<&str>) -> Finding {
    let text = format!("{user} may not listen on ports below {first} by itself");
    match state {
        None => {
            let remedy = "start it by its systemd unit, which has the socket or the right for it; or choose a higher port";
            Finding::warning(NAME, address, text, remedy)
        }
        Some("active" | "activating" | "reloading") => {
            let text = format!("{text}, and {UNIT} is there, but has not this port");
            let remedy = format!(
                "give it the addresses of gateway.listen (`systemctl edit {UNIT}`, ListenStream=), and restart it"
            );
            Finding::error(NAME, address, text, remedy)
        }
        Some(state) => {
            let text = format!("{text}, and {UNIT}, which opens them for it, is {state}");
            // A socket is not started while its service runs.
            let remedy = format!(
                "`systemctl stop rudder-relayd`, `systemctl enable --now {UNIT}`, `systemctl start rudder-relayd`"
            );
            Finding::error(NAME, address, text, remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    #[test]
    fn only_a_unit_that_is_there_has_a_state() {
        let state = active_state("LoadState=loaded\nActiveState=inactive\n");
        assert_eq!(state.as_deref(), Some("inactive"));
        assert_eq!(active_state("LoadState=not-found\nActiveState=inactive\n"), None);
        assert_eq!(active_state("LoadState=masked\nActiveState=inactive\n"), None);
        assert_eq!(active_state(""), None);
    }

    #[test]
    fn a_unit_that_is_not_started_is_the_cause() {
        let finding = |state| closed("[::]:443".parse().unwrap(), "relay", 1024, state);
        assert_eq!(finding(None).level, Level::Warning);
        for (state, says, does) in [
            ("inactive", "opens them for it, is inactive", "systemctl enable --now relayd-gateway.socket"),
            ("failed", "opens them for it, is failed", "systemctl stop rudder-relayd"),
            ("active", "has not this port", "systemctl edit relayd-gateway.socket"),
        ] {
            let Finding { level, text, remedy, .. } = finding(Some(state));
            assert!(level == Level::Error && text.contains(says), "{text}");
            assert!(remedy.as_ref().unwrap().contains(does), "{remedy:?}");
        }
    }
}
