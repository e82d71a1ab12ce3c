// SPDX-License-Identifier: Apache-2.0
//! Compatibility samples, through the whole store. `RELAYD_FIXTURES` says where they are; skipped
//! without them.

mod common;

use std::{fs, path::PathBuf};

use common::{
    cluster::shared,
    fleet::{Fleet, Rig, counts, number},
};
use protocol::{certificate, node_list::NodeList};
use relayd::{
    config::DatabaseUrl,
    nodes::NodeTable,
    spool::{
        Sink,
        disposition::{Disposition, Outcome, Reason},
    },
};

fn samples() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures");
    let directory = std::env::var_os("RELAYD_FIXTURES").map_or(default.into(), PathBuf::from);
    if !directory.is_dir() {
        eprintln!("skipped: no compatibility samples here, set RELAYD_FIXTURES");
        return None;
    }
    Some(directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_samples_of_existing_agents_are_stored_as_existing_servers_do() {
    let Some(samples) = samples() else { return };
    let list = NodeList::from_json(&fs::read(samples.join("nodeslist/nodeslist.json")).unwrap()).unwrap();
    let bundle = certificate::read_bundle(&fs::read(samples.join("keys/nodescerts.pem")).unwrap()).unwrap();
    let url = DatabaseUrl::Postgres(shared().url("postgres", &shared().create_database()));
    let rig = Rig::over(url.clone(), Fleet::new(0), NodeTable::new(list, bundle), &[]);

    let mut stored = 0;
    for (year, start) in [("2017", "2017-08-24 15:55:01+00"), ("2018", "2018-08-24 15:55:01+00")] {
        let signed = fs::read_dir(samples.join("runlogs"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| {
                let name = path.file_name().unwrap().to_string_lossy();
                name.starts_with(year) && name.ends_with(".signed")
            })
            .unwrap();
        let name = signed.file_stem().unwrap().to_str().unwrap().trim_end_matches(".log").to_owned();
        let file = rig.put(&format!("{name}.log"), &fs::read(&signed).unwrap());
        assert_eq!(rig.store.deliver(&file).await, Disposition::Accepted(Outcome::Stored), "{year}");
        stored += 1;
        assert_eq!(counts(&url), (72 * stored, stored, stored), "{year}");
        assert_eq!(rig.store.deliver(&file).await, Disposition::Accepted(Outcome::AlreadyStored), "{year}");
        assert_eq!(counts(&url), (72 * stored, stored, stored), "{year}");
        let run = format!(
            "SELECT count(*) FROM reportsexecution r JOIN ruddersysevents e ON e.id = r.insertionid \
             WHERE e.executiontimestamp = r.date AND nodeconfigid = '20180824-130007-3ad37587' \
             AND r.date = '{start}'"
        );
        assert_eq!(number(&url, &run), 1, "{year}");
    }

    // Altered after it was signed.
    let altered = fs::read(samples.join("smime/normal-diff.signed")).unwrap();
    let file = rig.put("2018-08-24T15:55:01+00:00@e745a140-40bc-4b86-b6dc-084488fc906b.log", &altered);
    let Disposition::Rejected(rejection) = rig.store.deliver(&file).await else {
        panic!("stored an altered log")
    };
    assert_eq!(rejection.reason, Reason::BadSignature);
}
