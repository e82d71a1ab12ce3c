// SPDX-License-Identifier: Apache-2.0
//! Policies as archives (protocol 8), from servers without manifests.

use std::{fs::File, io, os::unix::fs::PermissionsExt};

use hyper::Method;
use protocol::{hash::ContentDigest, node_id::NodeId, relative_path::RelativePath};

use super::{
    UpdateError,
    fetch::{Fetch, Tags, Told, tag_of},
    slot::Slot,
    stage::Stage,
    unpack::{self, Format, Sink, UnpackError},
};
use crate::server::download::Download;

/// Largest archive, in bytes.
const LARGEST: u64 = 1 << 30;

/// The library that policies of Unix nodes need.
const LIBRARY: Archive =
    Archive { place: "/common/policies-library-linux.tar.bz2", format: Format::TarBz2, top: Some("ncf") };

/// An archive that a server may have.
#[derive(Debug, Clone, Copy)]
struct Archive {
    place: &'static str,
    format: Format,
    top: Option<&'static str>,
}

/// Policies, in the order in which they are looked for: below `/policies/<node id>/`.
const POLICIES: [Archive; 2] = [
    Archive { place: "rules/rudder.tar.bz2", format: Format::TarBz2, top: Some("policies_next") },
    Archive { place: "rules/dsc/rudder.zip", format: Format::Zip, top: None },
];

/// What was made of an archive.
pub struct Unpacked {
    /// The directory.
    pub stage: Stage,
    /// Tag of the archive.
    pub etag: Option<String>,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What became of the question for archives.
pub enum Asked {
    /// Nothing new.
    Active,
    /// What is there has not passed before.
    Refused,
    /// There are none.
    NotThere,
    /// There is something new; only if no more was asked.
    Available,
    /// Something new is ready: policies, library, or both.
    Ready {
        /// Policies.
        policies: Option<Box<Unpacked>>,
        /// Library.
        library: Option<Box<Unpacked>>,
    },
}

/// Whose archives, what of them is known, and where they go.
pub struct Question<'a> {
    /// Whose.
    pub node_id: &'a NodeId,
    /// Tags of policies.
    pub policies: Tags<'a>,
    /// Tags of the library.
    pub library: Tags<'a>,
    /// Where the policies are.
    pub policies_slot: &'a Slot,
    /// Where the library is.
    pub library_slot: &'a Slot,
    /// Only whether there is something new.
    pub check: bool,
}

/// Asks for the archives and unpacks what is new.
pub async fn ask(fetch: &mut Fetch<'_>, question: &Question<'_>) -> Result<Asked, UpdateError> {
    let method = if question.check { Method::HEAD } else { Method::GET };
    let mut found = None;
    for archive in POLICIES {
        let path = format!("/policies/{}/{}", question.node_id, archive.place);
        match fetch.ask(method.clone(), &path, question.policies).await? {
            Told::NotThere => {}
            told => {
                found = Some((archive, path, told));
                break;
            }
        }
    }
    let Some((archive, path, told)) = found else { return Ok(Asked::NotThere) };
    // What did not pass may pass with another library, so that one is asked for in any case.
    let (mut policies, refused, tags) = match told {
        Told::New(_) if question.check => return Ok(Asked::Available),
        Told::New(answer) => {
            let unpacked = take(fetch, &archive, *answer, question.policies_slot).await?;
            (Some(unpacked), false, Tags { refused: None, ..question.library })
        }
        Told::Refused => (None, true, question.library),
        Told::Active | Told::NotThere => (None, false, question.library),
    };
    if archive.format == Format::Zip {
        return Ok(outcome(policies, None, refused));
    }
    let library = match ask_library(fetch, tags, question.library_slot, question.check).await? {
        Asked::Ready { library, .. } => library,
        Asked::Active | Asked::NotThere => None,
        ended => return Ok(ended),
    };
    if refused && library.is_some() {
        let Told::New(answer) = fetch.ask(Method::GET, &path, Tags::default()).await? else {
            return Ok(Asked::Refused);
        };
        policies = Some(take(fetch, &archive, *answer, question.policies_slot).await?);
    }
    Ok(outcome(policies, library, refused))
}

/// Asks for the library alone and unpacks it if it is new.
pub async fn ask_library(
    fetch: &mut Fetch<'_>,
    tags: Tags<'_>,
    slot: &Slot,
    check: bool,
) -> Result<Asked, UpdateError> {
    let method = if check { Method::HEAD } else { Method::GET };
    Ok(match fetch.ask(method, LIBRARY.place, tags).await? {
        Told::New(_) if check => Asked::Available,
        Told::New(answer) => {
            let library = Some(take(fetch, &LIBRARY, *answer, slot).await?);
            Asked::Ready { policies: None, library }
        }
        Told::Refused => Asked::Refused,
        Told::Active => Asked::Active,
        Told::NotThere => Asked::NotThere,
    })
}

fn outcome(policies: Option<Box<Unpacked>>, library: Option<Box<Unpacked>>, refused: bool) -> Asked {
    match (&policies, &library) {
        (None, None) if refused => Asked::Refused,
        (None, None) => Asked::Active,
        _ => Asked::Ready { policies, library },
    }
}

async fn take(
    fetch: &mut Fetch<'_>,
    archive: &Archive,
    answer: Download,
    slot: &Slot,
) -> Result<Box<Unpacked>, UpdateError> {
    let etag = tag_of(&answer);
    let mut file = fetch.spool(answer, slot, LARGEST).await?;
    let stage = Stage::begin(slot.next()).map_err(UpdateError::Disk)?;
    let mut whole = Whole { stage, files: 0, bytes: 0 };
    unpack::unpack(&mut file, archive.format, archive.top, unpack::LIMITS, &mut whole).map_err(
        |e| match e {
            UnpackError::Write(e) => UpdateError::Disk(e),
            why => {
                let is_library = archive.top == LIBRARY.top;
                UpdateError::Archive { name: archive.place.to_owned(), is_library, etag: etag.clone(), why }
            }
        },
    )?;
    match whole {
        Whole { files: 0, .. } => Err(UpdateError::Empty),
        Whole { stage, files, bytes } => Ok(Box::new(Unpacked { stage, etag, files, bytes })),
    }
}

/// Keeps everything.
struct Whole {
    stage: Stage,
    files: u64,
    bytes: u64,
}

impl Sink for Whole {
    fn directory(&mut self, path: &RelativePath) -> io::Result<()> {
        self.stage.directory(path)
    }

    fn begin(&mut self, path: &RelativePath, executable: bool) -> io::Result<Option<File>> {
        self.stage.create(path, executable).map(Some)
    }

    fn end(&mut self, _: &RelativePath, size: u64, _: ContentDigest) -> io::Result<()> {
        self.files += 1;
        self.bytes += size;
        Ok(())
    }

    fn copy(&mut self, from: &RelativePath, to: &RelativePath) -> io::Result<u64> {
        let mut from = File::open(self.stage.root().join(from.as_path()))?;
        let executable = from.metadata()?.permissions().mode() & 0o100 != 0;
        let size = io::copy(&mut from, &mut self.stage.create(to, executable)?)?;
        self.files += 1;
        self.bytes += size;
        Ok(size)
    }
}
