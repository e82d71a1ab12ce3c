// SPDX-License-Identifier: Apache-2.0
//! Types of settings: how each is read from TOML, shown as TOML, and named to people.

use std::{fmt, num::NonZeroUsize, path::PathBuf, time::Duration};

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use protocol::{
    hash::KeyHash,
    node_id::NodeId,
    node_id_rule::{NodeIdRule, NodeIdRuleError},
    tls::TlsVersion,
};
use toml::de::DeValue;

use super::secret;
pub use super::secret::{Absent, Secret};

/// A type of setting.
pub trait Value: Sized {
    /// What may be written, for people.
    fn kind() -> String;
    /// Reads a value; the error says cause and remedy and never repeats a secret.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
    /// As TOML; `None` when unset.
    fn show(&self) -> Option<String>;
    /// As [`Value::show`], without secrets.
    fn masked(&self) -> Option<String> {
        self.show()
    }
    /// The credential that is meant, and that this process cannot read.
    fn absent(&self) -> Option<&Absent> {
        None
    }
}

/// A size in bytes, typed as a number or with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// Texts, of which one may be typed without brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts(pub Vec<String>);

/// A URL that may hold a password, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(pub String);

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Url(***)")
    }
}

fn wrong<T: Value>(value: &DeValue<'_>) -> String {
    format!("this is {}; write {}", article(value.type_str()), T::kind())
}

fn article(noun: &str) -> String {
    let an = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if an { "an" } else { "a" })
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl Value for String {
    fn kind() -> String {
        "text in double quotes".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| wrong::<Self>(value))
    }
    fn show(&self) -> Option<String> {
        Some(quoted(self))
    }
}

impl Value for Texts {
    fn kind() -> String {
        "text in double quotes, or a list of texts in brackets".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value {
            DeValue::Array(_) => Vec::read(value).map(Self),
            DeValue::String(text) => Ok(Self(vec![text.clone().into_owned()])),
            _ => Err(wrong::<Self>(value)),
        }
    }
    fn show(&self) -> Option<String> {
        match self.0.as_slice() {
            [one] => one.show(),
            all => all.to_vec().show(),
        }
    }
}

impl Value for Url {
    fn kind() -> String {
        "a URL in double quotes".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_str().map(|text| Self(text.to_owned())).ok_or_else(|| wrong::<Self>(value))
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.0))
    }
    fn masked(&self) -> Option<String> {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let bare = match rest.rsplit_once('@').map(|(user, host)| (user.split_once(':'), host)) {
            Some((Some((user, _)), host)) => format!("{scheme}://{user}:***@{host}"),
            _ => self.0.clone(),
        };
        // Options may hold one, too.
        Some(quoted(
            match bare.split_once("password=") {
                Some((before, _)) => format!("{before}password=***"),
                None => bare,
            }
            .as_str(),
        ))
    }
}

impl Value for PathBuf {
    fn kind() -> String {
        "a path in double quotes".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_str() {
            Some("") => Err("the path is empty; write a path or remove the line".to_owned()),
            Some(text) if text.contains('\0') => {
                Err("a path cannot hold a NUL character; remove it".to_owned())
            }
            Some(text) => Ok(secret::credential(text)?.unwrap_or_else(|| text.into())),
            None => Err(wrong::<Self>(value)),
        }
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string_lossy()))
    }
}

impl Value for bool {
    fn kind() -> String {
        "true or false".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| wrong::<Self>(value))
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

fn integer<T: Value + TryFrom<i128>>(value: &DeValue<'_>) -> Result<T, String> {
    let number = value.as_integer().ok_or_else(|| wrong::<T>(value))?;
    i128::from_str_radix(number.as_str(), number.radix())
        .ok()
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| format!("{number} is out of range; write {}", T::kind()))
}

