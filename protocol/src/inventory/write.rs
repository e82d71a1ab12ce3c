// SPDX-License-Identifier: Apache-2.0
//! Inventories as XML, in the layout of existing ones: an element per line, two spaces per level.

use std::fmt::Write as _;

use super::{
    element::Element,
    model::{Content, Request},
};

/// The document. `device_id` names the machine: it is there for existing servers and must not be empty.
pub fn write(content: &Content, device_id: &str) -> String {
    let request = Request {
        content: vec![content.clone()],
        device_id: Some(device_id.to_owned()),
        query: Some("INVENTORY".into()),
    };
    let mut writer = Writer { out: "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>".into(), depth: 0 };
    writer.element("REQUEST", &request);
    writer.out.push('\n');
    writer.out
}

/// Writes elements.
pub struct Writer {
    out: String,
    depth: usize,
}

impl Writer {
    /// An element with this content.
    pub fn element(&mut self, name: &str, content: &impl Element) {
        self.new_line();
        let _ = write!(self.out, "<{name}>");
        let start = self.out.len();
        self.depth += 1;
        content.write(self);
        self.depth -= 1;
        if self.out[start..].starts_with('\n') {
            self.new_line();
        }
        let _ = write!(self.out, "</{name}>");
    }

    /// The text of an element. What XML cannot say becomes U+FFFD.
    pub fn text(&mut self, text: &str) {
        for character in text.trim().chars() {
            match character {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '\r' => self.out.push_str("&#13;"),
                '\t' | '\n' => self.out.push(character),
                '\0'..' ' | '\u{fffe}' | '\u{ffff}' => self.out.push('\u{fffd}'),
                _ => self.out.push(character),
            }
        }
    }

    fn new_line(&mut self) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n("  ", self.depth));
    }
}
