// SPDX-License-Identifier: Apache-2.0
//! The `[logging]` table of our own settings.

use logging::{Format, Level, REPEATS, Settings, check};
use toml::de::DeValue;

/// What the file says; absent keys are `None`.
#[derive(Debug, Clone, Default)]
pub struct Own {
    level: Option<Level>,
    filter: Option<String>,
    format: Option<Format>,
    repeats: Option<u32>,
}

impl Own {
    /// Takes one setting; the error says what is expected.
    pub(super) fn set(&mut self, name: &str, value: &DeValue<'_>) -> Result<(), String> {
        let text = value.as_str().ok_or_else(|| format!("expected a text, found {}", value.type_str()));
        match name {
            "logging.level" => self.level = Some(level(text?)?),
            "logging.filter" => {
                let text = text?;
                check(text).map_err(|e| format!("{e}; directives are separated by commas"))?;
                self.filter = Some(text.to_owned());
            }
            "logging.format" => self.format = Some(format(text?)?),
            _ => {
                let number = value.as_integer().and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok());
                self.repeats = Some(number.ok_or("expected an integer, 0 or more")?);
            }
        }
        Ok(())
    }

    /// With the defaults.
    pub(super) fn resolve(self) -> Settings {
        let filter = self.filter.unwrap_or_default();
        Settings {
            format: self.format.unwrap_or(Format::Auto),
            repeats: self.repeats.unwrap_or(REPEATS),
            ..Settings::new(self.level.unwrap_or(Level::Info), &filter)
        }
    }
}

fn level(word: &str) -> Result<Level, String> {
    Ok(match word {
        "off" => Level::Off,
        "error" => Level::Error,
        "warn" => Level::Warn,
        "info" => Level::Info,
        "debug" => Level::Debug,
        "trace" => Level::Trace,
        _ => return Err("expected \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\"".into()),
    })
}

fn format(word: &str) -> Result<Format, String> {
    Ok(match word {
        "auto" => Format::Auto,
        "human" => Format::Human,
        "json" => Format::Json,
        "journal" => Format::Journal,
        _ => return Err("expected \"auto\", \"human\", \"json\" or \"journal\"".into()),
    })
}
