// SPDX-License-Identifier: Apache-2.0
//! How a value is read from XML and written to it: elements within elements, texts at the ends.
//!
//! [`elements!`](crate::inventory::element) declares a struct and, beside each member, the name of its XML element.

use super::{
    cursor::{Cursor, ReadError},
    write::Writer,
};

/// What can be the content of an element.
pub trait Element: Sized {
    /// Reads the content of the element that was just entered, to its end. `None`: it says nothing.
    fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, ReadError>;
    /// Writes the content.
    fn write(&self, writer: &mut Writer);
}

/// A member of a struct: none, one or more elements of a name.
pub trait Member {
    /// Reads the element that was just entered. Where one is expected, the first that says something counts.
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ReadError>;
    /// Writes the elements under that name.
    fn write(&self, name: &str, writer: &mut Writer);
    /// Whether there is none.
    fn is_none(&self) -> bool;
}

impl Element for String {
    fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, ReadError> {
        let text = cursor.text()?;
        let trimmed = text.trim();
        Ok(if trimmed.is_empty() {
            None
        } else if trimmed.len() == text.len() {
            Some(text)
        } else {
            Some(trimmed.to_owned())
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.text(self);
    }
}

/// A number that is none is not there: inventories have "N/A" in such places.
impl Element for u64 {
    fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, ReadError> {
        Ok(cursor.text()?.trim().parse().ok())
    }

    fn write(&self, writer: &mut Writer) {
        writer.text(&self.to_string());
    }
}

/// JSON as text; what is no JSON stays a text.
impl Element for serde_json::Value {
    fn read(cursor: &mut Cursor<'_>) -> Result<Option<Self>, ReadError> {
        let text = <String as Element>::read(cursor)?;
        Ok(text.map(|text| serde_json::from_str(&text).unwrap_or(Self::String(text))))
    }

    fn write(&self, writer: &mut Writer) {
        writer.text(&self.to_string());
    }
}

impl<T: Element> Member for Option<T> {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ReadError> {
        let value = T::read(cursor)?;
        if self.is_none() {
            *self = value;
        }
        Ok(())
    }

    fn write(&self, name: &str, writer: &mut Writer) {
        if let Some(value) = self {
            writer.element(name, value);
        }
    }

    fn is_none(&self) -> bool {
        self.is_none()
    }
}

impl<T: Element> Member for Vec<T> {
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ReadError> {
        self.extend(T::read(cursor)?);
        Ok(())
    }

    fn write(&self, name: &str, writer: &mut Writer) {
        for value in self {
            writer.element(name, value);
        }
    }

    fn is_none(&self) -> bool {
        self.is_empty()
    }
}

/// Declares structs whose members are elements: `name: Type = "ELEMENT"`, where the type is an `Option` or a
/// `Vec`. In JSON a member has its Rust name and is left out where there is none.
macro_rules! elements {
    ($(
        $(#[$about:meta])*
        $struct:ident { $( $(#[$what:meta])* $member:ident: $type:ty = $name:literal, )* }
    )*) => { $(
        $(#[$about])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "json-schema", derive(schemars::JsonSchema))]
        #[serde(default)]
        pub struct $struct {
            $(
                $(#[$what])*
                #[serde(skip_serializing_if = "crate::inventory::element::Member::is_none")]
                pub $member: $type,
            )*
        }

        impl $struct {
            /// Names of its members.
            pub const MEMBERS: &[&str] = &[$( stringify!($member) ),*];
        }

        impl crate::inventory::element::Element for $struct {
            fn read(
                cursor: &mut crate::inventory::cursor::Cursor<'_>,
            ) -> Result<Option<Self>, crate::inventory::cursor::ReadError> {
                use crate::inventory::element::Member;
                let mut read = Self::default();
                while let Some(name) = cursor.child()? {
                    match &*name {
                        $( $name => Member::read(&mut read.$member, cursor)?, )*
                        _ => cursor.skip()?,
                    }
                }
                Ok((read != Self::default()).then_some(read))
            }

            fn write(&self, writer: &mut crate::inventory::write::Writer) {
                $( crate::inventory::element::Member::write(&self.$member, $name, writer); )*
            }
        }
    )* };
}
pub(super) use elements;
