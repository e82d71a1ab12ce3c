// SPDX-License-Identifier: Apache-2.0
//! Pages of configuration files.

use roff::{Inline, Roff, bold, italic, roman};

use crate::File;

/// Section of the manual for file formats.
const FILES: &str = "5";

/// A file or a section of one.
#[derive(Debug)]
pub struct Section {
    /// Title, in capitals by custom.
    pub title: String,
    /// What it is about; `code` in backticks.
    pub text: String,
    /// Its settings.
    pub settings: Vec<Setting>,
}

/// A setting.
#[derive(Debug)]
pub struct Setting {
    /// Key, in its section.
    pub key: String,
    /// What may be written, if there is more to say than the example does.
    pub kind: Option<String>,
    /// Default as written in the file.
    pub default: Option<String>,
    /// What it does; `code` in backticks.
    pub text: String,
}

/// A page of section 5. `name` is that of the page, `about` goes beside it.
pub fn settings_page(name: &str, about: &str, sections: &[Section]) -> File {
    let mut page = Roff::new();
    page.control("TH", [name, FILES, "", "relayd", "relayd"]);
    page.control("SH", ["NAME"]).text([roman(format!("{name} - {about}"))]);
    for section in sections {
        page.control("SH", [section.title.as_str()]);
        page.text(inlines(&section.text));
        for setting in &section.settings {
            page.control("TP", []);
            page.text(title(setting));
            page.text(inlines(&setting.text));
        }
    }
    File { name: format!("{name}.{FILES}"), text: page.render() }
}

fn title(setting: &Setting) -> Vec<Inline> {
    let mut title = vec![bold(setting.key.as_str())];
    if let Some(kind) = &setting.kind {
        title.extend([roman(" = "), italic(kind.as_str())]);
    }
    if let Some(default) = &setting.default {
        title.extend([roman("  (default: "), bold(default.as_str()), roman(")")]);
    }
    title
}

/// Text with what is in backticks in bold.
fn inlines(text: &str) -> Vec<Inline> {
    text.split('`').enumerate().map(|(n, part)| if n % 2 == 0 { roman(part) } else { bold(part) }).collect()
}
