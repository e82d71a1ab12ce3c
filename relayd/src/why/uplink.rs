// SPDX-License-Identifier: Apache-2.0
//! Is the server above reached, and does it take what is sent?

use protocol::proxy::address::authority;

use super::gather::Evidence;
use crate::{
    config::RunLogOutput,
    finding::{Finding, Level, split},
};

pub(super) const NAME: &str = "uplink";

pub(super) fn check(e: &Evidence<'_>) -> Vec<Finding> {
    let Some(upstream) = &e.config.upstream else { return Vec::new() };
    let place = authority(&upstream.host, upstream.port);
    let forwards = e.config.run_logs.output == RunLogOutput::Upstream;
    let mut found = Vec::new();
    if let (true, Some(details)) = (forwards, e.outlet_down()) {
        let otherwise = "see that it runs and is reached from here, and [output.upstream] in main.conf";
        let (cause, remedy) = split(&details, otherwise);
        found.push(Finding::error(NAME, &place, format!("it takes nothing: {cause}"), remedy));
    }
    if let Some(Err(trouble)) = &e.uplink {
        let late = "see that it runs and is reached from here; --wait gives it more time";
        found.push(trouble.finding(NAME, &place, late));
    }
    if !forwards {
        // It has no part in the way of run logs.
        return found.into_iter().map(|finding| finding.at_most(Level::Warning)).collect();
    }
    found
}
