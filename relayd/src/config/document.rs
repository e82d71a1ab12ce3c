// SPDX-License-Identifier: Apache-2.0
//! A TOML file taken apart: values are taken out by section and key, and what is left over in the
//! end is unknown. Every mistake is noted, none stops the reading.

use std::{collections::BTreeMap, path::Path};

use toml::de::{DeTable, DeValue};

use super::{
    declare::Given,
    problem::{Class, Problem},
    value::{Absent, Value},
};

/// Names of sections, with the keys of each.
pub type Keys = &'static [(&'static str, &'static [&'static str])];

/// A file being read.
pub struct Document<'a> {
    file: &'a Path,
    keys: Keys,
    /// Values not yet taken, by section and key, with their line.
    values: BTreeMap<(String, String), (usize, DeValue<'a>)>,
    /// Lines of section headers.
    sections: BTreeMap<String, usize>,
    problems: Vec<Problem>,
    /// Settings that are credentials which cannot be read here.
    absent: Vec<(Problem, Absent)>,
    syntax_ok: bool,
}

impl<'a> Document<'a> {
    /// Reads `text` (the content of `file`) with the known `keys`.
    pub fn parse(file: &'a Path, text: &'a str, keys: Keys) -> Self {
        let (table, errors) = DeTable::parse_recoverable(text);
        let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|b| *b == b'\n').count();
        let mut document = Self {
            file,
            keys,
            values: BTreeMap::new(),
            sections: BTreeMap::new(),
            problems: Vec::new(),
            absent: Vec::new(),
            syntax_ok: errors.is_empty(),
        };
        for error in &errors {
            let line = error.span().map(|span| line_of(span.start));
            let remedy = match error.message() {
                "duplicate key" => "it is there already, further up: merge the two",
                _ => "correct the line (the format is TOML: text in double quotes)",
            };
            document.note(Class::Form, line, "", format!("{}; {remedy}", one_line(error.message())));
        }
        document.flatten("", table.into_inner(), &line_of);
        document
    }

    fn flatten(&mut self, section: &str, table: DeTable<'a>, line_of: &dyn Fn(usize) -> usize) {
        for (key, value) in table {
            let line = line_of(key.span().start);
            let name = key.into_inner();
            match value.into_inner() {
                DeValue::Table(table) => {
                    let path = join(section, &name);
                    self.sections.insert(path.clone(), line);
                    self.flatten(&path, table, line_of);
                }
                value => {
                    self.values.insert((section.to_owned(), name.into_owned()), (line, value));
                }
            }
        }
    }

    /// Takes a value; a wrong one is noted and the default stands in, so that reading goes on.
    pub fn take<T: Value>(&mut self, section: &str, key: &str, default: impl FnOnce() -> T) -> Given<T> {
        let Some((line, value)) = self.values.remove(&(section.to_owned(), key.to_owned())) else {
            return Given { value: default(), line: None };
        };
        match T::read(&value) {
            Ok(value) => {
                if let Some(absent) = value.absent() {
                    let (file, text) = (self.file.to_owned(), absent.for_the_daemon());
                    let key = join(section, key);
                    let problem = Problem { file, line: Some(line), key, text, class: Class::Form };
                    self.absent.push((problem, absent.clone()));
                }
                Given { value, line: Some(line) }
            }
            Err(text) => {
                self.note(Class::Form, Some(line), &join(section, key), text);
                Given { value: default(), line: Some(line) }
            }
        }
    }

    /// Notes a mistake, unless one about the same line or key is known: the first is the cause.
    pub fn note(&mut self, class: Class, line: Option<usize>, key: &str, text: String) {
        let known = |p: &Problem| (!key.is_empty() && p.key == key) || (p.key.is_empty() && p.line == line);
        if !self.problems.iter().any(known) {
            let file = self.file.to_owned();
            self.problems.push(Problem { file, line, key: key.to_owned(), text, class });
        }
    }

    /// The settings that are credentials which cannot be read here, with what keeps a daemon from starting.
    pub fn absent(&mut self) -> Vec<(Problem, Absent)> {
        std::mem::take(&mut self.absent)
    }

    /// Whether the file is TOML at all; if not, rules between settings need not be looked at.
    pub fn syntax_ok(&self) -> bool {
        self.syntax_ok
    }

    /// The file.
    pub fn file(&self) -> &Path {
        self.file
    }

    /// Line of the header of a section.
    pub fn section_line(&self, section: &str) -> Option<usize> {
        self.sections.get(section).copied()
    }

    /// Notes what was not taken as unknown and returns all mistakes by line.
    pub fn finish(mut self) -> Vec<Problem> {
        let known_section = |path: &str| {
            self.keys.iter().any(|(name, _)| {
                *name == path || name.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
            })
        };
        let mut unknown: Vec<(usize, String, String)> = Vec::new();
        for (path, line) in self.sections.iter().filter(|(path, _)| !known_section(path)) {
            let parent_known = path.rsplit_once('.').is_none_or(|(parent, _)| known_section(parent));
            if parent_known {
                unknown.push((*line, path.clone(), self.unknown_section(path)));
            }
        }
        for ((section, key), (line, _)) in &self.values {
            if section.is_empty() || known_section(section) {
                unknown.push((*line, join(section, key), self.unknown_key(section, key)));
            }
        }
        for (line, key, text) in unknown {
            self.note(Class::Form, Some(line), &key, text);
        }
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }

    fn unknown_section(&self, path: &str) -> String {
        if let Some((parent, key)) = path.rsplit_once('.')
            && self.has(parent, key)
        {
            return format!("a value is expected, not a section; write {key} = … in section [{parent}]");
        }
        match nearest(path, self.keys.iter().map(|(name, _)| (*name).to_owned())) {
            Some(near) => format!("unknown section; did you mean [{near}]?"),
            None => "unknown section; remove it, or see \"relayd config reference\"".to_owned(),
        }
    }

    fn unknown_key(&self, section: &str, key: &str) -> String {
        let path = join(section, key);
        if self.keys.iter().any(|(name, _)| *name == path) {
            return format!("a section is expected, not a value; write [{path}] on a line of its own");
        }
        let own = self.keys.iter().filter(|(name, _)| *name == section).flat_map(|(_, keys)| keys.iter());
        if let Some(near) = nearest(key, own.map(|key| (*key).to_owned())) {
            return format!("unknown key; did you mean {}?", join(section, &near));
        }
        let elsewhere: Vec<_> = self
            .keys
            .iter()
            .filter(|(name, _)| self.has(name, key))
            .map(|(name, _)| format!("[{name}]"))
            .collect();
        if elsewhere.is_empty() {
            "unknown key; remove it, or see \"relayd config reference\"".to_owned()
        } else {
            format!("unknown key in this section; it belongs to {}", elsewhere.join(" or "))
        }
    }

    fn has(&self, section: &str, key: &str) -> bool {
        self.keys.iter().any(|(name, keys)| *name == section && keys.contains(&key))
    }
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

/// The known name that was probably meant.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(name, &known), known))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}
