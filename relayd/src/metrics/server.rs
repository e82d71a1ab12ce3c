// SPDX-License-Identifier: Apache-2.0
//! The server as a whole: which it is, its disks, its log. All but the first are looked at when asked for.

use std::{collections::BTreeSet, path::PathBuf};

use prometheus::{
    IntGauge, IntGaugeVec, Opts, Registry,
    core::{Collector, Desc},
    proto::{Counter, Metric, MetricFamily, MetricType},
};

use crate::{config::Config, status::Role};

/// Makes and registers the metrics of the server as a whole.
pub fn register(config: &Config, registry: &Registry) -> Result<(), prometheus::Error> {
    let role = Role::of(config).word();
    let info = Opts::new("relayd_info", "Always 1; which server this is, in its labels")
        .const_label("node_id", config.general.node_id.as_str())
        .const_label("role", role)
        .const_label("version", env!("CARGO_PKG_VERSION"))
        .const_label("openssl", openssl::version::version());
    let info = IntGauge::with_opts(info)?;
    info.set(1);
    registry.register(Box::new(info))?;
    registry.register(Box::new(Disks::new(config)?))?;
    registry.register(Box::new(Log::new()?))
}

/// Room on the disks of the directories that fill up.
struct Disks {
    directories: BTreeSet<PathBuf>,
    free: IntGaugeVec,
    size: IntGaugeVec,
}

impl Disks {
    fn new(config: &Config) -> Result<Self, prometheus::Error> {
        let mut directories = BTreeSet::from([
            config.run_logs.spool.directory.clone(),
            config.inventories.spool.directory.clone(),
            config.shared_files.path.clone(),
        ]);
        directories.extend(config.cache.as_ref().map(|cache| cache.directory.clone()));
        let free = "Room on the disk of a directory, for this process";
        let size = "Size of the disk of a directory";
        Ok(Self {
            directories,
            free: IntGaugeVec::new(Opts::new("relayd_disk_free_bytes", free), &["directory"])?,
            size: IntGaugeVec::new(Opts::new("relayd_disk_size_bytes", size), &["directory"])?,
        })
    }
}

impl Collector for Disks {
    fn desc(&self) -> Vec<&Desc> {
        [self.free.desc(), self.size.desc()].concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for directory in &self.directories {
            let label = directory.to_string_lossy();
            let Ok(disk) = rustix::fs::statvfs(directory) else {
                // It is not there: nothing said is better than something wrong.
                let _ = self.free.remove_label_values(&[&label]);
                let _ = self.size.remove_label_values(&[&label]);
                continue;
            };
            let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(disk.f_frsize)).unwrap_or(i64::MAX);
            self.free.with_label_values(&[&label]).set(bytes(disk.f_bavail));
            self.size.with_label_values(&[&label]).set(bytes(disk.f_blocks));
        }
        [self.free.collect(), self.size.collect()].concat()
    }
}

/// What the log has counted by itself.
struct Log {
    events: Desc,
    lost: Desc,
}

impl Log {
    fn new() -> Result<Self, prometheus::Error> {
        let events = "Events of this level, whether written or held back as repeats";
        let lost = "Events that the journal did not take";
        Ok(Self {
            events: Desc::new(
                "relayd_log_events_total".into(),
                events.into(),
                vec!["level".into()],
                Default::default(),
            )?,
            lost: Desc::new("relayd_log_lost_total".into(), lost.into(), vec![], Default::default())?,
        })
    }
}

impl Collector for Log {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.events, &self.lost]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let (errors, warnings) = logging::counted();
        let events = [("error", errors), ("warn", warnings)].map(|(level, count)| {
            let mut label = prometheus::proto::LabelPair::default();
            label.set_name("level".into());
            label.set_value(level.into());
            counter(count, vec![label])
        });
        vec![family(&self.events, events.into()), family(&self.lost, vec![counter(logging::lost(), vec![])])]
    }
}

fn counter(count: u64, labels: Vec<prometheus::proto::LabelPair>) -> Metric {
    let mut value = Counter::default();
    value.set_value(count as f64);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(value);
    metric
}

fn family(desc: &Desc, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(MetricType::COUNTER);
    family.set_metric(metrics);
    family
}
