// SPDX-License-Identifier: Apache-2.0
//! Questions about packages and advisories, compared with what counting everything gives.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
};

use relayd::{
    advisories::{
        current::Current,
        exposure::Matched,
        load,
        report::{self, Filter as Wanted},
        severity::Severity,
    },
    db::{Connection, query::Value},
    fleet::{Page, Paging, Trouble},
    inventories::bucket,
    packages::{
        found::{self, Filter},
        updates::{self, Offers},
    },
};

use crate::{
    on_both,
    rig::Place,
    software::{DEBIAN, Fleet, Numbers, ROCKY, digest, insert},
};

on_both!(
    packages_are_found_on_the_nodes_that_have_them,
    findings_are_those_of_every_node_package_and_advisory,
    the_report_is_of_the_latest_inventories_and_advisories,
    updates_on_offer_are_counted_by_package_and_by_node,
    nodes_that_are_not_accepted_are_not_counted
);

fn some_fleet() -> Fleet {
    let (mut fleet, mut numbers) = (Fleet::default(), Numbers(7));
    for node in 0..40 {
        let (os, kind) = if node % 3 == 0 { (ROCKY, "rpm") } else { (DEBIAN, "dpkg") };
        let mut packages = Vec::new();
        for number in 0..30 {
            if numbers.below(4) > 0 {
                let version = format!("1.{}-{}", [2, 9, 10][numbers.below(3)], numbers.below(2));
                packages.push((format!("lib{}", number % 25), version, kind));
            }
        }
        packages.sort_unstable();
        packages.dedup();
        fleet.add(os, packages);
    }
    fleet
}

fn paging(limit: usize) -> Paging {
    Paging { after: None, limit }
}

/// All items, by small pages.
fn all<T>(mut ask: impl FnMut(&Paging) -> Page<T>) -> Vec<T> {
    let (mut items, mut asked) = (Vec::new(), paging(7));
    loop {
        let page = ask(&asked);
        assert!(page.items.len() <= 7);
        items.extend(page.items);
        match page.next {
            None => return items,
            after => asked.after = after,
        }
    }
}

async fn packages_are_found_on_the_nodes_that_have_them(place: Place) {
    let (mut c, fleet) = (place.connect(), some_fleet());
    fleet.store(&mut c);
    type Holds = fn(&str) -> bool;
    let conditions: &[(&str, Holds)] = &[
        ("<1.10", |version| !version.starts_with("1.10")),
        (">=1.9-1", |version| version.starts_with("1.10") || version == "1.9-1"),
        ("=1.2-0", |version| version == "1.2-0"),
    ];
    for (condition, holds) in conditions {
        for name in ["lib3", "lib*", "lib?", "none"] {
            // In rpm's eyes a condition without release is about versions alone; here both give the same.
            let filter = Filter {
                name: Some(name.into()),
                versions: vec![condition.parse().unwrap()],
                ..Filter::default()
            };
            let mut expected = Vec::new();
            for node in &fleet.nodes {
                for (package, version, kind) in &node.packages {
                    let named = match name {
                        "lib*" => true,
                        "lib?" => package.len() == 4,
                        exact => package == exact,
                    };
                    if named && holds(version) {
                        expected.push((node.id.clone(), package.clone(), version.clone(), *kind));
                    }
                }
            }
            let found = all(|paging| found::on_nodes(&mut c, &filter, paging).unwrap().page);
            let mut found: Vec<_> = found
                .iter()
                .map(|on| (on.node_id.clone(), on.name.clone(), on.version.clone(), &*on.kind))
                .collect();
            let by_node: Vec<_> = found.iter().map(|on| on.0.clone()).collect();
            assert!(by_node.is_sorted());
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{name}{condition}");
            let nodes: BTreeSet<_> = expected.iter().map(|on| on.0.clone()).collect();
            let mut counts: BTreeMap<(String, String, String), u64> = BTreeMap::new();
            for (_, name, version, kind) in &expected {
                *counts.entry((name.clone(), version.clone(), (*kind).into())).or_default() += 1;
            }
            assert_eq!(found::on_nodes(&mut c, &filter, &paging(1)).unwrap().nodes, nodes.len() as u64);
            let versions = all(|paging| found::versions(&mut c, &filter, paging).unwrap().page);
            let versions = versions.into_iter().map(|of| ((of.name, of.version, of.kind), of.nodes));
            assert_eq!(versions.collect::<BTreeMap<_, _>>(), counts);
        }
    }
    let one = Filter { name: Some("lib*".into()), node: Some("node-00004".into()), ..Filter::default() };
    let found = all(|paging| found::on_nodes(&mut c, &one, paging).unwrap().page);
    assert_eq!(found.len(), fleet.nodes[4].packages.len());
}

