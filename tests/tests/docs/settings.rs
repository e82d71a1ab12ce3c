// SPDX-License-Identifier: Apache-2.0
//! Settings of a document, set in a file as an operator would: those named change, the others stay.

use tests::Result;
use toml::{Table, Value};

/// `old` with the settings of `new`.
pub fn set(old: &str, new: &str) -> Result<String> {
    let mut table: Table = old.parse()?;
    merge(&mut table, new.parse()?);
    Ok(table.to_string())
}

fn merge(table: &mut Table, new: Table) {
    for (key, value) in new {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod setting {
    #[test]
    fn changes_what_is_named_only() {
        let text = super::set("[a]\nx = 1\ny = 2\n[b]\n", "[a]\nx = 3\n[c]\nz = 1\n").unwrap();
        assert_eq!(text, "[a]\nx = 3\ny = 2\n\n[b]\n\n[c]\nz = 1\n");
    }
}
