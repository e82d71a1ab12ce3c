// SPDX-License-Identifier: Apache-2.0
//! Requests of version 1: forms (protocol 7.6).

use std::{borrow::Cow, collections::HashSet};

use percent_encoding::percent_decode_str;

use super::{ConditionError, Conditions};
use crate::node_id::NodeId;

/// A request of version 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunForm {
    /// The answer does not wait for the end.
    pub asynchronous: bool,
    /// The answer holds what the runs write.
    pub keep_output: bool,
    /// What the runs are told.
    pub conditions: Conditions,
    /// The field `nodes`, each id once, in order; `None` without the field.
    pub nodes: Option<Vec<NodeId>>,
    /// How many texts in `nodes` are no node ids. They are passed over like unknown ids.
    pub bad_ids: usize,
}

/// Why a form is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Not a form, or one that names a field twice (500).
    #[error("malformed form: {0}")]
    Malformed(&'static str),
    /// Neither `true` nor `false` (400).
    #[error("{0}: should be true or false")]
    NotBoolean(&'static str),
    /// A condition (400).
    #[error(transparent)]
    Condition(#[from] ConditionError),
}

#[derive(Default)]
struct Fields<'a> {
    asynchronous: Option<Cow<'a, str>>,
    keep_output: Option<Cow<'a, str>>,
    conditions: Option<Cow<'a, str>>,
    classes: Option<Cow<'a, str>>,
    nodes: Option<Cow<'a, str>>,
}

impl RunForm {
    /// Reads a body. Fields that are not known are passed over.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        let fields = Fields::parse(body)?;
        let conditions = fields.conditions.or(fields.classes).unwrap_or_default().parse()?;
        let mut form = Self {
            asynchronous: boolean("asynchronous", fields.asynchronous)?,
            keep_output: boolean("keep_output", fields.keep_output)?,
            conditions,
            nodes: None,
            bad_ids: 0,
        };
        if let Some(nodes) = fields.nodes {
            form.name_nodes(&nodes);
        }
        Ok(form)
    }

    /// The form as it is sent to relays: `classes` is the name that all of them know.
    pub fn to_body(&self) -> String {
        let Self { asynchronous, keep_output, .. } = self;
        // Neither conditions nor ids hold what would have to be escaped.
        let classes = self.conditions.iter().map(ToString::to_string).collect::<Vec<_>>().join("%2C");
        let mut body = format!("keep_output={keep_output}&asynchronous={asynchronous}&classes={classes}");
        if let Some(nodes) = &self.nodes {
            let nodes: Vec<&str> = nodes.iter().map(NodeId::as_str).collect();
            body += "&nodes=";
            body += &nodes.join("%2C");
        }
        body
    }

    fn name_nodes(&mut self, text: &str) {
        let mut seen = HashSet::new();
        let mut nodes = Vec::new();
        for id in text.split(',').filter(|id| !id.is_empty()) {
            match id.parse::<NodeId>() {
                Ok(node) if seen.insert(node.clone()) => nodes.push(node),
                Ok(_) => {}
                Err(_) => self.bad_ids += 1,
            }
        }
        self.nodes = Some(nodes);
    }
}

impl<'a> Fields<'a> {
    fn parse(body: &'a [u8]) -> Result<Self, FormError> {
        let body = std::str::from_utf8(body).map_err(|_| FormError::Malformed("not UTF-8"))?;
        let mut fields = Self::default();
        for pair in body.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let field = match &*decoded(name)? {
                "asynchronous" => &mut fields.asynchronous,
                "keep_output" => &mut fields.keep_output,
                "conditions" => &mut fields.conditions,
                "classes" => &mut fields.classes,
                "nodes" => &mut fields.nodes,
                _ => continue,
            };
            if field.replace(decoded(value)?).is_some() {
                return Err(FormError::Malformed("a field is there twice"));
            }
        }
        Ok(fields)
    }
}

fn decoded(text: &str) -> Result<Cow<'_, str>, FormError> {
    let not_utf8 = |_| FormError::Malformed("not UTF-8");
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().map_err(not_utf8);
    }
    let spaced = text.replace('+', " ");
    let text = percent_decode_str(&spaced).decode_utf8().map_err(not_utf8)?;
    Ok(Cow::Owned(text.into_owned()))
}

fn boolean(name: &'static str, value: Option<Cow<'_, str>>) -> Result<bool, FormError> {
    match value.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(FormError::NotBoolean(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_forms_say() {
        assert_eq!(RunForm::parse(b""), Ok(RunForm::default()));
        let form =
            RunForm::parse(b"asynchronous=true&keep_output=false&classes=a%2Cb&nodes=root,%2F,n1,root,&x");
        let form = form.unwrap();
        assert!(form.asynchronous && !form.keep_output);
        assert_eq!(form.conditions.to_string(), "a,b");
        let nodes = ["root", "n1"].map(|id| id.parse().unwrap()).to_vec();
        assert_eq!((form.nodes, form.bad_ids), (Some(nodes), 1));
        let both = RunForm::parse(b"classes=old&conditions=new").unwrap();
        assert_eq!(both.conditions.to_string(), "new");
        let none = RunForm::parse(b"classes=old&conditions=").unwrap();
        assert!(none.conditions.is_empty(), "classes count only when conditions is absent");
    }

    #[test]
    fn relays_get_the_older_name() {
        let mut form = RunForm { keep_output: true, ..RunForm::default() };
        assert_eq!(form.to_body(), "keep_output=true&asynchronous=false&classes=");
        form.conditions = "a,b_c".parse().unwrap();
        form.nodes = Some(vec![NodeId::root(), "n1".parse().unwrap()]);
        let body = form.to_body();
        assert_eq!(body, "keep_output=true&asynchronous=false&classes=a%2Cb_c&nodes=root%2Cn1");
        assert_eq!(RunForm::parse(body.as_bytes()), Ok(form));
    }

    #[test]
    fn what_is_refused() {
        for bad in
            [&b"nodes=\xff"[..], b"classes=%ff", b"nodes=a&nodes=b", b"asynchronous=true&asynchronous=true"]
        {
            assert!(matches!(RunForm::parse(bad), Err(FormError::Malformed(_))), "{bad:?}");
        }
        for bad in ["asynchronous=", "asynchronous=True", "keep_output=1", "asynchronous"] {
            assert!(matches!(RunForm::parse(bad.as_bytes()), Err(FormError::NotBoolean(_))), "{bad}");
        }
        assert_eq!(
            RunForm::parse(b"conditions=a+b").unwrap_err().to_string(),
            "invalid condition: a b, should match ^[a-zA-Z0-9][a-zA-Z0-9_]*$"
        );
    }
}