const ADVISORIES: &str = "\
advisory,package,distribution,release,fixed,introduced,severity,aliases
A-1,lib1,debian,12,1.10-1,,critical,CVE-1
A-1,lib2,debian,12,1.10-1,,critical,CVE-1
A-2,lib1,,,1.9-1,,high,
A-3,lib1,rocky,9,,1.9-0,medium,
A-4,lib4,debian,11,9,,low,
A-5,lib5,,,,,,
A-5,lib5,debian,,,,,
";

async fn findings_are_those_of_every_node_package_and_advisory(place: Place) {
    let (mut c, fleet) = (place.connect(), some_fleet());
    fleet.store(&mut c);
    let file = place.path("a.csv");
    fs::write(&file, ADVISORIES).unwrap();
    let matched = Matched::new(load::load(&file).unwrap());
    // Written down once more, by hand.
    let order = ["1.2-0", "1.2-1", "1.9-0", "1.9-1", "1.10-0", "1.10-1"];
    let at = |version: &str| order.iter().position(|one| *one == version).unwrap();
    let mut expected = Vec::new();
    for node in &fleet.nodes {
        let (debian, rocky) = (node.os == DEBIAN, node.os == ROCKY);
        for (name, version, _) in &node.packages {
            let mut is = |advisory: &str, fixed: Option<&str>, holds: bool| {
                let row = (node.id.clone(), name.clone(), version.clone(), advisory.to_owned());
                expected.extend(holds.then(|| (row, fixed.map(str::to_owned))));
            };
            let named = name == "lib1" || name == "lib2";
            is("A-1", Some("1.10-1"), debian && named && at(version) < at("1.10-1"));
            is("A-2", Some("1.9-1"), name == "lib1" && at(version) < at("1.9-1"));
            is("A-3", None, rocky && name == "lib1" && at(version) >= at("1.9-0"));
            is("A-5", None, name == "lib5");
        }
    }
    expected.sort_unstable();
    let everything = Wanted::default();
    let found = all(|paging| report::findings(&mut c, &matched, &everything, paging).unwrap());
    let mut found: Vec<_> = found
        .into_iter()
        .map(|row| ((row.node_id, row.name, row.version, row.advisory), row.fixed))
        .collect();
    found.sort_unstable();
    assert_eq!(found, expected);

    let advisories = all(|paging| report::by_advisory(&mut c, &matched, &everything, paging).unwrap());
    let order: Vec<_> = advisories.iter().map(|row| row.advisory.as_str()).collect();
    assert_eq!(order, ["A-1", "A-2", "A-3", "A-5"]);
    let nodes_with = |advisory: &str| {
        let of = expected.iter().filter(|((.., one), _)| one == advisory);
        of.map(|((node, ..), _)| node.clone()).collect::<BTreeSet<_>>().len() as u64
    };
    for row in &advisories {
        assert_eq!(row.nodes, nodes_with(&row.advisory), "{row:?}");
    }
    assert_eq!(advisories[0].packages, ["lib1", "lib2"]);

    let nodes = all(|paging| report::by_node(&mut c, &matched, &everything, paging).unwrap());
    assert!(nodes.is_sorted_by(|a, b| (a.critical, a.high) >= (b.critical, b.high)));
    let ids: BTreeSet<_> = expected.iter().map(|((node, ..), _)| node.clone()).collect();
    assert_eq!(nodes.iter().map(|row| row.node_id.clone()).collect::<BTreeSet<_>>(), ids);

    let packages = all(|paging| report::by_package(&mut c, &matched, &everything, paging).unwrap());
    for row in &packages {
        let of =
            expected.iter().filter(|((_, name, version, _), _)| *name == row.name && *version == row.version);
        let of: Vec<_> = of.collect();
        let nodes: BTreeSet<_> = of.iter().map(|((node, ..), _)| node.clone()).collect();
        assert!(nodes.len() as u64 >= row.nodes && row.nodes > 0, "{row:?}");
    }

    let some = Wanted { advisory: Some("CVE-1".into()), package: Some("*2".into()), ..Wanted::default() };
    let found = all(|paging| report::findings(&mut c, &matched, &some, paging).unwrap());
    let wanted = expected.iter().filter(|((_, name, _, advisory), _)| name == "lib2" && advisory == "A-1");
    assert_eq!(found.len(), wanted.count());
    let misspelt = Wanted { advisory: Some("CVE-l".into()), ..Wanted::default() };
    let refused = report::findings(&mut c, &matched, &misspelt, &paging(7));
    assert!(matches!(refused, Err(Trouble::Missing(_))), "that is no answer of a report");
    let severe = Wanted { severity: Some(Severity::High), fixed: Some(true), ..Wanted::default() };
    assert_eq!(all(|paging| report::by_advisory(&mut c, &matched, &severe, paging).unwrap()).len(), 2);
    let unmended = Wanted { fixed: Some(false), ..Wanted::default() };
    let ids = all(|paging| report::by_advisory(&mut c, &matched, &unmended, paging).unwrap());
    assert_eq!(ids.iter().map(|row| row.advisory.as_str()).collect::<Vec<_>>(), ["A-3", "A-5"]);
}

