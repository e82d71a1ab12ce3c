// SPDX-License-Identifier: Apache-2.0
//! Deliveries per second over the last minute, from the counters that the metrics have.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    api::Outcome,
    spool::{self, metrics::Totals},
};

/// Time between two looks at the counters.
const EVERY: Duration = Duration::from_secs(5);
/// Looks that are remembered: those of a minute, and the one before.
const KEPT: usize = 13;

/// Looks at the counters of all spools now and then.
pub struct Rates {
    spools: Vec<spool::Status>,
    looks: Mutex<VecDeque<Look>>,
}

struct Look {
    at: Instant,
    totals: Vec<Totals>,
}

/// How much is delivered.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RatesShown {
    /// Always `success`.
    status: Outcome,
    /// Over how many seconds; less than 60 just after the start.
    window_seconds: u64,
    /// By spool.
    spools: BTreeMap<&'static str, SpoolRates>,
}

/// Files of one spool.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SpoolRates {
    /// Stored, or taken by the server above.
    accepted_per_second: f64,
    /// Moved to `failed/`.
    rejected_per_second: f64,
    /// Put off until later; those that wait for a closed outlet as well.
    released_per_second: f64,
}

impl Rates {
    /// Takes the first look.
    pub fn new(spools: Vec<spool::Status>) -> Arc<Self> {
        let rates = Self { spools, looks: Mutex::default() };
        rates.look(Instant::now());
        Arc::new(rates)
    }

    /// Looks every five seconds until stopped.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), Infallible> {
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            self.look(Instant::now());
        }
        Ok(())
    }

    fn look(&self, at: Instant) {
        let totals = self.totals();
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.push_back(Look { at, totals });
        if looks.len() > KEPT {
            looks.pop_front();
        }
    }

    fn totals(&self) -> Vec<Totals> {
        self.spools.iter().map(spool::Status::totals).collect()
    }

    /// As of now.
    pub fn shown(&self) -> RatesShown {
        self.shown_at(Instant::now())
    }

    fn shown_at(&self, now: Instant) -> RatesShown {
        let totals = self.totals();
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let window = looks.front().map_or(Duration::ZERO, |look| now.saturating_duration_since(look.at));
        let spools = self.spools.iter().zip(&totals).enumerate().map(|(index, (spool, now))| {
            let then = looks.front().and_then(|look| look.totals.get(index)).unwrap_or(now);
            (spool.kind().segment(), SpoolRates::between(then, now, window))
        });
        RatesShown { status: Outcome::Success, window_seconds: window.as_secs(), spools: spools.collect() }
    }
}

impl SpoolRates {
    fn between(then: &Totals, now: &Totals, window: Duration) -> Self {
        // Not more than three decimals, and no division by a window of nothing.
        let seconds = window.as_secs_f64().max(1.0);
        let rate =
            |then: u64, now: u64| (now.saturating_sub(then) as f64 / seconds * 1000.0).round() / 1000.0;
        Self {
            accepted_per_second: rate(then.accepted, now.accepted),
            rejected_per_second: rate(then.rejected, now.rejected),
            released_per_second: rate(then.released, now.released),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;
    use protocol::urls::UploadKind;

    use super::*;
    use crate::spool::metrics::{GateState, Metrics};

    #[test]
    fn a_rate_is_what_was_counted_in_the_last_minute() {
        let metrics = Metrics::new(UploadKind::RunLog, &Registry::new()).unwrap();
        let gate = tokio::sync::watch::Sender::new(GateState::Open);
        let put_off = tokio::sync::watch::Sender::new(None);
        let rates =
            Rates::new(vec![spool::Status::new(UploadKind::RunLog, metrics.clone(), &gate, &put_off)]);
        let start = Instant::now();
        metrics.accepted.inc_by(300);
        metrics.rejected.with_label_values(&["bad_name"]).inc_by(6);
        let shown = rates.shown_at(start + Duration::from_secs(30));
        assert_eq!(shown.window_seconds, 30);
        let spool = &shown.spools["reports"];
        assert!((9.9..=10.0).contains(&spool.accepted_per_second), "{spool:?}");
        assert!((0.19..=0.2).contains(&spool.rejected_per_second), "{spool:?}");
        // What is older than a minute is forgotten.
        for step in 1..=u32::try_from(KEPT).unwrap() {
            rates.look(start + EVERY * step);
        }
        let shown = rates.shown_at(start + EVERY * 13);
        assert_eq!(shown.window_seconds, 60);
        assert_eq!(shown.spools["reports"].accepted_per_second, 0.0);
    }
}
