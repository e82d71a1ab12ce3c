// SPDX-License-Identifier: Apache-2.0
//! The certificates of one node in the bundle of all. Only those that hold its id are parsed: a bundle of
//! thousands would take seconds otherwise.

use std::{
    fs::File,
    io::{self, Read},
};

use memchr::memmem;
use openssl::{base64, x509::X509};
use protocol::{certificate::Certificate, node_id::NodeId};

use crate::config::{Config, NodesSource, RunLogOutput};

/// What was found.
#[derive(Debug)]
pub enum Bundle {
    /// This server has no use for it.
    NotNeeded,
    /// It is too large to be looked through in time.
    TooLarge,
    /// It cannot be read.
    Unreadable(io::ErrorKind, String),
    /// The certificates of the node.
    Read(Vec<Certificate>),
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// Looks for the certificates of a node, where they say with which keys it may sign.
pub fn look(config: &Config, node: Option<&NodeId>, most: u64) -> Bundle {
    let verifies = config.run_logs.output == RunLogOutput::Database;
    let (Some(node), true, NodesSource::Files) = (node, verifies, config.nodes.source) else {
        return Bundle::NotNeeded;
    };
    let mut pem = Vec::new();
    match File::open(&config.general.nodes_certs_file).map(|file| file.take(most + 1).read_to_end(&mut pem)) {
        Ok(Ok(read)) if read as u64 > most => Bundle::TooLarge,
        Ok(Ok(_)) => Bundle::Read(of_node(&pem, node)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Bundle::Read(Vec::new()),
        Ok(Err(error)) | Err(error) => Bundle::Unreadable(error.kind(), error.to_string()),
    }
}

fn of_node(pem: &[u8], node: &NodeId) -> Vec<Certificate> {
    let text = joined(pem);
    let Some(forms) = forms(node) else { return each(&text, node) };
    let (begin, end) = (memmem::FinderRev::new(BEGIN), memmem::Finder::new(END));
    let mut at: Vec<usize> = forms.iter().flat_map(|form| memmem::find_iter(&text, form)).collect();
    // In the order of the file, each certificate once: subject and issuer have the id, both.
    at.sort_unstable();
    let mut blocks: Vec<&[u8]> = at
        .into_iter()
        .filter_map(|at| {
            let from = begin.rfind(&text[..at])?;
            let length = end.find(&text[from..])?;
            Some(&text[from..from + length])
        })
        .collect();
    blocks.dedup_by_key(|block| block.as_ptr());
    blocks.into_iter().filter_map(|block| certificate(block, node)).collect()
}

/// The bundle without line breaks, so that what is broken into lines can be found.
fn joined(pem: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(pem.len());
    for line in pem.split_inclusive(|byte| *byte == b'\n') {
        text.extend_from_slice(line.trim_ascii_end());
    }
    text
}

/// Shortest id that is looked for in base64: shorter ones would be found everywhere.
const SHORTEST: usize = 8;

/// How base64 has an id, by where in a group of three bytes it begins: without the characters at both ends, which
/// other bytes have a part in.
fn forms(node: &NodeId) -> Option<[Vec<u8>; 3]> {
    let id = node.as_str().as_bytes();
    (id.len() >= SHORTEST).then(|| {
        [0, 1, 2].map(|before| {
            let bytes = [&[0; 2][..before], id].concat();
            let (first, last) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
            base64::encode_block(&bytes).as_bytes()[first..last].to_vec()
        })
    })
}

fn each(text: &[u8], node: &NodeId) -> Vec<Certificate> {
    let blocks = memmem::find_iter(text, BEGIN).filter_map(|from| {
        let length = memmem::find(&text[from..], END)?;
        Some(&text[from..from + length])
    });
    blocks.filter_map(|block| certificate(block, node)).collect()
}

/// The certificate in a block without line breaks and without its end, if it is of the node.
fn certificate(block: &[u8], node: &NodeId) -> Option<Certificate> {
    let der = base64::decode_block(std::str::from_utf8(&block[BEGIN.len()..]).ok()?).ok()?;
    let certificate = Certificate::new(X509::from_der(&der).ok()?).ok()?;
    (certificate.node_id() == Some(node)).then_some(certificate)
}

#[cfg(test)]
mod tests {
    use protocol::private_key::{self, KeyKind};

    use super::*;

    #[test]
    fn the_certificates_of_one_node_are_found_among_others() {
        let key = private_key::generate(KeyKind::P256).unwrap();
        let pem = |node: &str| private_key::self_signed(&key, &node.parse().unwrap()).unwrap().to_pem();
        let bundle =
            [pem("a-node"), b"\n".to_vec(), pem("another"), pem("a-node"), pem("a-node-too")].concat();
        let found = |node: &str| of_node(&bundle, &node.parse().unwrap()).len();
        assert_eq!([found("a-node"), found("another"), found("a-node-too"), found("nobody")], [2, 1, 1, 0]);
        assert_eq!(of_node(&bundle[..bundle.len() - 40], &"a-node-too".parse().unwrap()).len(), 0);
    }

    #[test]
    fn an_id_is_found_wherever_it_begins_in_its_group() {
        let key = private_key::generate(KeyKind::P256).unwrap();
        // Ids of other lengths move what follows them.
        for length in 8..14 {
            let node: NodeId = "n".repeat(length).parse().unwrap();
            let certificate = private_key::self_signed(&key, &node).unwrap();
            let windows: Vec<u8> = certificate
                .to_pem()
                .iter()
                .flat_map(|byte| match byte {
                    b'\n' => vec![b'\r', b'\n'],
                    byte => vec![*byte],
                })
                .collect();
            for pem in [certificate.to_pem(), windows] {
                assert_eq!(of_node(&pem, &node).len(), 1, "{length}");
            }
        }
    }
}
