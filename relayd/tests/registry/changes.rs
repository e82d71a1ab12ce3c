// SPDX-License-Identifier: Apache-2.0
//! How nodes changed, as the command says it.

use std::process::Command;

use protocol::inventory::{Content, Rudder};
use relayd::config::DatabaseUrl;

use crate::{
    on_both,
    rig::Place,
    stored::{MADE, record_of, store},
};

on_both!(the_command_says_when_there_are_more_changes);

impl Place {
    /// What the program says to `relayd inventory …`: standard output and standard error.
    fn inventory(&self, arguments: &[&str]) -> (String, String) {
        let url = match &self.url {
            DatabaseUrl::Postgres(url) => url.clone(),
            DatabaseUrl::Sqlite(path) => format!("sqlite:{}", path.display()),
        };
        let main = format!(
            "[general]\nnode_id = \"root\"\n[processing.inventory]\noutput = \"database\"\n\
             [output.database]\nurl = \"{url}\"\n"
        );
        std::fs::write(self.path("main.conf"), main).unwrap();
        let mut relayd = Command::new(env!("CARGO_BIN_EXE_relayd"));
        relayd.arg("-c").arg(self.directory.path()).arg("inventory").args(arguments);
        let output = relayd.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    }
}

/// What node `n1` was, time after time.
fn stored(place: &Place, all: impl IntoIterator<Item = Content>) {
    let mut c = place.connect();
    for (number, content) in (0..).zip(all) {
        store(&mut c, &[record_of("n1", MADE + number * 1000, "", content)]);
    }
}

async fn the_command_says_when_there_are_more_changes(place: Place) {
    let content = |number: i32| Content {
        rudder: vec![Rudder { uuid: Some("n1".into()), ..Rudder::default() }],
        client: Some(format!("client {number}")),
        ..Content::default()
    };
    stored(&place, (0..13).map(content));
    let more = "… and more; see --limit\n";
    for (arguments, changes, lines, cut) in [
        (&["changes", "n1"][..], "10 changes\n", 21, more),
        (&["changes", "n1", "--limit", "2"], "2 changes\n", 5, more),
        (&["changes", "n1", "--limit", "12"], "12 changes\n", 25, ""),
        (&["changes", "n1", "--limit", "2", "--json"], "", 2, more),
    ] {
        let (out, err) = place.inventory(arguments);
        assert_eq!(err, cut, "{arguments:?}: {out}");
        assert!(out.ends_with(changes) && out.lines().count() == lines, "{arguments:?}: {out}");
    }
}
