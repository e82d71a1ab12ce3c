// SPDX-License-Identifier: Apache-2.0
//! From two files to an inventory that is complete, of this time, and names its node. CPU work; blocks.

use std::{io::Read as _, path::Path};

use chrono::Utc;
use openssl::sha::{sha256, sha512};
use protocol::{
    certificate::Certificate,
    compression::{self, Compression, CompressionError},
    inventory::{
        self,
        check::{self, Checked},
    },
};

use super::{later, pairs::Pair, rejected, signature, signature::Signature};
use crate::spool::{
    disposition::{Disposition, Reason, Rejection},
    open_regular,
};

/// An inventory whose signature is yet to be verified.
pub(super) struct Read {
    pub(super) checked: Checked,
    /// The certificate in it, of this node.
    pub(super) certificate: Certificate,
    /// When it was made; Unix time.
    pub(super) made: i64,
    /// SHA-256 of the document.
    pub(super) digest: [u8; 32],
    /// SHA-512 of the document, which is what is signed.
    pub(super) signed: [u8; 64],
    pub(super) signature: Signature,
    pub(super) files: Files,
}

/// Both files, as they came.
pub(super) struct Files {
    pub(super) inventory: Vec<u8>,
    pub(super) is_packed: bool,
    pub(super) signature: Vec<u8>,
}

/// Why there is no inventory.
pub(super) enum Unread {
    /// It is larger than this attempt may unpack.
    Larger,
    Ended(Disposition),
}

impl From<Disposition> for Unread {
    fn from(disposition: Disposition) -> Self {
        Self::Ended(disposition)
    }
}

/// Reads both files. `max_size`: of the inventory as it came; `max_inflated`: of the document.
pub(super) fn read(pair: &Pair, max_size: u64, max_inflated: u64) -> Result<Read, Unread> {
    let signature_file = read_bounded(&pair.signature, signature::MAX_SIZE)?;
    let signature =
        Signature::read(&signature_file).map_err(|e| rejected(Reason::BadSignature, e.to_string()))?;
    let packed = read_bounded(&pair.inventory, max_size)?;
    let is_packed = pair.inventory.extension().is_some_and(|extension| extension == "gz");
    let compression = if is_packed { Compression::Gzip } else { Compression::None };
    let document = compression::unpack(&packed, compression, max_inflated).map_err(unpacked)?;
    let bad_content = |error: String| rejected(Reason::BadContent, error);
    let request = inventory::read(&document).map_err(|e| bad_content(e.to_string()))?;
    let checked = check::content(request).map_err(|e| bad_content(e.to_string()))?;
    let made = check::date(&checked.content, Utc::now()).map_err(|e| bad_content(e.to_string()))?;
    let certificate = check::certificate(&checked).map_err(|e| bad_content(e.to_string()))?;
    let (digest, signed) = (sha256(&document), sha512(&document));
    drop(document);
    let files = Files { inventory: packed, is_packed, signature: signature_file };
    Ok(Read { checked, certificate, made: made.timestamp(), digest, signed, signature, files })
}

fn unpacked(error: CompressionError) -> Unread {
    match error {
        CompressionError::TooLarge(_) => Unread::Larger,
        error => Unread::Ended(Disposition::Rejected(Rejection {
            reason: Reason::BadCompression,
            detail: error.to_string(),
            // It may still be written.
            maybe_incomplete: true,
        })),
    }
}

fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, Disposition> {
    let mut content = Vec::new();
    let read = open_regular(path).and_then(|file| file.take(max + 1).read_to_end(&mut content));
    match read {
        Ok(_) if content.len() as u64 > max => {
            Err(rejected(Reason::TooLarge, format!("{} is over {max} bytes", path.display())))
        }
        Ok(_) => Ok(content),
        Err(e) => Err(later(false, format!("cannot read {}: {e}", path.display()), None)),
    }
}
