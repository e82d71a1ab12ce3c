// SPDX-License-Identifier: Apache-2.0
//! Strong entity tags (RFC 9110, 8.8.3).

use std::str::FromStr;

use headers::ETag;
use hyper::header::HeaderValue;

/// A strong entity tag: two with the same tag are equal byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    text: HeaderValue,
    parsed: ETag,
}

impl Tag {
    /// That of a content with this SHA-256: the digest in hexadecimal, in quotes.
    pub fn of(digest: &[u8; 32]) -> Self {
        let text = format!("\"{}\"", hex::encode(digest));
        Self::read(&text).expect("hexadecimal digits in quotes are a strong tag")
    }

    /// Reads a tag; `None` for a weak one, or none at all.
    pub fn read(text: &str) -> Option<Self> {
        let parsed = ETag::from_str(text).ok().filter(|tag| !tag.is_weak())?;
        Some(Self { text: text.parse().ok()?, parsed })
    }

    /// The digest, if it is the tag of one.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let digits = self.text.as_bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        hex::decode(digits).ok()?.try_into().ok()
    }

    /// As the value of a field.
    pub fn header(&self) -> &HeaderValue {
        &self.text
    }

    /// For comparisons.
    pub fn etag(&self) -> &ETag {
        &self.parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_digest_and_only_strong_ones_are_read() {
        let tag = Tag::of(&[0xab; 32]);
        assert_eq!(tag.header().to_str().unwrap(), format!("\"{}\"", "ab".repeat(32)));
        assert_eq!(tag.digest(), Some([0xab; 32]));
        assert_eq!(Tag::read(tag.header().to_str().unwrap()).as_ref(), Some(&tag));
        assert_eq!(Tag::read("\"other\"").unwrap().digest(), None);
        for text in ["W/\"a\"", "a", "\"a", "", "\"a\nb\"", "*"] {
            assert_eq!(Tag::read(text), None, "{text}");
        }
    }
}
