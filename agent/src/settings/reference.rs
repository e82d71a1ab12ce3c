// SPDX-License-Identifier: Apache-2.0
//! All settings of the agent for people, in Markdown, from the lists that the readers go by.

use super::{agent_conf, own, own::Key};

/// Both files.
pub fn markdown() -> String {
    let mut text = String::new();
    table(&mut text, "relayd-agent.conf", own::ABOUT, &own::KEYS);
    text.push('\n');
    table(&mut text, "agent.conf", agent_conf::ABOUT, &agent_conf::KEYS);
    text
}

fn table(text: &mut String, file: &str, about: &str, keys: &[Key]) {
    *text += &format!("## `{file}`\n\n{about}\n\n| key | default | example | meaning |\n|---|---|---|---|\n");
    let cell = |value: &str| if value.is_empty() { String::new() } else { format!("`{value}`") };
    for key in keys {
        let doc = key.doc.replace('\n', " ").replace('|', "\\|");
        *text += &format!("| `{}` | {} | {} | {doc} |\n", key.name, cell(key.default), cell(key.example));
    }
}
