// SPDX-License-Identifier: Apache-2.0
use std::{ffi::OsStr, path::Path};

use prometheus::Registry;
use protocol::urls::UploadKind;

use super::*;
use crate::{
    config::SpoolSettings,
    spool::{
        SpoolFile,
        disposition::{Outcome, Release},
        later,
        name::About,
    },
};

struct Nowhere;

impl Sink for Nowhere {
    async fn deliver(&self, _: &SpoolFile) -> Disposition {
        Disposition::Accepted(Outcome::Stored)
    }
}

fn dispatcher(root: &Path) -> Dispatcher<Nowhere> {
    let settings = SpoolSettings {
        directory: root.to_owned(),
        sweep_every: Some(Duration::from_secs(3600)),
        max_file_size: 1000,
        max_in_flight: 16,
        clean_every: Duration::from_secs(3600),
        retention: Duration::from_secs(3600),
    };
    let spool = Spool::open(UploadKind::RunLog, &settings, &Registry::new()).unwrap();
    Dispatcher::new(spool, Arc::new(Nowhere))
}

/// Sweeps to the end, as the main loop does.
async fn sweep(dispatcher: &mut Dispatcher<Nowhere>) {
    let sweeper = &mut dispatcher.sweeper;
    loop {
        if sweeper.next().is_some() {
            continue;
        }
        match sweeper.due() {
            None => sweeper.part().await.unwrap(),
            Some(_) => return,
        }
    }
}

#[tokio::test]
async fn a_hint_that_comes_while_its_name_is_in_flight_is_followed_once_the_name_is_free() {
    let root = tempfile::tempdir().unwrap();
    let mut dispatcher = dispatcher(root.path());
    let name: FileName = Arc::from(OsStr::new("2018-08-24T15:55:01+00:00@root.log"));
    let (hinted, now) = ((name.clone(), Origin::Finished), Instant::now());
    let ended = |what| Ended { name: name.clone(), probe: false, about: About::nothing(), what };
    let stored = delivery::What::Accepted(Outcome::Stored, Evidence::Up);
    // What is put off is looked at again anyway, when its time has come.
    for (what, again) in
        [(stored, true), (delivery::What::TooYoung, true), (delivery::What::Incomplete, false)]
    {
        dispatcher.in_flight.insert(name.clone(), false);
        dispatcher.live.push_back(hinted.clone());
        assert_eq!(dispatcher.next(now), None, "one delivery per name at a time");
        dispatcher.ended(ended(what));
        assert_eq!(dispatcher.next(now), again.then(|| hinted.clone()));
    }
}

#[tokio::test]
async fn sweeps_make_a_pause_when_files_that_are_put_off_cannot_all_be_remembered() {
    let root = tempfile::tempdir().unwrap();
    let mut dispatcher = dispatcher(root.path());
    let put_off = |i: usize| {
        let release =
            Release { outlet_down: false, detail: "404".into(), retry_after: None, is_usual: false };
        let name = format!("2018-08-24T15:55:01+00:00@n{i}.log");
        Ended {
            name: Arc::from(OsStr::new(&name)),
            probe: false,
            about: About::nothing(),
            what: delivery::What::Released(release),
        }
    };
    sweep(&mut dispatcher).await;
    for i in 0..later::MOST {
        dispatcher.ended(put_off(i));
    }
    let soon = Instant::now() + Duration::from_secs(30);
    dispatcher.sweeper.now();
    assert!(dispatcher.sweeper.due().is_some_and(|due| due < soon));
    dispatcher.ended(put_off(later::MOST));
    dispatcher.sweeper.now();
    assert!(dispatcher.sweeper.due().is_some_and(|due| due > soon));
}

#[tokio::test]
async fn what_happens_to_all_files_of_a_kind_is_no_news() {
    let root = tempfile::tempdir().unwrap();
    let mut dispatcher = dispatcher(root.path());
    for is_usual in [true, false] {
        let release = Release { outlet_down: false, detail: "waits".into(), retry_after: None, is_usual };
        let name = Arc::from(OsStr::new("n1.ocs.gz"));
        let what = delivery::What::Released(release);
        dispatcher.ended(Ended { name, probe: false, about: About::nothing(), what });
        assert_eq!(dispatcher.put_off.borrow().is_none(), is_usual);
    }
}
