// SPDX-License-Identifier: Apache-2.0
//! What of a signed manifest is not the list of its files.

/// The parts of a message before and after the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Envelope {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// First line: this and the length of the head.
const FORMAT: &str = "relayd-envelope-1";

impl Envelope {
    /// Takes the list out of a message; `None` when it is not in it.
    pub(super) fn of(message: &[u8], list: &[u8]) -> Option<Self> {
        let at = memchr::memmem::find(message, list)?;
        Some(Self { head: message[..at].to_vec(), tail: message[at + list.len()..].to_vec() })
    }

    /// The message again.
    pub(super) fn around(&self, list: &[u8]) -> Vec<u8> {
        [&self.head, list, &self.tail].concat()
    }

    pub(super) fn read(file: &[u8]) -> Option<Self> {
        let line_end = memchr::memchr(b'\n', file)?;
        let (line, rest) = (std::str::from_utf8(&file[..line_end]).ok()?, &file[line_end + 1..]);
        let length: usize = line.strip_prefix(FORMAT)?.strip_prefix(' ')?.parse().ok()?;
        let (head, tail) = rest.split_at_checked(length)?;
        Some(Self { head: head.to_vec(), tail: tail.to_vec() })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        [format!("{FORMAT} {}\n", self.head.len()).as_bytes(), &self.head, &self.tail].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_apart_and_together() {
        for (message, list) in [("head\r\n list tail", " list "), ("head", "")] {
            let (message, list) = (message.as_bytes(), list.as_bytes());
            let envelope = Envelope::of(message, list).unwrap();
            assert_eq!(Envelope::read(&envelope.write()), Some(envelope.clone()));
            assert_eq!(envelope.around(list), message);
        }
        assert_eq!(Envelope::of(b"head", b"list"), None);
        for file in ["", "relayd-envelope-1 5\nhead", "relayd-envelope-2 0\n", "relayd-envelope-1 x\n"] {
            assert_eq!(Envelope::read(file.as_bytes()), None, "{file:?}");
        }
    }
}
