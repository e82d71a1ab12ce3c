// SPDX-License-Identifier: Apache-2.0
//! How many run at a time: external commands take turns, and agents where their number is limited.

use std::{fs, path::Path};

use protocol::remote_run::Event;
use serde_json::json;

use super::{
    played::{Make, Play, finished, until},
    version1::command,
};

/// A command that says that it runs for its host, and ends when it may.
fn waiting_command(directory: &Path) -> std::path::PathBuf {
    let place = directory.display();
    let does = format!(
        ": > {place}/runs-$4; while [ ! -e {place}/end-$4 ]; do sleep 0.02; done; rm {place}/runs-$4"
    );
    command(directory, &does)
}

fn running(directory: &Path) -> Vec<String> {
    let names =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_prefix("runs-").map(str::to_owned)).collect()
}

#[tokio::test]
async fn commands_take_turns_and_a_slow_one_holds_up_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    let mut make = (0..6).fold(Make::new(), |make, n| make.node(&format!("n{n}"), &format!("n{n}"), "root"));
    make.settings.max_concurrent = 2;
    let world = make.node("connected", "h", "root").command(&waiting_command(here)).start().await;
    world.agency.play("connected", Play::Does(vec![Event::Started, finished(0)]));
    let mut told = world.run(json!({"nodes": "all", "expires_in": 60})).await;
    let mut ended = vec!["connected".to_owned()];
    while told.event().await.event != finished(0) {}
    while ended.len() < 7 {
        let wanted = 2.min(7 - ended.len());
        until("two run", || running(here).len() == wanted).await;
        // One of the two goes on, the other one makes room for the next.
        let mut hosts = running(here);
        hosts.sort();
        let host = hosts.pop().unwrap();
        fs::write(here.join(format!("end-{host}")), "").unwrap();
        let end = loop {
            let event = told.event().await;
            if event.event == finished(0) {
                break event.node_id.to_string();
            }
        };
        assert_eq!(end, host);
        ended.push(host);
    }
}

#[tokio::test]
async fn a_command_without_a_turn_in_time_expires() {
    let directory = tempfile::tempdir().unwrap();
    let mut make = Make::new().node("first", "first", "root").node("second", "second", "root");
    make.settings.max_concurrent = 1;
    let world = make.command(&waiting_command(directory.path())).start().await;
    let mut told = world.run(json!({"nodes": ["first", "second"], "expires_in": 1})).await;
    let expired = loop {
        let event = told.event().await;
        if event.event == Event::Expired {
            break event.node_id.to_string();
        }
    };
    // It was begun in time; when it says so is its own affair.
    until("what has begun goes on", || running(directory.path()).len() == 1).await;
    assert_ne!(running(directory.path()), [expired]);
}

#[tokio::test]
async fn connected_agents_take_turns_where_that_is_wanted() {
    let mut make = (0..7).fold(Make::new(), |make, n| make.node(&format!("n{n}"), "h", "root"));
    make.settings.max_agents = 3;
    let world = make.start().await;
    let agency = world.agency.clone();
    (0..7).for_each(|n| agency.play(&format!("n{n}"), Play::Runs));
    let mut told = world.run(json!({"nodes": "all", "expires_in": 2})).await;
    until("three run", || agency.running().len() == 3).await;
    // None of them ends: the others get no turn.
    let mut expired = Vec::new();
    while expired.len() < 4 {
        let event = told.event().await;
        if event.event == Event::Expired {
            expired.push(event.node_id.to_string());
        }
        assert_eq!(agency.running().len(), 3);
    }
    assert!(agency.running().iter().all(|node| !expired.contains(&node.to_string())));
    drop(told);
    until("none goes on", || agency.running().is_empty()).await;
    world.form("all", "asynchronous=true").await;
    until("three run, by version 1", || agency.running().len() == 3).await;
}

#[tokio::test]
async fn agents_are_all_asked_at_once() {
    let mut make = (0..300).fold(Make::new(), |make, n| make.node(&format!("n{n}"), "h", "root"));
    make.settings.max_concurrent = 1;
    let world = make.start().await;
    let agency = world.agency.clone();
    (0..300).for_each(|n| agency.play(&format!("n{n}"), Play::Runs));
    let told = world.run(json!({"nodes": "all"})).await;
    // Nobody reads the answer: that holds up no node.
    until("all run", || agency.running().len() == 300).await;
    drop(told);
    until("none goes on", || agency.running().is_empty()).await;
    let form = world.form("all", "asynchronous=true").await;
    assert_eq!(form.status, 200);
    until("all run, by version 1", || agency.running().len() == 300).await;
}