async fn the_report_is_of_the_latest_inventories_and_advisories(place: Place) {
    let (mut c, file) = (place.connect(), place.path("a.csv"));
    let current = Current::new(file.clone(), &prometheus::Registry::new()).unwrap();
    let package = |version: &str| vec![("bash".to_owned(), version.to_owned(), "dpkg")];
    let mut fleet = Fleet::default();
    fleet.add(DEBIAN, package("5.1-1"));
    fleet.add(DEBIAN, package("5.2-1"));
    fleet.store(&mut c);
    let nodes = |c: &mut Connection, current: &Current| {
        let matched = current.matched().unwrap();
        let rows = report::by_node(c, &matched, &Wanted::default(), &paging(10)).unwrap().items;
        rows.into_iter().map(|row| row.node_id).collect::<Vec<_>>()
    };
    fs::write(&file, "advisory,package,fixed\nA,bash,5.2-1\n").unwrap();
    current.refresh(false).unwrap();
    assert_eq!(nodes(&mut c, &current), ["node-00000"]);
    // The node is mended, and another one comes with the old version: rows that nobody has seen.
    let sql =
        "UPDATE inventory SET chunks = (SELECT chunks FROM inventory WHERE nodeid = $1) WHERE nodeid = $2";
    c.run(sql, &[Value::Text("node-00001"), Value::Text("node-00000")]).unwrap();
    assert_eq!(nodes(&mut c, &current), [""; 0]);
    fleet.add(DEBIAN, package("5.0-1"));
    let new = fleet.nodes.last().unwrap();
    let (id, chunk) = (fleet.packages.len() as i64, fleet.chunks.len() as i64);
    let kinds = [
        Value::Text("bash"),
        Value::Text("5.0-1"),
        Value::Text("amd64"),
        Value::Text("dpkg"),
        Value::Text(""),
    ];
    let package = [vec![Value::Int(id), Value::Bytes(&[9; 32])], kinds.to_vec()].concat();
    insert(&mut c, "package (id, digest, name, version, arch, kind, publisher)", vec![package]);
    let (bucket, packages) = (bucket::of("bash") as i64, id.to_string());
    let row = vec![Value::Int(chunk), Value::Bytes(&[9; 32]), Value::Int(bucket), Value::Text(&packages)];
    insert(&mut c, "package_chunk (id, digest, bucket, packages)", vec![row]);
    c.run(
        "UPDATE inventory SET chunks = $1 WHERE nodeid = $2",
        &[Value::Text(&new.chunks), Value::Text("node-00001")],
    )
    .unwrap();
    assert_eq!(nodes(&mut c, &current), ["node-00001"]);
    // Of another size: two changes of a file within one tick of its clock are told apart by nothing else.
    fs::write(&file, "advisory,package,fixed\nA,bash,5.0-0.1\n").unwrap();
    current.refresh(false).unwrap();
    assert_eq!(nodes(&mut c, &current), [""; 0]);
    fs::write(&file, "advisory,package,fixed\nA,bash\n").unwrap();
    current.refresh(false).unwrap_err();
    assert_eq!(nodes(&mut c, &current), [""; 0]);
}

