// SPDX-License-Identifier: Apache-2.0
//! Answers: JSON in the envelope of protocol 7.2, tables as CSV, texts; lists in pages.

use std::io;

use bytes::Bytes;
use hyper::{
    Response,
    header::{CONTENT_TYPE, HeaderValue, LINK},
};
use schemars::JsonSchema;
use serde::Serialize;

use super::Trouble;
use crate::{
    api::Envelope,
    http::{Body, whole},
};

/// What an answer should look like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// The envelope.
    #[default]
    Json,
    /// A table, for spreadsheets (RFC 4180).
    Csv,
    /// A text, where the question has one.
    Text,
}

/// An answer, ready to be sent.
#[derive(Debug)]
pub struct Reply {
    content_type: &'static str,
    body: Bytes,
    /// What `after` asks for the next page with.
    next: Option<String>,
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Asks for the next page, as `after`; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Something that is a row of a table in CSV, and an object in JSON.
pub trait Row: Serialize {
    /// Names of the columns.
    const COLUMNS: &'static [&'static str];

    /// What is in them; nothing is an empty text.
    fn cells(&self) -> Vec<String>;
}

impl Format {
    /// Reads what `format` says.
    pub fn named(name: &str) -> Result<Self, Trouble> {
        match name {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "text" => Ok(Self::Text),
            other => Err(Trouble::Asked(format!("format: {other:?} is not json, csv or text"))),
        }
    }

    /// What `Accept` prefers; JSON when it says nothing of tables and texts (RFC 9110, 12.5.1, without weights).
    pub fn accepted(accept: Option<&str>) -> Self {
        let kinds = accept.unwrap_or_default().split(',');
        let mut kinds = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let known = |kind: &str| match kind {
            "application/json" => Some(Self::Json),
            "text/csv" => Some(Self::Csv),
            "text/plain" => Some(Self::Text),
            _ => None,
        };
        kinds.find_map(known).unwrap_or_default()
    }
}

impl<T> Page<T> {
    /// A page of `limit` of these; whoever asked the database asked for one more than that, to know whether
    /// there is a next page. `key`: what an item is found after.
    pub fn cut(mut items: Vec<T>, limit: usize, key: impl Fn(&T) -> String) -> Self {
        let is_more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| is_more).map(key);
        Self { items, next }
    }
}

impl Reply {
    /// One thing. Only JSON can show it.
    pub fn one<T: Serialize>(action: &'static str, data: &T, format: Format) -> Result<Self, Trouble> {
        match format {
            Format::Json => Self::json(action, data, None),
            Format::Csv | Format::Text => {
                Err(Trouble::Asked("this answer is no list: it is there as JSON only".into()))
            }
        }
    }

    /// A page of a list, as JSON or CSV.
    pub fn page<T: Row>(action: &'static str, page: &Page<T>, format: Format) -> Result<Self, Trouble> {
        match format {
            Format::Json => Self::json(action, page, page.next.clone()),
            Format::Csv => {
                let mut body = Vec::new();
                write_csv(&mut body, &page.items, true).map_err(internal)?;
                Ok(Self {
                    content_type: "text/csv; charset=utf-8",
                    body: body.into(),
                    next: page.next.clone(),
                })
            }
            Format::Text => Err(Trouble::Asked("this answer is there as json and csv only".into())),
        }
    }

    /// A text; `next` as in [`Page`].
    pub fn text(text: String, next: Option<String>) -> Self {
        Self { content_type: "text/plain; charset=utf-8", body: text.into(), next }
    }

    /// Objects for other programs, one in each line; `next` as in [`Page`].
    pub fn lines(lines: Vec<u8>, next: Option<String>) -> Self {
        Self { content_type: "application/x-ndjson", body: lines.into(), next }
    }

    /// Anything in the envelope; `next` as in [`Page`].
    pub fn json<T: Serialize>(action: &'static str, data: &T, next: Option<String>) -> Result<Self, Trouble> {
        let body = serde_json::to_vec(&Envelope::success(action, data)).map_err(internal)?;
        Ok(Self { content_type: "application/json", body: body.into(), next })
    }

    /// The response to a request for this path with this query.
    pub(super) fn into_response(self, path: &str, query: Option<&str>) -> Response<Body> {
        let mut response = Response::new(whole(self.body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        let link = self.next.map(|next| next_page(path, query, &next));
        if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
            headers.insert(LINK, link);
        }
        response
    }
}

/// `Link` to the next page (RFC 8288): the same question with another `after`.
fn next_page(path: &str, query: Option<&str>, next: &str) -> String {
    let mut members = form_urlencoded::Serializer::new(String::new());
    let asked = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    members.extend_pairs(asked.filter(|(name, _)| name != "after"));
    members.append_pair("after", next);
    format!("<{path}?{}>; rel=\"next\"", members.finish())
}

/// Writes a table: a line of names, if that is wanted, and a line for each row.
pub fn write_csv<T: Row>(out: impl io::Write, rows: &[T], with_names: bool) -> io::Result<()> {
    let mut table = csv::Writer::from_writer(out);
    if with_names {
        table.write_record(T::COLUMNS)?;
    }
    for row in rows {
        table.write_record(row.cells())?;
    }
    table.flush()
}

fn internal(error: impl std::fmt::Display) -> Trouble {
    Trouble::Internal(error.to_string())
}
