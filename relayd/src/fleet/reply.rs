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

use super::{
    Paging, Question, Trouble,
    readers::Readers,
    whole::{self, Extent},
};
use crate::{
    api::Envelope,
    db::Connection,
    http::{self, Body, Call},
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
pub struct Reply {
    pub(super) content_type: &'static str,
    pub(super) body: Bytes,
    /// What `after` asks for the next page with.
    pub(super) next: Option<String>,
    /// What asks for the rest of this answer.
    pub(super) rest: Option<Question>,
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

    /// A list, as JSON or CSV. `page` makes a page of it.
    pub fn list<T: Row>(
        action: &'static str,
        c: &mut Connection,
        extent: Extent,
        format: Format,
        mut page: impl FnMut(&mut Connection, &Paging) -> Result<Page<T>, Trouble> + Send + 'static,
    ) -> Result<Self, Trouble> {
        match format {
            Format::Json => {
                let page = page(c, &extent.paging)?;
                Self::json(action, &page, page.next.clone())
            }
            Format::Csv => Self::table(c, extent, page),
            Format::Text => Err(Trouble::Asked("this answer is there as json and csv only".into())),
        }
    }

    /// A list as CSV.
    pub fn table<T: Row>(
        c: &mut Connection,
        extent: Extent,
        mut page: impl FnMut(&mut Connection, &Paging) -> Result<Page<T>, Trouble> + Send + 'static,
    ) -> Result<Self, Trouble> {
        let mut with_names = true;
        Self::in_parts("text/csv; charset=utf-8", c, extent, move |c, paging| {
            let (page, mut table) = (page(c, paging)?, Vec::new());
            write_csv(&mut table, &page.items, with_names).map_err(internal)?;
            with_names = false;
            Ok((table, page.next))
        })
    }

    /// A text. `part` makes the part that a paging asks for, and says where the next one begins.
    pub fn text(
        c: &mut Connection,
        extent: Extent,
        mut part: impl FnMut(&mut Connection, &Paging) -> Result<(String, Option<String>), Trouble>
        + Send
        + 'static,
    ) -> Result<Self, Trouble> {
        Self::in_parts("text/plain; charset=utf-8", c, extent, move |c, paging| {
            part(c, paging).map(|(text, next)| (text.into_bytes(), next))
        })
    }

    /// Objects for other programs, one in each line; `part` as for texts.
    pub fn lines(
        c: &mut Connection,
        extent: Extent,
        part: impl FnMut(&mut Connection, &Paging) -> Result<(Vec<u8>, Option<String>), Trouble> + Send + 'static,
    ) -> Result<Self, Trouble> {
        Self::in_parts("application/x-ndjson", c, extent, part)
    }

    /// Anything in the envelope; `next` as in [`Page`].
    pub fn json<T: Serialize>(action: &'static str, data: &T, next: Option<String>) -> Result<Self, Trouble> {
        let body = serde_json::to_vec(&Envelope::success(action, data)).map_err(internal)?;
        Ok(Self { content_type: "application/json", body: body.into(), next, rest: None })
    }

    /// The response to this call; `readers` are asked for the rest.
    pub(super) fn into_response(self, call: &Call, readers: &Readers) -> Response<Body> {
        let body = match self.rest {
            None => http::whole(self.body),
            Some(rest) => whole::body(readers.clone(), self.body, rest, call.stop.clone()),
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        let link = self.next.map(|next| next_page(&call.path, call.query.as_deref(), &next));
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

/// Writes a table: a line of names, if that is wanted, and a line for each row. What a spreadsheet would take for a
/// formula begins with an apostrophe: nodes say what they like.
pub fn write_csv<T: Row>(out: impl io::Write, rows: &[T], with_names: bool) -> io::Result<()> {
    let mut table = csv::Writer::from_writer(out);
    if with_names {
        table.write_record(T::COLUMNS)?;
    }
    for row in rows {
        table.write_record(row.cells().into_iter().map(inert))?;
    }
    table.flush()
}

/// A cell in which no spreadsheet sees a formula (OWASP, CSV Injection). Numbers are none.
fn inert(cell: String) -> String {
    const BEGINNINGS: [char; 10] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '＠'];
    let is_number =
        || cell.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'-' | b'.')) && cell.parse::<f64>().is_ok();
    if cell.starts_with(BEGINNINGS) && !is_number() { format!("'{cell}") } else { cell }
}

fn internal(error: impl std::fmt::Display) -> Trouble {
    Trouble::Internal(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct One(&'static str);

    impl Row for One {
        const COLUMNS: &'static [&'static str] = &["one", "two"];

        fn cells(&self) -> Vec<String> {
            vec![self.0.into(), "x".into()]
        }
    }

    #[test]
    fn what_a_node_says_is_no_formula() {
        for (said, written) in [
            ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
            ("+1", "'+1"),
            ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"),
            ("@SUM(1)", "'@SUM(1)"),
            ("\t=1", "'\t=1"),
            ("\r=1", "\"'\r=1\""),
            ("\n=1", "\"'\n=1\""),
            ("=1,\"2", "\"'=1,\"\"2\""),
            ("＝1", "'＝1"),
            ("-", "'-"),
            ("-1.5", "-1.5"),
            ("a=b", "a=b"),
            ("", ""),
        ] {
            let mut table = Vec::new();
            write_csv(&mut table, &[One(said)], false).unwrap();
            assert_eq!(String::from_utf8(table).unwrap(), format!("{written},x\n"));
        }
    }
}
