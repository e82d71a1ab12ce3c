// SPDX-License-Identifier: Apache-2.0
//! What a node says of itself: hardware, operating system, network, users, software (protocol 6).
//!
//! | file | what |
//! |---|---|
//! | [`model`] | the document: one struct for each kind of element |
//! | [`hardware`], [`software`], [`system`] | elements of these kinds |
//! | [`element`] | how a struct is read from XML and written to it, declared once for both |
//! | [`read()`], [`cursor`] | XML into the model, within limits |
//! | [`write()`] | the model into XML, in the layout that existing servers read |
//! | [`check`] | whether a document is one that a server takes in (protocol 6.5) |
//! | [`momentary`] | what is different each time, apart from what is worth a history |
//!
//! What the model does not know is passed over, as existing servers do.

pub mod check;
pub mod cursor;
pub mod element;
pub mod hardware;
pub mod model;
pub mod momentary;
pub mod software;
pub mod system;
mod write;

pub use self::{
    cursor::{ReadError, read},
    model::{Content, Request, Rudder},
    write::write,
};
