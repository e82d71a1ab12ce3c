// SPDX-License-Identifier: Apache-2.0
//! Passes of the daemon: at start, then each hour, and sooner again when something could not be done.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    metrics::Metrics,
    pass::{Pass, Setting, prepare, run},
};
use crate::{
    db::{Database, DbError},
    spool::clock::Clock,
};

/// Time between two passes.
const EVERY: Duration = Duration::from_secs(3600);
/// The same while something is left to be done.
const AGAIN: Duration = Duration::from_secs(60);
/// For how long locks may be in the way before that is a warning.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Makes the passes.
pub struct Keeper {
    database: Database,
    setting: Setting,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    last: Option<Instant>,
    failing_since: Option<Instant>,
    told_of_others: bool,
}

impl Keeper {
    /// Makes the partitions of the days to come at once, before anything is stored. Blocks.
    pub fn start(
        database: Database,
        setting: Setting,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(registry)?;
        let mut keeper = Self {
            database,
            setting,
            clock,
            metrics,
            last: None,
            failing_since: None,
            told_of_others: false,
        };
        let prepared = keeper
            .database
            .connect()
            .and_then(|mut c| Ok(prepare(&mut c, &keeper.setting.keep, keeper.wall())?));
        match prepared {
            Ok(Some(pass)) => {
                keeper.metrics.count(&pass);
                keeper.tell(&pass);
            }
            Ok(None) => {}
            // What is stored meanwhile waits in the default partitions; a pass comes soon.
            Err(error) => warn!("partitions for the days to come are not made yet: {error}"),
        }
        Ok(keeper)
    }

    /// Works until stopped.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            let looked = tokio::task::spawn_blocking(move || {
                let wait = self.look();
                (self, wait)
            });
            let wait = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                looked = looked => match looked {
                    Ok((keeper, wait)) => {
                        self = keeper;
                        wait
                    }
                    // It panicked, which was logged; without it the daemon must not go on.
                    Err(error) => std::panic::resume_unwind(Box::new(error.to_string())),
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Makes a pass; returns when to make the next one. Blocks.
    fn look(&mut self) -> Duration {
        match self.pass() {
            Ok(Some(pass)) => {
                self.metrics.count(&pass);
                self.tell(&pass);
                if pass.problems.is_empty() { EVERY } else { AGAIN }
            }
            Ok(None) => {
                debug!("another process looks after the partitions now");
                EVERY
            }
            Err(error) => {
                self.metrics.failed();
                self.failing(&format!("retention cannot work: {error}"));
                AGAIN
            }
        }
    }

    fn pass(&mut self) -> Result<Option<Pass>, DbError> {
        let mut connection = self.database.connect()?;
        let steady = self.clock.steady();
        let passed = self.last.map(|last| steady.saturating_duration_since(last));
        let pass = run(&mut connection, &self.setting, self.wall(), passed)?;
        if pass.is_some() {
            self.last = Some(steady);
        }
        Ok(pass)
    }

    fn wall(&self) -> i64 {
        let since = self.clock.wall().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }

    fn tell(&mut self, pass: &Pass) {
        for made in &pass.made {
            match made.moved {
                0 => debug!("partition {} made", made.name),
                moved => info!("partition {} made; {moved} rows had waited for it", made.name),
            }
        }
        for dropped in &pass.dropped {
            info!("partition {} dropped: {} bytes", dropped.name, dropped.bytes);
        }
        if pass.rows > 0 {
            info!("{} rows deleted that are no longer kept", pass.rows);
        }
        if let Some(doubt) = &pass.doubt {
            warn!("{doubt}");
        }
        if let (false, Some(table)) = (self.told_of_others, pass.of_others.first()) {
            self.told_of_others = true;
            warn!(
                "{table} belongs to another database role, so its partitions are not looked after here: run \
                 `relayd database maintain --url URL` as that role each day"
            );
        }
        if let [table, ..] = pass.without_today.as_slice() {
            warn!(
                "{table}, of another database role, has no partition for today: what is stored now waits in the \
                 default one, and more of it makes that harder to mend; run `relayd database maintain --url URL` \
                 as that role now"
            );
        }
        match pass.problems.as_slice() {
            [] => self.failing_since = None,
            problems => {
                for problem in problems {
                    let held = match problem.holders.as_slice() {
                        [] => String::new(),
                        holders => format!("; locks are held by {}", holders.join(", ")),
                    };
                    self.failing(&format!("{}{held}", problem.text));
                }
            }
        }
    }

    /// Locks may be in the way for a while: that is said loudly only when it does not end.
    fn failing(&mut self, text: &str) {
        let since = *self.failing_since.get_or_insert_with(Instant::now);
        match since.elapsed() > PATIENCE {
            true => warn!("{text}"),
            false => info!("{text}"),
        }
    }
}
