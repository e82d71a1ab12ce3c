// SPDX-License-Identifier: Apache-2.0
//! The packages of a node are kept in 64 parts, called chunks, by the hash of their names: a package that
//! changes makes one chunk new, and whoever asks for a package looks at one chunk of each node.

/// Chunks of an inventory.
pub const BUCKETS: usize = 64;

/// The bucket of the packages with this name: below [`BUCKETS`]. It is in the database, so it never changes:
/// the lower six bits of the first byte of the SHA-256 of the name.
pub fn of(name: &str) -> usize {
    usize::from(openssl::sha::sha256(name.as_bytes())[0]) % BUCKETS
}

/// Ids as the database has them: decimal, separated by commas. What is no id is 0, which no row has.
pub fn ids(text: &str) -> impl Iterator<Item = i64> + '_ {
    text.split(',').map(|id| id.parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_for_ever() {
        // echo -n bash | sha256sum
        assert_eq!(of("bash"), 0x37 & 63);
        assert_eq!(of(""), 0xe3 & 63);
        assert_eq!(ids("3,0,17").collect::<Vec<_>>(), [3, 0, 17]);
    }
}
