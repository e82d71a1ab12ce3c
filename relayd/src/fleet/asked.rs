// SPDX-License-Identifier: Apache-2.0
//! What a request asks for: the parts of its path, the members of its query, the format of the answer.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use hyper::{HeaderMap, header::ACCEPT};
use percent_encoding::percent_decode_str;

use super::{Format, Trouble, whole::Extent};

/// Before what is asked for.
const PREFIX: &str = "/rudder/relay-api/1/";
/// Longest member of a query, in bytes: more than any name in a report that anybody can use.
const LONGEST: usize = 4096;
/// Items in a page when nobody says how many.
const USUAL: usize = 100;
/// Most items in a page, and in a part of a list that is sent whole.
pub const MOST: usize = 10_000;

/// A request, taken apart.
#[derive(Debug)]
pub struct Asked {
    /// The parts of the path after the version, decoded.
    pub path: Vec<String>,
    /// The query.
    pub query: Query,
    /// What the answer should look like.
    pub format: Format,
}

/// The members of a query that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Query(BTreeMap<String, String>);

/// Where a list begins, and how many items of it are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging {
    /// What `next` said; `None`: from the beginning.
    pub after: Option<String>,
    /// Most items.
    pub limit: usize,
}

impl Paging {
    /// What `next` says of a list by node: the id of the last one, as JSON, so that nothing else passes for it.
    pub fn node(id: &str) -> String {
        serde_json::Value::from(id).to_string()
    }

    /// The node after which such a list goes on.
    pub fn after_node(&self) -> Result<Option<String>, Trouble> {
        self.after
            .as_deref()
            .map(|after| serde_json::from_str(after).map_err(|_| Self::unreadable(after)))
            .transpose()
    }

    /// An `after` that no `next` has said.
    pub fn unreadable(after: &str) -> Trouble {
        Trouble::Asked(format!("after: {after:?} is none that `next` said here"))
    }
}

impl Asked {
    /// How much of a list is wanted: a page as JSON, all of it as a table, unless `limit` says something else.
    pub fn extent(&mut self) -> Result<Extent, Trouble> {
        self.query.extent(self.format != Format::Json)
    }

    /// Reads a request.
    pub fn read(path: &str, query: Option<&str>, headers: &HeaderMap) -> Result<Self, Trouble> {
        let rest = path.strip_prefix(PREFIX).ok_or(Trouble::Nothing)?;
        let parts = rest.strip_suffix('/').unwrap_or(rest).split('/');
        let decoded = parts.map(|part| percent_decode_str(part).decode_utf8().map(Into::into));
        let path = decoded.collect::<Result<_, _>>().map_err(|_| Trouble::Nothing)?;
        let mut query = Query::read(query)?;
        let format = match query.take("format") {
            Some(name) => Format::named(&name)?,
            None => Format::accepted(headers.get(ACCEPT).and_then(|accept| accept.to_str().ok())),
        };
        Ok(Self { path, query, format })
    }
}

impl Query {
    /// Reads a query; a member may be there once.
    pub fn read(query: Option<&str>) -> Result<Self, Trouble> {
        let mut members = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if value.len() > LONGEST || name.len() > LONGEST {
                return Err(Trouble::Asked(format!("a part of the query is longer than {LONGEST} bytes")));
            }
            if members.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(Trouble::Asked(format!("{name:?} is there twice")));
            }
        }
        Ok(Self(members))
    }

    /// A member, if it is there. An empty one is left for [`Self::finish`] to refuse: it must not pass for none.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.get(name).is_some_and(|value| !value.is_empty()).then(|| self.0.remove(name))?
    }

    /// The members whose names begin so, with their values.
    pub fn take_beginning_with(&mut self, beginning: &str) -> Vec<(String, String)> {
        self.0.extract_if(.., |name, _| name.starts_with(beginning)).collect()
    }

    /// A member of another type.
    pub fn parse<T>(&mut self, name: &str) -> Result<Option<T>, Trouble>
    where
        T: FromStr<Err: Display>,
    {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|error| Trouble::Asked(format!("{name}: {value:?}: {error}")))
    }

    /// `after` and `limit`.
    pub fn paging(&mut self) -> Result<Paging, Trouble> {
        let limit = self.parse("limit")?.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(Trouble::Asked(format!("limit: {limit} is not from 1 to {MOST}")));
        }
        Ok(Paging { after: self.take("after"), limit })
    }

    /// `after` and `limit` of a list that programs read: it is whole when nobody says how much of it is wanted. What
    /// is no JSON has no `next`, and who saves a table looks at no header.
    pub fn extent(&mut self, is_for_programs: bool) -> Result<Extent, Trouble> {
        let is_whole = is_for_programs && !self.0.contains_key("limit");
        let paging = self.paging()?;
        let limit = if is_whole { MOST } else { paging.limit };
        Ok(Extent { paging: Paging { limit, ..paging }, is_whole })
    }

    /// An error when there are members that nobody has taken: a misspelt filter must not show everything.
    pub fn finish(self) -> Result<(), Trouble> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((name, value)) if value.is_empty() => Err(Trouble::Asked(format!(
                "{name:?} is empty, or not known here: say a value, or leave it out"
            ))),
            Some((name, _)) => Err(Trouble::Asked(format!("{name:?} is not known here"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_member_is_refused_and_not_taken_for_none() {
        for text in ["node=", "node", "rule=r&node="] {
            let mut query = Query::read(Some(text)).unwrap();
            assert_eq!((query.take("node"), query.take("rule").is_some()), (None, text.len() > 5));
            let error = query.finish().unwrap_err().to_string();
            assert!(error.starts_with("\"node\" is empty"), "{error}");
        }
        let mut query = Query::read(Some("node=n&version%3E1")).unwrap();
        assert_eq!(query.take("node").as_deref(), Some("n"));
        assert_eq!(query.take_beginning_with("version"), [("version>1".into(), String::new())]);
        query.finish().unwrap();
    }
}