async fn updates_on_offer_are_counted_by_package_and_by_node(place: Place) {
    let mut c = place.connect();
    let mut fleet = Fleet::default();
    (0..4).for_each(|_| fleet.add(DEBIAN, vec![("bash".to_owned(), "5.1-1".to_owned(), "dpkg")]));
    fleet.store(&mut c);
    let bash = r#"{"name": "bash", "version": "5.2-1", "arch": "amd64", "kind": "security", "description": "Long."}"#;
    let lists = [
        format!("[{bash}]"),
        format!(r#"[{bash}, {{"name": "libc6", "version": "2.37-1", "kind": "none"}}]"#),
        "no list".to_owned(),
    ];
    let packed = lists.map(|list| gzip(list.as_bytes()));
    let digests: Vec<_> = (1..).map(digest).take(packed.len()).collect();
    let rows = (1..).zip(packed.iter().zip(&digests));
    let rows =
        rows.map(|(id, (content, digest))| vec![Value::Int(id), Value::Bytes(digest), Value::Bytes(content)]);
    insert(&mut c, "inventory_updates (id, digest, content)", rows.collect());
    for (node, list) in [("node-00000", 1), ("node-00001", 2), ("node-00002", 3)] {
        let sql = "UPDATE inventory SET updates_id = $1 WHERE nodeid = $2";
        c.run(sql, &[Value::Int(list), Value::Text(node)]).unwrap();
    }
    let offers = Offers::default();
    let everything = updates::Filter::default();
    let offered = all(|paging| updates::offered(&mut c, &offers, &everything, paging).unwrap());
    let offered: Vec<_> =
        offered.iter().map(|row| (row.name.as_str(), row.version.as_str(), row.nodes)).collect();
    assert_eq!(offered, [("bash", "5.2-1", 2), ("libc6", "2.37-1", 1)]);
    let outdated = |c: &mut Connection, filter: &updates::Filter| {
        let rows = all(|paging| updates::outdated(c, &offers, filter, paging).unwrap());
        rows.into_iter().map(|row| (row.node_id, row.updates, row.security)).collect::<Vec<_>>()
    };
    let both = [("node-00001".to_owned(), 2, 1), ("node-00000".to_owned(), 1, 1)];
    assert_eq!(outdated(&mut c, &everything), both);
    let plain = updates::Filter { kind: Some("none".into()), ..updates::Filter::default() };
    assert_eq!(outdated(&mut c, &plain), [("node-00001".to_owned(), 1, 0)]);
    let one = updates::Filter { node: Some("node-00000".into()), name: Some("b*".into()), kind: None };
    assert_eq!(outdated(&mut c, &one), [("node-00000".to_owned(), 1, 1)]);
    // What is on offer now counts.
    c.run("UPDATE inventory SET updates_id = NULL WHERE nodeid = $1", &[Value::Text("node-00001")]).unwrap();
    assert_eq!(outdated(&mut c, &everything), both[1..]);
}

async fn nodes_that_are_not_accepted_are_not_counted(place: Place) {
    let (mut c, mut fleet) = (place.connect(), Fleet::default());
    (0..4).for_each(|_| fleet.add(DEBIAN, vec![("bash".to_owned(), "5.1-1".to_owned(), "dpkg")]));
    fleet.store(&mut c);
    let list = gzip(br#"[{"name": "bash", "version": "5.2-1"}]"#);
    let row = vec![Value::Int(1), Value::Bytes(&[1; 32]), Value::Bytes(&list)];
    insert(&mut c, "inventory_updates (id, digest, content)", vec![row]);
    c.execute("UPDATE inventory SET updates_id = 1").unwrap();
    // The fourth is of a node list: it is in no registry.
    for (node, state) in [("node-00000", "pending"), ("node-00001", "revoked"), ("node-00002", "accepted")] {
        c.execute(&format!(
            "INSERT INTO node (nodeid, hostname, state, role, policy_server, requested, version) \
             VALUES ('{node}', '{node}', '{state}', 'node', 'root', 0, 1)"
        ))
        .unwrap();
    }
    let file = place.path("a.csv");
    fs::write(&file, "advisory,package,fixed\nA,bash,9\n").unwrap();
    let (matched, offers) = (Matched::new(load::load(&file).unwrap()), Offers::default());
    let nodes = |c: &mut Connection, node: Option<&str>| {
        let node = node.map(str::to_owned);
        let filter = Filter { name: Some("bash".into()), node: node.clone(), ..Filter::default() };
        let packages = found::on_nodes(c, &filter, &paging(10)).unwrap().nodes;
        let wanted = Wanted { node: node.clone(), ..Wanted::default() };
        let struck = report::by_node(c, &matched, &wanted, &paging(10)).unwrap().items.len();
        let filter = updates::Filter { node, ..updates::Filter::default() };
        let outdated = updates::outdated(c, &offers, &filter, &paging(10)).unwrap().items.len();
        (packages, struck, outdated)
    };
    assert_eq!(nodes(&mut c, None), (2, 2, 2));
    assert_eq!(nodes(&mut c, Some("node-00000")), (1, 1, 1), "it may be looked at");
    // It gives itself the name of another one.
    c.execute("UPDATE inventory SET hostname = 'web' WHERE nodeid IN ('node-00000', 'node-00002')").unwrap();
    assert_eq!(nodes(&mut c, Some("web")), (1, 1, 1));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}
