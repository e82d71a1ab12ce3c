// SPDX-License-Identifier: Apache-2.0
//! Level tags of log lines and what they mean (protocol 3.4).

/// How much a log line matters; its event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// `log_warn`.
    Warn,
    /// `log_info`.
    Info,
    /// `log_debug`.
    Debug,
}

impl Level {
    /// The event type of its rows.
    pub const fn event_type(self) -> &'static str {
        match self {
            Self::Warn => "log_warn",
            Self::Info => "log_info",
            Self::Debug => "log_debug",
        }
    }

    /// The level with this event type, if there is one.
    pub fn from_event_type(event_type: &str) -> Option<Self> {
        [Self::Warn, Self::Info, Self::Debug].into_iter().find(|level| level.event_type() == event_type)
    }

    /// The tag a printed log line has.
    pub(super) const fn tag(self) -> &'static str {
        match self {
            Self::Warn => " warning",
            Self::Info => "    info",
            Self::Debug => "   debug",
        }
    }
}

/// How a report line starts, after its time stamp.
pub(super) const REPORT: &str = "R: @@";

/// In order of comparison. Leading spaces are part of the tag.
const TAGS: [(&str, Level); 18] = [
    ("CRITICAL", Level::Warn),
    ("   error", Level::Warn),
    (" warning", Level::Warn),
    ("  notice", Level::Info),
    ("    info", Level::Info),
    (" verbose", Level::Debug),
    ("   debug", Level::Debug),
    ("rudder CRITICAL", Level::Warn),
    ("rudder    error", Level::Warn),
    ("rudder  warning", Level::Warn),
    ("rudder   notice", Level::Info),
    ("rudder     info", Level::Info),
    ("R: [FATAL]", Level::Warn),
    ("R: [ERROR]", Level::Warn),
    ("R: [INFO]", Level::Info),
    ("R: [DEBUG]", Level::Debug),
    ("R: WARNING", Level::Warn),
    // Debug text of the policy library, and yet a warning: servers count on it (protocol A9).
    ("R: DEBUG", Level::Warn),
];

/// What a line is, by what follows its optional time stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Starts with `R: @@`; holds what follows.
    Report(&'a str),
    /// Starts with a level tag; holds the text after tag, colon and spaces.
    Log(Level, &'a str),
    /// Anything else.
    Plain,
}

/// What a line is, without its time stamp. Agents ask before they stamp lines of policy commands.
#[inline]
pub fn kind(body: &str) -> Kind<'_> {
    if let Some(fields) = body.strip_prefix(REPORT) {
        return Kind::Report(fields);
    }
    if !matches!(body.as_bytes().first(), Some(b'C' | b' ' | b'r' | b'R')) {
        return Kind::Plain;
    }
    let tagged = TAGS.iter().find_map(|(tag, level)| Some((*level, body.strip_prefix(tag)?)));
    match tagged.or_else(|| Some((Level::Info, body.strip_prefix("R:")?))) {
        Some((level, rest)) => {
            Kind::Log(level, rest.strip_prefix(':').unwrap_or(rest).trim_start_matches(' '))
        }
        None => Kind::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tag_has_its_level() {
        for (body, level, rest) in [
            ("CRITICAL: x", Level::Warn, "x"),
            ("   error: x", Level::Warn, "x"),
            (" warning x", Level::Warn, "x"),
            ("  notice:   x ", Level::Info, "x "),
            ("    info:x", Level::Info, "x"),
            (" verbose: : x", Level::Debug, ": x"),
            ("   debug:", Level::Debug, ""),
            ("rudder CRITICAL: x", Level::Warn, "x"),
            ("rudder    error: x", Level::Warn, "x"),
            ("rudder  warning: x", Level::Warn, "x"),
            ("rudder   notice: x", Level::Info, "x"),
            ("rudder     info: x", Level::Info, "x"),
            ("R: [FATAL] x", Level::Warn, "x"),
            ("R: [ERROR] x", Level::Warn, "x"),
            ("R: [INFO] x", Level::Info, "x"),
            ("R: [DEBUG] x", Level::Debug, "x"),
            ("R: WARNING x", Level::Warn, "x"),
            ("R: DEBUG x", Level::Warn, "x"),
            ("R: message", Level::Info, "message"),
            ("R: @x", Level::Info, "@x"),
            ("R:@@x", Level::Info, "@@x"),
            ("R:", Level::Info, ""),
            ("R:  @@x", Level::Info, "@@x"),
        ] {
            assert_eq!(kind(body), Kind::Log(level, rest), "{body:?}");
        }
    }

    #[test]
    fn leading_spaces_are_part_of_a_tag() {
        for body in [
            "",
            " ",
            "error: x",
            "  error: x",
            "    error: x",
            "info: x",
            " CRITICAL",
            "rudder error",
            "r",
            "R @@",
        ] {
            assert_eq!(kind(body), Kind::Plain, "{body:?}");
        }
        assert_eq!(kind("R: @@a"), Kind::Report("a"));
    }

    #[test]
    fn printed_tags_and_event_types_read_back() {
        for level in [Level::Warn, Level::Info, Level::Debug] {
            assert_eq!(kind(level.tag()), Kind::Log(level, ""));
            assert_eq!(Level::from_event_type(level.event_type()), Some(level));
        }
        assert_eq!(Level::from_event_type("control"), None);
    }
}