macro_rules! integers {
    ($($T:ty => $kind:literal),*) => { $(
        impl Value for $T {
            fn kind() -> String {
                $kind.to_owned()
            }
            fn read(value: &DeValue<'_>) -> Result<Self, String> {
                integer(value)
            }
            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )* };
}
integers! {
    u8 => "an integer from 0 to 255",
    u16 => "an integer from 0 to 65535",
    u32 => "an integer, 0 or more",
    u64 => "an integer, 0 or more",
    usize => "an integer, 0 or more"
}

impl Value for NonZeroUsize {
    fn kind() -> String {
        "an integer, 1 or more".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let number = usize::read(value).map_err(|text| match text.split_once(';') {
            Some((cause, _)) => format!("{cause}; write {}", Self::kind()),
            None => text,
        })?;
        Self::new(number).ok_or_else(|| format!("0 is out of range; write {}", Self::kind()))
    }
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

const DAY: u64 = 86_400;

/// Longer durations are taken for mistakes: sums with the clock must not overflow.
const LONGEST: Duration = Duration::from_secs(100 * 366 * DAY);

impl Value for Duration {
    fn kind() -> String {
        "a duration: an integer number of seconds, or text such as \"10s\", \"30min 20s\", \"1day\""
            .to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let duration = match value {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Self::from_secs)
                .ok_or_else(|| format!("{number} s is negative or too long"))
                .map_err(|cause| format!("{cause}; write {}", Self::kind()))?,
            DeValue::String(text) => humantime::parse_duration(text)
                .map_err(|error| format!("{text:?} is not a duration ({error}); write {}", Self::kind()))?,
            other => return Err(wrong::<Self>(other)),
        };
        if duration > LONGEST {
            return Err("longer than 100 years; write a shorter duration".to_owned());
        }
        Ok(duration)
    }
    fn show(&self) -> Option<String> {
        let (days, rest) = (self.as_secs() / DAY, self.as_secs() % DAY);
        Some(quoted(&match days {
            // Not in months and years, which are no whole days here.
            2.. if rest == 0 && self.subsec_nanos() == 0 => format!("{days}days"),
            _ => humantime::format_duration(*self).to_string(),
        }))
    }
}

impl Value for DateTime<Utc> {
    fn kind() -> String {
        "a moment such as \"2026-11-22T03:00:00Z\"".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(moment) => moment.to_string(),
            other => return Err(wrong::<Self>(other)),
        };
        let moment: Self =
            text.parse().map_err(|e| format!("{text:?} is not a moment ({e}); write {}", Self::kind()))?;
        Ok(moment.trunc_subsecs(0))
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_rfc3339_opts(SecondsFormat::Secs, true)))
    }
}

/// Units of sizes; those of 1000 are left out so that nobody has to guess.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Value for Size {
    fn kind() -> String {
        "a size: an integer number of bytes, or text such as \"512KiB\", \"10MiB\", \"1GiB\"".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = match value {
            DeValue::Integer(_) => {
                return integer::<u64>(value)
                    .map(Self)
                    .map_err(|_| format!("the number is negative or too large; write {}", Self::kind()));
            }
            DeValue::String(text) => text.trim(),
            other => return Err(wrong::<Self>(other)),
        };
        let (digits, unit) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .unwrap_or((text, 1));
        let size = digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        size.map(Self).ok_or_else(|| format!("{text:?} is not a size; write {}", Self::kind()))
    }
    fn show(&self) -> Option<String> {
        let whole = UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        Some(
            whole.map_or_else(
                || "0".to_owned(),
                |(unit, factor)| quoted(&format!("{}{unit}", self.0 / factor)),
            ),
        )
    }
}

impl Value for NodeId {
    fn kind() -> String {
        "a node id in double quotes".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(|| wrong::<Self>(value))?;
        text.trim()
            .parse()
            .map_err(|error| format!("{error}; write the id of this server, or remove the line"))
    }
    fn show(&self) -> Option<String> {
        Some(quoted(self.as_str()))
    }
}

impl Value for KeyHash {
    fn kind() -> String {
        "a key hash such as \"sha256//<base64>\"".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(|| wrong::<Self>(value))?;
        text.parse()
            .map_err(|error| format!("{error}; print the right one with \"agent init\" on that server"))
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl Value for NodeIdRule {
    fn kind() -> String {
        "text in double quotes: \"uid\", \"dns:…{id}…\" or \"uri:…{id}…\"".to_owned()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(|| wrong::<Self>(value))?;
        text.parse().map_err(|error: NodeIdRuleError| error.to_string())
    }
    fn show(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

impl<T: Value> Value for Vec<T> {
    fn kind() -> String {
        format!("a list in brackets; each: {}", T::kind())
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| wrong::<Self>(value))?;
        list.iter().map(|item| T::read(item.get_ref())).collect()
    }
    fn show(&self) -> Option<String> {
        Some(format!("[{}]", self.iter().filter_map(Value::show).collect::<Vec<_>>().join(", ")))
    }
}

impl<T: Value> Value for Option<T> {
    fn kind() -> String {
        T::kind()
    }
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        T::read(value).map(Some)
    }
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(Value::show)
    }
    fn masked(&self) -> Option<String> {
        self.as_ref().and_then(Value::masked)
    }
    fn absent(&self) -> Option<&Absent> {
        self.as_ref().and_then(Value::absent)
    }
}

/// Makes an enum a setting: its words, and what they mean.
macro_rules! words {
    ($T:ty: $($word:literal => $value:path),+ $(,)?) => {
        impl $crate::config::value::Value for $T {
            fn kind() -> String {
                $crate::config::value::one_of(&[$($word),+])
            }
            fn read(value: &toml::de::DeValue<'_>) -> Result<Self, String> {
                match value.as_str() {
                    $(Some($word) => Ok($value),)+
                    Some(other) => Err(format!("{other:?} is not known here; write {}", Self::kind())),
                    None => Err(format!("this is not text; write {}", Self::kind())),
                }
            }
            #[allow(unreachable_patterns)] // several words may mean the same; the first is shown
            fn show(&self) -> Option<String> {
                match self { $($value => Some(format!("{:?}", $word)),)+ }
            }
        }
    };
}
pub(crate) use words;

/// `"a", "b" or "c"`.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

words!(TlsVersion: "1.3" => TlsVersion::V1_3, "1.2" => TlsVersion::V1_2);
