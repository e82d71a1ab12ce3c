// SPDX-License-Identifier: Apache-2.0
//! Which keys are good enough to belong to somebody (design: RSA of 2048 to 8192 bits, P-256).

use openssl::{
    nid::Nid,
    pkey::{HasPublic, Id, PKeyRef},
};

/// Smallest and largest accepted RSA keys, in bits.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=8192;

/// Whether it is.
pub fn is_accepted(key: &PKeyRef<impl HasPublic>) -> bool {
    match key.id() {
        Id::RSA => RSA_BITS.contains(&key.bits()),
        Id::EC => key.ec_key().is_ok_and(|key| key.group().curve_name() == Some(Nid::X9_62_PRIME256V1)),
        _ => false,
    }
}
