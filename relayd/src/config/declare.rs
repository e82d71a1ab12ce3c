// SPDX-License-Identifier: Apache-2.0
//! How settings are declared: each once, with its type, default, and the text for people. Parsing,
//! the check for unknown keys, the default file and the reference all come from the declaration.

/// A setting's value and where it stands.
#[derive(Debug, Clone)]
pub struct Given<T> {
    /// The value, as typed or by default.
    pub value: T,
    /// Line of the file, from 1; `None` when the default applies.
    pub line: Option<usize>,
}

/// A setting as described to people.
#[derive(Debug)]
pub struct SettingDoc {
    /// Key within its section.
    pub key: &'static str,
    /// What may be written.
    pub kind: String,
    /// The default as TOML; `None` when unset by default.
    pub default: Option<String>,
    /// An example as TOML for settings that are unset by default.
    pub example: Option<&'static str>,
    /// What it does and why the default is what it is, line by line.
    pub doc: &'static [&'static str],
}

/// A section as described to people.
#[derive(Debug)]
pub struct SectionDoc {
    /// Name as in the brackets.
    pub name: &'static str,
    /// What it is about, line by line.
    pub doc: &'static [&'static str],
    /// Its settings, in the order of the default file.
    pub settings: Vec<SettingDoc>,
}

/// A setting as it applies, for `relayd config show`; secrets are masked.
#[derive(Debug)]
pub struct Shown {
    /// Section name.
    pub section: &'static str,
    /// Key within its section.
    pub key: &'static str,
    /// The value as TOML; `None` when unset.
    pub value: Option<String>,
    /// Whether it was given in the file.
    pub given: bool,
}

/// Declares a file: its sections, and in each its settings as `key: Type = default, "example";`.
macro_rules! settings {
    (
        $(#[doc = $file_doc:literal])* $File:ident {
            $(
                $(#[doc = $section_doc:literal])*
                [$section:literal] $section_field:ident: $Section:ident {
                    $( $(#[doc = $doc:literal])* $key:ident: $T:ty = $default:expr $(, $example:literal)?; )*
                }
            )*
        }
    ) => {
        $(#[doc = $file_doc])*
        #[derive(Debug, Clone)]
        pub struct $File { $( $(#[doc = $section_doc])* pub $section_field: $Section, )* }

        $(
            $(#[doc = $section_doc])*
            #[derive(Debug, Clone)]
            pub struct $Section { $( $(#[doc = $doc])* pub $key: $crate::config::declare::Given<$T>, )* }
        )*

        impl $File {
            /// Takes every setting out of `document`; what is wrong is noted there.
            pub fn read(document: &mut $crate::config::document::Document<'_>) -> Self {
                Self { $( $section_field: $Section {
                    $( $key: document.take($section, stringify!($key), || $default), )*
                }, )* }
            }

            /// The names of the sections and of their keys.
            pub const KEYS: &'static [(&'static str, &'static [&'static str])] =
                &[ $( ($section, &[ $( stringify!($key), )* ]), )* ];

            /// Everything there is to say about the settings.
            pub fn describe() -> Vec<$crate::config::declare::SectionDoc> {
                use $crate::config::{declare::{SectionDoc, SettingDoc}, value::Value};
                vec![ $( SectionDoc {
                    name: $section,
                    doc: &[ $( $section_doc, )* ],
                    settings: vec![ $( SettingDoc {
                        key: stringify!($key),
                        kind: <$T as Value>::kind(),
                        default: { let default: $T = $default; default.show() },
                        example: { #[allow(unused_mut, unused_assignments)] let mut example = None; $( example = Some($example); )? example },
                        doc: &[ $( $doc, )* ],
                    }, )* ],
                }, )* ]
            }

            /// All settings as they apply.
            pub fn shown(&self) -> Vec<$crate::config::declare::Shown> {
                use $crate::config::{declare::Shown, value::Value};
                vec![ $( $( Shown {
                    section: $section,
                    key: stringify!($key),
                    value: self.$section_field.$key.value.masked(),
                    given: self.$section_field.$key.line.is_some(),
                }, )* )* ]
            }
        }
    };
}
pub(crate) use settings;
