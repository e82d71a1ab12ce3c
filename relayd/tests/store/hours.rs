// SPDX-License-Identifier: Apache-2.0
//! What questions about the fleet are asked of: two hours of run logs that were stored the usual way.

use std::time::Duration;

use chrono::{DateTime, Utc};
use relayd::{
    config::DatabaseUrl,
    db::Connection,
    fleet::{
        Paging, Settings, by_node, for_reading,
        sets::ResultFilter,
        state::Moment,
        summary::{self, Summary},
    },
    spool::disposition::{Disposition, Outcome},
};

use crate::common::fleet::{Fleet, Rig};

/// Two hours, of which the last minute is now.
pub struct Hours {
    begin: i64,
    pub settings: Settings,
    pub c: Connection,
}

pub const MINUTES: i64 = 120;
pub const ALL: Paging = Paging { after: None, limit: 10_000 };

impl Hours {
    pub fn unix(&self, minute: i64) -> i64 {
        self.begin + minute * 60
    }

    pub fn at(&self, minute: i64) -> Moment {
        let at = DateTime::from_timestamp(self.unix(minute), 0).unwrap();
        Moment::of(&self.settings, Some(at)).unwrap()
    }

    pub fn now(&self) -> Moment {
        Moment::now(&self.settings)
    }

    pub fn shown(&self, minute: i64) -> String {
        relayd::fleet::moment::show(self.unix(minute))
    }

    pub fn summary(&mut self, moment: Moment, node: Option<&str>, filter: &ResultFilter) -> Summary {
        summary::summary(&mut self.c, &self.settings, &moment, node, filter).unwrap()
    }

    pub fn ask(&self, moment: Moment) -> by_node::Ask {
        by_node::Ask { moment, node: None, filter: ResultFilter::default(), wanted: None }
    }
}

/// The run of a node in a minute: is its file wrong?
pub fn run_log(node: &str, start: i64, is_wrong: bool) -> String {
    let at = DateTime::from_timestamp(start, 0).unwrap();
    let (time, start) = (at.format("%Y-%m-%dT%H:%M:%S+00:00"), at.format("%Y-%m-%d %H:%M:%S+00:00"));
    let report = |policy: &str, kind: &str, rule: &str, component: &str, message: &str| {
        format!(
            "{time} R: @@{policy}@@{kind}@@{rule}@@d-{rule}@@0@@{component}@@/etc/x@@{start}##{node}@#{message}\n"
        )
    };
    let mut text = report("Common", "control", "rudder", "start", "Start execution");
    if is_wrong {
        text += &format!("{time}     info: looking at /etc/x\n{time}  warning: cannot write\nno room left\n");
        text += &report("Files", "result_error", "r1", "File", "it is wrong");
    } else {
        text += &report("Files", "result_success", "r1", "File", "it is right");
    }
    text += &report("Packages", "audit_compliant", "r2", "Package", "it is there");
    text + &report("Common", "control", "rudder", "end", "End execution")
}

/// `n0` runs each 5 minutes and is wrong from minute 60 on; `n1` is right and stops after minute 60; `n2` never
/// ran; `n3` is not accepted.
pub async fn two_hours(url: &DatabaseUrl) -> Hours {
    let rig = Rig::new(url.clone(), Fleet::new(2));
    let begin = Utc::now().timestamp() - MINUTES * 60;
    let mut files = Vec::new();
    for (node, last, wrong_from) in [("n0", 115, 60), ("n1", 60, 200)] {
        for minute in (0..=last).step_by(5) {
            let start = begin + minute * 60;
            let date = DateTime::from_timestamp(start, 0).unwrap().format("%Y-%m-%dT%H:%M:%S+00:00");
            let text = run_log(node, start, minute >= wrong_from);
            files.push(rig.put(&format!("{date}@{node}.log.gz"), &rig.fleet.pack(node, &text)));
        }
    }
    for disposition in rig.deliver_all(files).await {
        assert_eq!(disposition, Disposition::Accepted(Outcome::Stored));
    }
    let mut c = Connection::open(url).unwrap();
    for (node, state) in [("n0", "accepted"), ("n1", "accepted"), ("n2", "accepted"), ("n3", "pending")] {
        add_node(&mut c, node, state);
    }
    let settings = Settings::new(Duration::from_secs(300));
    Hours { begin, settings, c: for_reading(c).unwrap() }
}

/// Adds a node to the registry.
pub fn add_node(c: &mut Connection, node: &str, state: &str) {
    c.execute(&format!(
        "INSERT INTO node (nodeid, hostname, state, role, policy_server, requested, version) \
         VALUES ('{node}', '{node}.example.org', '{state}', 'node', 'root', 0, 1)"
    ))
    .unwrap();
}
