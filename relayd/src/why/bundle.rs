// SPDX-License-Identifier: Apache-2.0
//! The certificates of one node in the bundle of all. Only those that hold its id are parsed: a bundle of
//! thousands would take seconds otherwise.

use std::{
    fs::File,
    io::{self, Read},
};

use memchr::memmem;
use openssl::base64;
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
    let (begin, end) = (memmem::Finder::new(BEGIN), memmem::Finder::new(END));
    let id = memmem::Finder::new(node.as_str().as_bytes());
    let mut found = Vec::new();
    let mut rest = pem;
    while let Some(at) = begin.find(rest) {
        let block = &rest[at..];
        let Some(length) = end.find(block) else { break };
        let text: Vec<u8> =
            block[BEGIN.len()..length].iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
        let der = std::str::from_utf8(&text).ok().and_then(|text| base64::decode_block(text).ok());
        if der.is_some_and(|der| id.find(&der).is_some())
            && let Ok(certificate) = Certificate::from_pem(&block[..length + END.len()])
            && certificate.node_id() == Some(node)
        {
            found.push(certificate);
        }
        rest = &block[length..];
    }
    found
}

#[cfg(test)]
mod tests {
    use protocol::private_key::{self, KeyKind};

    use super::*;

    #[test]
    fn the_certificates_of_one_node_are_found_among_others() {
        let pem = |node: &str| {
            let key = private_key::generate(KeyKind::P256).unwrap();
            private_key::self_signed(&key, &node.parse().unwrap()).unwrap().to_pem()
        };
        let bundle =
            [pem("a-node"), b"\n".to_vec(), pem("another"), pem("a-node"), pem("a-node-too")].concat();
        let found = |node: &str| of_node(&bundle, &node.parse().unwrap()).len();
        assert_eq!([found("a-node"), found("another"), found("a-node-too"), found("nobody")], [2, 1, 1, 0]);
        assert_eq!(of_node(&bundle[..bundle.len() - 40], &"a-node-too".parse().unwrap()).len(), 0);
    }
}
