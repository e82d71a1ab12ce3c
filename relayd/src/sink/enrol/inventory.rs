// SPDX-License-Identifier: Apache-2.0
//! What an inventory says about the identity of its node (protocol 6.5, 6.6), and nothing else of it.
//!
//! The reader goes through the document once and keeps a handful of short texts. Document types and
//! entities of one's own are refused: no inventory has them, attacks do.

use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use protocol::{
    certificate::{Certificate, CertificateError},
    node_id::NodeId,
};
use quick_xml::{Reader, escape::resolve_xml_entity, events::Event};

/// Who sent an inventory, as it says.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) node_id: NodeId,
    pub(super) hostname: String,
    pub(super) policy_server: NodeId,
    pub(super) certificate: Certificate,
}

/// Why an inventory cannot enrol a node.
#[derive(Debug, thiserror::Error)]
pub(super) enum InventoryError {
    #[error("malformed XML: {0}")]
    Xml(String),
    #[error("it has a document type, or entities of its own")]
    DocumentType,
    #[error("its elements are nested deeper than {MAX_DEPTH} levels")]
    Depth,
    #[error("{0} is longer than {MAX_TEXT} bytes")]
    TooLong(&'static str),
    #[error("the root element is not REQUEST")]
    NotRequest,
    #[error("not exactly one RUDDER element")]
    Rudder,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is malformed: {1}")]
    Malformed(&'static str, String),
    #[error("AGENT_CERT: {0}")]
    Certificate(#[from] CertificateError),
    #[error("the certificate is not that of node {0}")]
    OtherNode(NodeId),
    #[error("made {0}, which is not within two days before and 12 hours after now")]
    Date(DateTime<Utc>),
}

/// Deepest nesting; real inventories have some ten levels.
const MAX_DEPTH: usize = 64;
/// Longest text that is kept, in bytes: a certificate takes some two thousand.
const MAX_TEXT: usize = 64 * 1024;
const OLDEST: Duration = Duration::from_secs(2 * 86_400);
const EARLIEST: Duration = Duration::from_secs(12 * 3600);

const REQUEST: &str = "REQUEST";
/// Stands for all names that do not matter.
const OTHER: &str = "";
const RUDDER: [&str; 3] = [REQUEST, "CONTENT", "RUDDER"];

/// A text that is looked for: where it is, and what it says. The first one counts.
struct Wanted {
    path: &'static [&'static str],
    text: Option<String>,
    is_closed: bool,
}

const UUID: &[&str] = &[REQUEST, "CONTENT", "RUDDER", "UUID"];
const HOSTNAME: &[&str] = &[REQUEST, "CONTENT", "RUDDER", "HOSTNAME"];
const CERTIFICATE: &[&str] = &[REQUEST, "CONTENT", "RUDDER", "AGENT", "AGENT_CERT"];
const POLICY_SERVER: &[&str] = &[REQUEST, "CONTENT", "RUDDER", "AGENT", "POLICY_SERVER_UUID"];
const FQDN: &[&str] = &[REQUEST, "CONTENT", "OPERATINGSYSTEM", "FQDN"];
const LOGDATE: &[&str] = &[REQUEST, "CONTENT", "ACCESSLOG", "LOGDATE"];

/// Reads an inventory. The caller has yet to check its signature.
pub(super) fn read(xml: &str, now: DateTime<Utc>) -> Result<Identity, InventoryError> {
    let mut wanted = [UUID, HOSTNAME, CERTIFICATE, POLICY_SERVER, FQDN, LOGDATE].map(|path| Wanted {
        path,
        text: None,
        is_closed: false,
    });
    find(xml, &mut wanted)?;
    let [uuid, hostname, certificate, policy_server, fqdn, logdate] =
        wanted.map(|wanted| wanted.text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()));
    let node_id: NodeId = id("UUID", uuid)?;
    let policy_server = id("POLICY_SERVER_UUID", policy_server)?;
    let certificate = certificate.ok_or(InventoryError::Missing("AGENT_CERT"))?;
    let certificate = Certificate::from_pem(certificate.as_bytes())?;
    let names_it =
        certificate.sole_node_id().is_some_and(|named| named.as_str().eq_ignore_ascii_case(node_id.as_str()));
    if !names_it {
        return Err(InventoryError::OtherNode(node_id));
    }
    let is_name = |name: &String| !["localhost", "127.0.0.1", "::1"].contains(&name.as_str());
    let hostname =
        hostname.filter(is_name).or(fqdn.filter(is_name)).ok_or(InventoryError::Missing("HOSTNAME"))?;
    let is_host_character = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if hostname.len() > 255 || !hostname.chars().all(is_host_character) {
        return Err(InventoryError::Malformed(
            "HOSTNAME",
            "not 1 to 255 letters, digits, '-', '_', '.'".into(),
        ));
    }
    check_date(logdate, now)?;
    Ok(Identity { node_id, hostname, policy_server, certificate })
}

fn id(name: &'static str, text: Option<String>) -> Result<NodeId, InventoryError> {
    let text = text.ok_or(InventoryError::Missing(name))?;
    text.parse().map_err(|e| InventoryError::Malformed(name, format!("{e}")))
}

/// Dates without an offset are local times somewhere: the window is wide enough.
fn check_date(text: Option<String>, now: DateTime<Utc>) -> Result<(), InventoryError> {
    let text = text.ok_or(InventoryError::Missing("LOGDATE"))?;
    let naive = |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").map(|d| d.and_utc());
    let date = DateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%#z")
        .or_else(|_| DateTime::parse_from_rfc3339(&text))
        .map(|date| date.with_timezone(&Utc))
        .or_else(|_| naive(&text))
        .map_err(|e| InventoryError::Malformed("LOGDATE", e.to_string()))?;
    if date < now - OLDEST || date > now + EARLIEST { Err(InventoryError::Date(date)) } else { Ok(()) }
}

/// Looks for texts.
fn find(xml: &str, wanted: &mut [Wanted]) -> Result<(), InventoryError> {
    let mut reader = Reader::from_str(xml);
    let mut path: Vec<&'static str> = Vec::new();
    let (mut rudders, mut has_root) = (0, false);
    let malformed = |error: quick_xml::Error| InventoryError::Xml(error.to_string());
    loop {
        let event = reader.read_event().map_err(malformed)?;
        match &event {
            Event::Start(start) | Event::Empty(start) => {
                path.push(known(start.name().as_ref()));
                if path.len() > MAX_DEPTH {
                    return Err(InventoryError::Depth);
                }
                if path.len() == 1 && (std::mem::replace(&mut has_root, true) || path != [REQUEST]) {
                    return Err(InventoryError::NotRequest);
                }
                rudders += usize::from(path == RUDDER);
                if matches!(event, Event::Empty(_)) {
                    path.pop();
                }
            }
            Event::End(_) => {
                wanted.iter_mut().filter(|one| one.path == path).for_each(|one| one.is_closed = true);
                path.pop();
            }
            Event::Text(text) => append(wanted, &path, &text.xml10_content())?,
            Event::CData(text) => append(wanted, &path, &text.xml10_content())?,
            Event::GeneralRef(entity) => match entity.resolve_char_ref().map_err(malformed)? {
                Some(character) => append(wanted, &path, character.encode_utf8(&mut [0; 4]))?,
                None => {
                    let text = resolve_xml_entity(entity).ok_or(InventoryError::DocumentType)?;
                    append(wanted, &path, text)?;
                }
            },
            Event::DocType(_) => return Err(InventoryError::DocumentType),
            Event::Eof => break,
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
    if !path.is_empty() {
        return Err(InventoryError::Xml("it ends within an element".into()));
    }
    if rudders == 1 { Ok(()) } else { Err(InventoryError::Rudder) }
}

/// The name as one of those that matter.
fn known(name: &str) -> &'static str {
    let all = [UUID, HOSTNAME, CERTIFICATE, POLICY_SERVER, FQDN, LOGDATE];
    all.into_iter().flatten().find(|known| **known == name).unwrap_or(&OTHER)
}

fn append(wanted: &mut [Wanted], path: &[&str], text: &str) -> Result<(), InventoryError> {
    for one in wanted.iter_mut().filter(|one| !one.is_closed && one.path == path) {
        let found = one.text.get_or_insert_default();
        if found.len() + text.len() > MAX_TEXT {
            return Err(InventoryError::TooLong(one.path.last().unwrap_or(&OTHER)));
        }
        found.push_str(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::private_key::{self, KeyKind};

    use super::*;

    fn certificate(node: &str) -> String {
        let key = private_key::generate(KeyKind::P256).unwrap();
        let certificate = private_key::self_signed(&key, &node.parse().unwrap()).unwrap();
        String::from_utf8(certificate.to_pem()).unwrap()
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    const DATE: &str = "<ACCESSLOG><LOGDATE>2023-11-14 22:00:00</LOGDATE></ACCESSLOG>";

    fn rudder(node: &str, certificate: &str) -> String {
        format!(
            "<RUDDER><AGENT><AGENT_CERT>{certificate}</AGENT_CERT><OWNER>root</OWNER>\
             <POLICY_SERVER_UUID>root</POLICY_SERVER_UUID></AGENT>\
             <HOSTNAME>h.example.org</HOSTNAME><UUID>{node}</UUID></RUDDER>"
        )
    }

    fn document(content: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<REQUEST><CONTENT>{content}</CONTENT><DEVICEID>x</DEVICEID></REQUEST>"
        )
    }

    fn error_of(xml: &str) -> String {
        read(xml, now()).expect_err("refused").to_string()
    }

    #[test]
    fn reads_who_it_is_from() {
        let software =
            "<SOFTWARES><NAME>a &amp; b &#x21;</NAME><HOSTNAME>no</HOSTNAME></SOFTWARES>".repeat(99);
        let xml = document(&format!("{software}{DATE}{}", rudder("n1", &certificate("n1"))));
        let identity = read(&xml, now()).unwrap();
        assert_eq!((identity.node_id.as_str(), &*identity.hostname), ("n1", "h.example.org"));
        assert!(identity.policy_server.is_root());
        assert_eq!(identity.certificate.node_id(), Some(&identity.node_id));
    }

    #[test]
    fn a_host_that_calls_itself_localhost_is_known_by_its_full_name() {
        let system = "<OPERATINGSYSTEM><FQDN>real.example.org</FQDN></OPERATINGSYSTEM>";
        let rudder = rudder("n1", &certificate("n1")).replace("h.example.org", "localhost");
        let xml = document(&format!("{DATE}{system}{rudder}"));
        assert_eq!(read(&xml, now()).unwrap().hostname, "real.example.org");
        assert!(error_of(&xml.replace(system, "")).contains("HOSTNAME is missing"));
    }

    #[test]
    fn refuses_what_is_ambiguous_incomplete_old_or_dangerous() {
        let good = rudder("n1", &certificate("n1"));
        let whole = document(&format!("{DATE}{good}"));
        for (xml, expected) in [
            (document(DATE), "exactly one RUDDER"),
            (document(&format!("{DATE}{good}{good}")), "exactly one RUDDER"),
            (document(&format!("{DATE}<RUDDER/>{good}")), "exactly one RUDDER"),
            (document(&good), "LOGDATE is missing"),
            (whole.replace("2023-11-14 22", "2023-11-11 22"), "two days"),
            (whole.replace("2023-11-14 22", "2023-11-16 22"), "two days"),
            (whole.replace("<UUID>n1", "<UUID>n2"), "not that of node n2"),
            (whole.replace("<UUID>n1", "<UUID>../n1"), "UUID is malformed"),
            (whole.replace("h.example.org", "h;rm -rf"), "HOSTNAME is malformed"),
            (whole.replace("<REQUEST>", "<!DOCTYPE x [<!ENTITY a \"b\">]><REQUEST>"), "document type"),
            (whole.replace("h.example.org", "&file;"), "entities"),
            (whole.replace("REQUEST", "OTHER"), "not REQUEST"),
            (format!("{whole}<REQUEST/>"), "not REQUEST"),
            (whole.replace("</REQUEST>", ""), "within an element"),
            (whole.replace("</UUID>", "</UID>"), "malformed XML"),
            (whole.replace("<UUID>n1", &format!("<UUID>{}", "x".repeat(MAX_TEXT + 1))), "longer than"),
            (format!("<REQUEST>{}", "<a>".repeat(MAX_DEPTH)), "nested deeper"),
            (String::new(), "exactly one RUDDER"),
        ] {
            let error = error_of(&xml);
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "(<|>|/|&|;|#|!|\\[|REQUEST|CONTENT|RUDDER|UUID|x| |\"){0,80}") {
            let _ = read(&text, now());
        }
    }
}
