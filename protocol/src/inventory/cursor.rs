// SPDX-License-Identifier: Apache-2.0
//! Goes through an XML document once, from element to element, within limits.
//!
//! Document types and entities of one's own are refused: no inventory has them, attacks do.

use quick_xml::{Reader, escape::resolve_xml_entity, events::Event};

use super::{element::Element, model::Request};

/// Why a document cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not well-formed.
    #[error("malformed XML: {0}")]
    Xml(String),
    /// It declares entities, or uses such that XML does not have.
    #[error("it has a document type, or entities of its own")]
    DocumentType,
    /// Deeper than [`MAX_DEPTH`].
    #[error("its elements are nested deeper than {MAX_DEPTH} levels")]
    Depth,
    /// More than [`MAX_ELEMENTS`].
    #[error("it has more than {MAX_ELEMENTS} elements")]
    Elements,
    /// More than [`MAX_LISTED`] packages, or updates.
    #[error("it has more than {MAX_LISTED} {0}")]
    Listed(String),
    /// A text longer than [`MAX_TEXT`].
    #[error("{0} is longer than {MAX_TEXT} bytes")]
    TooLong(String),
    /// All texts are longer than [`MAX_TEXTS`].
    #[error("its texts are longer than {MAX_TEXTS} bytes in all")]
    TooMuch,
    /// A character that no text has.
    #[error("{0} has a NUL character")]
    Nul(String),
    /// Something else than an inventory.
    #[error("the root element is not REQUEST, or not the only one")]
    NotRequest,
}

/// Deepest nesting; real inventories have five levels.
pub const MAX_DEPTH: usize = 32;
/// Most elements; a machine with 10,000 packages has some 150,000.
pub const MAX_ELEMENTS: usize = 500_000;
/// Most packages, and most updates; no machine has as many.
pub const MAX_LISTED: usize = 30_000;
/// Elements of which these are, within [`LISTS_DEPTH`] others: each takes more room in memory than in the document.
const LISTS: [&str; 2] = ["SOFTWARES", "SOFTWAREUPDATES"];
const LISTS_DEPTH: usize = 2;
/// Longest text of an element, in bytes.
pub const MAX_TEXT: usize = 1024 * 1024;
/// All texts that are read, in bytes.
pub const MAX_TEXTS: usize = 64 * 1024 * 1024;

/// Reads an inventory. What is not UTF-8 in it becomes U+FFFD. Nothing is checked but that the document is
/// well-formed and within limits: see [`super::check`].
pub fn read(document: &[u8]) -> Result<Request, ReadError> {
    let text = String::from_utf8_lossy(document);
    let mut cursor = Cursor::new(text.strip_prefix('\u{feff}').unwrap_or(&text));
    if cursor.child()?.as_deref() != Some("REQUEST") {
        return Err(ReadError::NotRequest);
    }
    let request = Request::read(&mut cursor)?.unwrap_or_default();
    match cursor.child()? {
        None => Ok(request),
        Some(_) => Err(ReadError::NotRequest),
    }
}

/// A place in a document: within the elements that were entered.
pub struct Cursor<'x> {
    reader: Reader<&'x [u8]>,
    /// Names of the elements around this place.
    path: Vec<String>,
    elements: usize,
    /// By place in [`LISTS`].
    listed: [usize; LISTS.len()],
    texts: usize,
}

impl<'x> Cursor<'x> {
    fn new(document: &'x str) -> Self {
        let mut reader = Reader::from_str(document);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, path: Vec::new(), elements: 0, listed: [0; LISTS.len()], texts: 0 }
    }

    /// Enters the next element within the present one and returns its name, or leaves the present one.
    /// Texts between elements are passed over.
    pub fn child(&mut self) -> Result<Option<String>, ReadError> {
        loop {
            match self.event()? {
                Event::Start(start) => return self.enter(start.name().as_ref()).map(Some),
                Event::End(_) => {
                    self.path.pop();
                    return Ok(None);
                }
                Event::Eof => return Ok(None),
                _ => {}
            }
        }
    }

    /// Leaves the present element, whatever is in it.
    pub fn skip(&mut self) -> Result<(), ReadError> {
        let around = self.path.len().saturating_sub(1);
        while self.path.len() > around {
            self.child()?;
        }
        Ok(())
    }

    /// The text of the present element, which it leaves. Elements within are passed over.
    pub fn text(&mut self) -> Result<String, ReadError> {
        let mut text = String::new();
        loop {
            match self.event()? {
                Event::Start(start) => {
                    self.enter(start.name().as_ref())?;
                    self.skip()?;
                }
                Event::End(_) => break,
                Event::Text(part) => self.append(&mut text, &part.xml10_content())?,
                Event::CData(part) => self.append(&mut text, &part.xml10_content())?,
                Event::GeneralRef(entity) => {
                    let character = entity.resolve_char_ref().map_err(malformed)?;
                    match character {
                        Some(character) => self.append(&mut text, character.encode_utf8(&mut [0; 4]))?,
                        // Checked by `event`.
                        None => self.append(&mut text, resolve_xml_entity(&entity).unwrap_or_default())?,
                    }
                }
                _ => {}
            }
        }
        if text.contains('\0') {
            return Err(ReadError::Nul(self.place()));
        }
        self.path.pop();
        Ok(text)
    }

    /// The next event. Within an element it is never the end of the document.
    fn event(&mut self) -> Result<Event<'x>, ReadError> {
        let event = self.reader.read_event().map_err(malformed)?;
        match &event {
            Event::DocType(_) => Err(ReadError::DocumentType),
            Event::GeneralRef(entity) if !entity.is_char_ref() && resolve_xml_entity(entity).is_none() => {
                Err(ReadError::DocumentType)
            }
            Event::Eof if !self.path.is_empty() => Err(ReadError::Xml("it ends within an element".into())),
            _ => Ok(event),
        }
    }

    fn enter(&mut self, name: &str) -> Result<String, ReadError> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            return Err(ReadError::Elements);
        }
        if self.path.len() == MAX_DEPTH {
            return Err(ReadError::Depth);
        }
        let list = LISTS.iter().position(|list| self.path.len() == LISTS_DEPTH && *list == name);
        if let Some(listed) = list.map(|list| &mut self.listed[list]) {
            *listed += 1;
            if *listed > MAX_LISTED {
                return Err(ReadError::Listed(name.to_owned()));
            }
        }
        self.path.push(name.to_owned());
        Ok(name.to_owned())
    }

    fn append(&mut self, text: &mut String, part: &str) -> Result<(), ReadError> {
        self.texts += part.len();
        if text.len() + part.len() > MAX_TEXT {
            return Err(ReadError::TooLong(self.place()));
        }
        if self.texts > MAX_TEXTS {
            return Err(ReadError::TooMuch);
        }
        text.push_str(part);
        Ok(())
    }

    fn place(&self) -> String {
        self.path.join("/")
    }
}

fn malformed(error: quick_xml::Error) -> ReadError {
    ReadError::Xml(error.to_string())
}
