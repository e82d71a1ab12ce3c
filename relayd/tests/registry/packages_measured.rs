// SPDX-License-Identifier: Apache-2.0
//! How long questions about packages and advisories take with a large fleet.

use std::{
    fmt::Write as _,
    fs,
    time::{Duration, Instant},
};

use relayd::{
    advisories::{
        exposure::Matched,
        load,
        report::{self, Filter as Wanted},
    },
    fleet::Paging,
    packages::found::{self, Filter},
};

use crate::software::{DEBIAN, Fleet, Numbers, Package, ROCKY};

fn paging(limit: usize) -> Paging {
    Paging { after: None, limit }
}

/// How long questions take with 10,000 nodes of 2,000 packages each, most of which they have in common. Prints it:
/// `cargo test --release -p relayd --no-default-features --test registry ten_thousand -- --ignored --nocapture`.
#[test]
#[ignore = "measures; takes a minute"]
fn ten_thousand_nodes() {
    let place = crate::rig::postgres();
    let mut c = place.connect();
    let (mut fleet, mut numbers) = (Fleet::default(), Numbers(1));
    for node in 0..10_000 {
        let (os, kind) = if node % 4 == 0 { (ROCKY, "rpm") } else { (DEBIAN, "dpkg") };
        // Few states that most nodes are in, and twenty packages of each node's own.
        let state = node % 12;
        let mut packages: Vec<Package> = (0..2000)
            .map(|n| (format!("package{n}"), format!("1.{}-1", (n + state / 4) % 3), kind))
            .collect();
        for _ in 0..20 {
            packages[numbers.below(2000)].1 = format!("2.{}-1", numbers.below(5));
        }
        fleet.add(os, packages);
    }
    let start = Instant::now();
    fleet.store(&mut c);
    c.execute("ANALYZE").unwrap();
    println!(
        "{} packages, {} chunks, stored in {:.1?}",
        fleet.packages.len(),
        fleet.chunks.len(),
        start.elapsed()
    );
    let mut list = "advisory,package,distribution,release,fixed,severity\n".to_owned();
    for number in 0..20_000 {
        let (name, fixed) = (number % 4000, number % 3);
        writeln!(list, "A-{number},package{name},debian,{},1.{fixed}-1,high", 10 + number % 4).unwrap();
    }
    let file = place.path("a.csv");
    fs::write(&file, list).unwrap();
    let matched = Matched::new(timed("read 20,000 advisories", || load::load(&file)).unwrap());
    let mut c = relayd::fleet::for_reading(c).unwrap();
    let mut which = |name: &str, versions: &[&str]| {
        let versions = versions.iter().map(|one| one.parse().unwrap()).collect();
        let filter = Filter { name: Some(name.into()), versions, ..Filter::default() };
        median(&format!("nodes with {name} {:?}", filter.versions), || {
            found::on_nodes(&mut c, &filter, &paging(100)).unwrap().nodes
        });
        median(&format!("versions of {name}"), || {
            found::versions(&mut c, &filter, &paging(100)).unwrap().nodes
        });
    };
    which("package77", &["<=1.1"]);
    which("package77", &[]);
    which("package7*", &["<1.1"]);
    let everything = Wanted::default();
    let page = paging(100);
    timed("first report", || report::by_advisory(&mut c, &matched, &everything, &page).unwrap());
    median("by advisory", || report::by_advisory(&mut c, &matched, &everything, &page).unwrap().items.len());
    median("by node", || report::by_node(&mut c, &matched, &everything, &page).unwrap().items.len());
    median("by package", || report::by_package(&mut c, &matched, &everything, &page).unwrap().items.len());
    median("findings", || report::findings(&mut c, &matched, &everything, &page).unwrap().items.len());
    let one = Wanted { node: Some("node-00077".into()), ..Wanted::default() };
    median("findings of a node", || report::findings(&mut c, &matched, &one, &page).unwrap().items.len());
}

fn timed<T>(what: &str, mut work: impl FnMut() -> T) -> T {
    let start = Instant::now();
    let result = work();
    println!("{what}: {:.1?}", start.elapsed());
    result
}

fn median<T: std::fmt::Debug>(what: &str, mut work: impl FnMut() -> T) {
    let mut times: Vec<Duration> = Vec::new();
    let mut last = None;
    for _ in 0..11 {
        let start = Instant::now();
        last = Some(work());
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("{what}: median {:.1?}, worst {:.1?}, gives {last:?}", times[5], times[10]);
}
