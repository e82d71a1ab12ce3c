// SPDX-License-Identifier: Apache-2.0
//! The server above: is it reached, and is it the right one?

use std::time::Duration;

use chrono::Utc;
use protocol::proxy::address::authority;

use super::{Clock, Examined};
use crate::{
    finding::Finding,
    why::gather::{Trouble, try_uplink},
};

pub(super) const NAME: &str = "uplink";

const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn check(x: &mut Examined<'_>) -> Vec<Finding> {
    let Some(upstream) = &x.config.upstream else { return Vec::new() };
    let place = authority(&upstream.host, upstream.port);
    match try_uplink(upstream, PATIENCE) {
        Ok(time) => {
            x.clocks.extend(time.map(|there| Clock { of: place, there, here: Utc::now() }));
            Vec::new()
        }
        Err(Trouble::Unasked(cause, remedy)) => vec![Finding::unknown(NAME, place, cause, remedy)],
        Err(Trouble::Failed(cause, remedy)) => vec![Finding::error(NAME, place, cause, remedy)],
        Err(Trouble::Late(wait)) => {
            let remedy = "see that it runs and is reached from here";
            vec![Finding::error(NAME, place, format!("it does not answer within {wait:?}"), remedy)]
        }
    }
}
