// SPDX-License-Identifier: Apache-2.0
//! Pieces of DER, read in place and written without copies that nobody erases.

use der::{AnyRef, Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use zeroize::Zeroizing;

/// Content of the one value in `der`.
pub fn value_of(der: &[u8], tag: Tag) -> der::Result<&[u8]> {
    let mut reader = SliceReader::new(der)?;
    let value = take(&mut reader, tag)?;
    reader.finish(value)
}

/// Content of the first value in `der`.
pub fn first_value(der: &[u8], tag: Tag) -> der::Result<&[u8]> {
    take(&mut SliceReader::new(der)?, tag)
}

/// Content of the next value.
pub fn take<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    let value = AnyRef::decode(reader)?;
    value.tag().assert_eq(tag)?;
    Ok(value.value())
}

/// The next value with its tag and length.
pub fn take_whole<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> der::Result<&'a [u8]> {
    reader.peek_tag()?.assert_eq(tag)?;
    reader.tlv_bytes()
}

/// `[number]`, constructed.
pub const fn context(number: TagNumber) -> Tag {
    Tag::ContextSpecific { constructed: true, number }
}

/// A value of these parts, one after the other.
pub fn value(tag: Tag, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut der = Zeroizing::new(Vec::with_capacity(length + 10));
    der.push(tag.octet());
    let octets = length.to_be_bytes();
    let octets = &octets[octets.iter().position(|&octet| octet != 0).unwrap_or(octets.len() - 1)..];
    match octets {
        [short @ 0..0x80] => der.push(*short),
        long => {
            der.push(0x80 | long.len() as u8);
            der.extend_from_slice(long);
        }
    }
    parts.iter().for_each(|part| der.extend_from_slice(part));
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_any_length_are_read_back() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 70_000] {
            let content = vec![7; length];
            let (head, tail) = content.split_at(length / 2);
            let der = value(Tag::OctetString, &[head, tail]);
            assert_eq!(value_of(&der, Tag::OctetString).unwrap(), content);
        }
    }
}
