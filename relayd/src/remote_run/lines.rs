// SPDX-License-Identifier: Apache-2.0
//! Cuts what programs and older relays write into lines, with bounded memory.

use protocol::remote_run::MAX_OUTPUT_LINE;

/// Lines of a stream of bytes. A line that is longer than [`MAX_OUTPUT_LINE`] comes in pieces.
#[derive(Debug, Default)]
pub struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Takes bytes; calls `each` with each line that ends in them (without its line end) and each piece
    /// that is as long as a line may be.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = MAX_OUTPUT_LINE - self.begun.len();
            let end = memchr::memchr(b'\n', bytes);
            let take = end.unwrap_or(bytes.len()).min(room);
            self.begun.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if end == Some(take) {
                bytes = &bytes[1..];
            } else if self.begun.len() < MAX_OUTPUT_LINE {
                continue;
            }
            each(self.begun.strip_suffix(b"\r").unwrap_or(&self.begun));
            self.begun.clear();
        }
    }

    /// What follows the last line end, if anything does.
    pub fn rest(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.begun)).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cut(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut found) = (Lines::default(), Vec::new());
        pieces.iter().for_each(|piece| lines.push(piece, |line| found.push(line.to_vec())));
        found.extend(lines.rest());
        found
    }

    proptest! {
        #[test]
        fn where_the_pieces_are_cut_does_not_matter(
            bytes in "[ab\n]{0,80}", repeat in 1..300_usize, cut_at in 0..20_000_usize,
        ) {
            let bytes = bytes.repeat(repeat).into_bytes();
            let (one, two) = bytes.split_at(cut_at.min(bytes.len()));
            let found = cut(&[one, two]);
            prop_assert_eq!(&found, &cut(&[&bytes]));
            prop_assert!(found.iter().all(|line| line.len() <= MAX_OUTPUT_LINE && !line.contains(&b'\n')));
            let whole: Vec<u8> = found.concat();
            let wanted: Vec<u8> = bytes.iter().copied().filter(|b| *b != b'\n').collect();
            prop_assert_eq!(whole, wanted);
        }
    }

    #[test]
    fn lines_as_they_are() {
        assert_eq!(cut(&[b"a\r\n\nb", b"c\nd"]), [&b"a"[..], b"", b"bc", b"d"]);
        let long = vec![b'x'; MAX_OUTPUT_LINE];
        assert_eq!(cut(&[&long, b"\ny"]), [&long[..], b"", b"y"]);
    }
}
