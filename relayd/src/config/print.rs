// SPDX-License-Identifier: Apache-2.0
//! What people read about settings: the commented default files, the reference in Markdown, the
//! configuration as it applies. All from the declarations.

use std::fmt::Write;

use super::declare::{SectionDoc, SettingDoc, Shown};

/// A default file: every setting with its comment, commented out.
pub fn default_file(title: &str, sections: &[SectionDoc]) -> String {
    let mut text = format!(
        "# {title}\n#\n# The format is TOML. Lines that start with # are comments; what is commented out is the\n\
         # default, or an example where there is none. Durations: integer seconds, or \"10s\", \"30min 20s\",\n\
         # \"1day\". Sizes: integer bytes, or \"512KiB\", \"10MiB\".\n"
    );
    for section in sections {
        text.push('\n');
        comment(&mut text, section.doc);
        let _ = writeln!(text, "[{}]", section.name);
        for setting in &section.settings {
            text.push('\n');
            comment(&mut text, setting.doc);
            let value = setting.default.as_deref().or(setting.example).unwrap_or("\"\"");
            let note = if setting.default.is_none() { "  # an example; not set by default" } else { "" };
            let _ = writeln!(text, "#{} = {value}{note}", setting.key);
        }
    }
    text
}

fn comment(text: &mut String, lines: &[&str]) {
    for line in lines {
        let _ = writeln!(text, "# {}", line.trim());
    }
}

/// The reference of one file, in Markdown.
pub fn reference(file: &str, sections: &[SectionDoc]) -> String {
    let mut text = format!("## `{file}`\n");
    for section in sections {
        let _ = write!(text, "\n### `[{}]`\n\n{}\n\n", section.name, prose(section.doc));
        text.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
        for setting in &section.settings {
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                setting.key,
                cell(&setting.kind),
                default_cell(setting),
                cell(&prose(setting.doc))
            );
        }
    }
    text
}

fn default_cell(setting: &SettingDoc) -> String {
    setting.default.as_ref().map_or_else(|| "not set".to_owned(), |default| format!("`{}`", cell(default)))
}

fn prose(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The settings as they apply, secrets masked; what is not given in the file is marked.
pub fn shown(settings: &[Shown]) -> String {
    let mut text = String::new();
    let mut section = "";
    for setting in settings {
        if setting.section != section {
            section = setting.section;
            let _ = writeln!(text, "{}[{section}]", if text.is_empty() { "" } else { "\n" });
        }
        let _ = match (&setting.value, setting.given) {
            (Some(value), true) => writeln!(text, "{} = {value}", setting.key),
            (Some(value), false) => writeln!(text, "{} = {value}  # default", setting.key),
            (None, _) => writeln!(text, "# {} is not set", setting.key),
        };
    }
    text
}
