// SPDX-License-Identifier: Apache-2.0
//! The copies in `packaging/` of what is generated: manual pages and completions.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use manual::{File, Section, Setting, assert_fresh, command_pages, settings_page};
use relayd::{
    cli::Cli,
    config::{declare::SectionDoc, logging_file::LoggingFile, main_file::MainFile},
};

use crate::support::stdout;

fn packaging(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(directory)
}

#[test]
fn manual_pages_are_up_to_date() {
    let pages = command_pages(Cli::command());
    assert!(pages.iter().any(|page| page.name == "relayd-node-accept.8"));
    assert_fresh(&packaging("man"), &pages, |name| name.starts_with("relayd") && name.ends_with(".8"));
}

#[test]
fn the_page_of_the_configuration_is_up_to_date() {
    let mut sections = vec![Section {
        title: "DESCRIPTION".into(),
        text: "Two TOML files in one directory (`/opt/rudder/etc/relayd`, or `--config`). Unknown keys are \
               refused. `main.conf` must be there; a missing `logging.conf` means the defaults. `relayd config \
               check` tells all mistakes at once, `relayd config default` prints a commented file."
            .into(),
        settings: vec![],
    }];
    sections.extend(MainFile::describe().into_iter().map(|section| as_section("main.conf", section)));
    sections.extend(LoggingFile::describe().into_iter().map(|section| as_section("logging.conf", section)));
    let page = settings_page("relayd.conf", "main.conf and logging.conf of relayd", &sections);
    assert_fresh(&packaging("man"), &[page], |name| name == "relayd.conf.5");
}

fn as_section(file: &str, section: SectionDoc) -> Section {
    let settings = section.settings.into_iter().map(|setting| Setting {
        key: setting.key.to_owned(),
        kind: Some(setting.kind),
        default: setting.default,
        text: prose(setting.doc),
    });
    Section {
        title: format!("{}: [{}]", file, section.name),
        text: prose(section.doc),
        settings: settings.collect(),
    }
}

fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

#[test]
fn completions_are_up_to_date() {
    for (shell, name) in [("bash", "relayd.bash"), ("zsh", "_relayd"), ("fish", "relayd.fish")] {
        let file = File { name: name.to_owned(), text: stdout(&["completions", shell]) };
        assert_fresh(&packaging("completions"), &[file], |other| other == name);
    }
}
