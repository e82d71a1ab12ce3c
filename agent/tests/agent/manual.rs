// SPDX-License-Identifier: Apache-2.0
//! The copies in `packaging/` of what is generated: manual pages and completions.

use std::path::{Path, PathBuf};

use agent::settings::{agent_conf, own, own::Key};
use manual::{File, Section, Setting, assert_fresh, command_pages, settings_page};

use crate::node::{Node, text};

fn packaging(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(directory)
}

#[test]
fn manual_pages_are_up_to_date() {
    let pages = command_pages(agent::cli::declared());
    assert!(pages.iter().any(|page| page.name == "agent-share-put.8"));
    assert_fresh(&packaging("man"), &pages, |name| name.starts_with("agent") && name.ends_with(".8"));
}

#[test]
fn the_page_of_the_settings_is_up_to_date() {
    let section = |title: &str, text: &str, keys: &[Key]| Section {
        title: title.to_owned(),
        text: text.to_owned(),
        settings: keys.iter().map(as_setting).collect(),
    };
    let page = settings_page(
        "relayd-agent.conf",
        "settings of the agent",
        &[
            section("RELAYD-AGENT.CONF", own::ABOUT, &own::KEYS),
            section("AGENT.CONF", agent_conf::ABOUT, &agent_conf::KEYS),
        ],
    );
    assert_fresh(&packaging("man"), &[page], |name| name == "relayd-agent.conf.5");
}

fn as_setting(key: &Key) -> Setting {
    Setting {
        key: key.name.to_owned(),
        kind: (!key.example.is_empty()).then(|| key.example.to_owned()),
        default: (!key.default.is_empty()).then(|| key.default.to_owned()),
        text: key.doc.replace('\n', " "),
    }
}

#[test]
fn completions_are_up_to_date() {
    let node = Node::new();
    for (shell, name) in [("bash", "agent.bash"), ("zsh", "_agent"), ("fish", "agent.fish")] {
        let printed = text(&node.agent(&["completions", shell]).stdout);
        let file = File { name: name.to_owned(), text: printed };
        assert_fresh(&packaging("completions"), &[file], |other| other == name);
    }
}
