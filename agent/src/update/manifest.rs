// SPDX-License-Identifier: Apache-2.0
//! Policies by their manifest (protocol 14.2): only files that changed travel.
//!
//! Each file is checked against the manifest when it is taken, wherever it comes from: the directory in use, the
//! server, or an archive of all files.

use std::{collections::HashMap, fs::File, io, path::Path};

use hyper::Method;
use openssl::sha::Sha256;
use protocol::{
    hash::ContentDigest,
    limits::POLICY_MANIFEST,
    node_id::NodeId,
    policy_manifest::{Expectation, FILE_NAME, Manifest, ManifestFile},
    relative_path::RelativePath,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::{
    UpdateError,
    fetch::{Fetch, Tags, Told, opaque, tag_of},
    slot::Slot,
    stage::Stage,
    unpack::{self, Format, Limits, Sink},
};
use crate::server::download::DownloadError;

/// A tree may have one directory for each kind of agent (protocol 8.4); the first that is there is taken, without
/// that directory.
const KINDS: [&str; 2] = ["cfengine-community/", "dsc/"];

/// With more files missing than this, and most bytes, the archive of all is asked for instead.
const MANY: usize = 16;

/// What a request and its answer cost beside the body, in bytes.
const REQUEST: u64 = 700;

/// What the server offers.
pub struct Offer {
    /// What the policies consist of; taken by the rules of 14.2.
    pub manifest: Manifest,
    /// Its entity tag.
    pub etag: Option<String>,
}

/// What became of the question for a manifest.
pub enum Asked {
    /// Nothing new.
    Active,
    /// What is there has not passed before.
    Refused,
    /// There is none.
    NotThere,
    /// There is one, and it may be taken.
    Offered(Box<Offer>),
}

/// Asks for the manifest and judges it.
pub async fn ask(
    fetch: &mut Fetch<'_>,
    expectation: &Expectation<'_>,
    tags: Tags<'_>,
) -> Result<Asked, UpdateError> {
    let path = format!("/policies/{}/{FILE_NAME}", expectation.node_id);
    let answer = match fetch.ask(Method::GET, &path, tags).await? {
        Told::Active => return Ok(Asked::Active),
        Told::Refused => return Ok(Asked::Refused),
        Told::NotThere => return Ok(Asked::NotThere),
        Told::New(answer) => answer,
    };
    let etag = tag_of(&answer);
    let message = fetch.bytes(*answer, POLICY_MANIFEST as u64).await?;
    fetch.judged.clone_from(&etag);
    let manifest = expectation.accept(&message)?;
    // Else a relay could give an old version the tag of the next one, which would then count as known.
    let is_its_own = |tag: &String| is_tag_of(tag, &message, manifest.version());
    let etag = etag.filter(|tag| expectation.pinned.is_empty() || is_its_own(tag));
    Ok(Asked::Offered(Box::new(Offer { manifest, etag })))
}

/// Whether a tag is one that this signed manifest has by 14.1 or, from a cache, by 14.3.
fn is_tag_of(tag: &str, message: &[u8], version: u64) -> bool {
    let text = opaque(tag).trim_matches('"');
    text == ContentDigest::of(message).to_string() || text.starts_with(&format!("{version}-"))
}

/// The files of a manifest, where they are to be.
pub struct Tree<'a> {
    node_id: &'a NodeId,
    version: u64,
    files: Vec<(RelativePath, &'a ManifestFile)>,
}

impl<'a> Tree<'a> {
    /// All files, or those for an agent of this kind.
    pub fn of(manifest: &'a Manifest) -> Result<Self, UpdateError> {
        let files = manifest.files();
        let is_there = |kind: &&str| files.iter().any(|file| file.path.as_str().starts_with(kind));
        let kind = KINDS.into_iter().find(is_there).unwrap_or_default();
        let within =
            |file: &'a ManifestFile| Some((file.path.as_str().strip_prefix(kind)?.parse().ok()?, file));
        let files: Vec<_> = files.iter().filter_map(within).collect();
        match files.is_empty() {
            true => Err(UpdateError::Empty),
            false => Ok(Self { node_id: manifest.node_id(), version: manifest.version(), files }),
        }
    }

    /// Whether another program made it: nobody counts its versions, and it needs the library.
    pub fn is_foreign(&self) -> bool {
        self.version == 0
    }

    /// How many files there are.
    pub fn files(&self) -> u64 {
        self.files.len() as u64
    }

    /// Their sizes together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, file)| file.size).sum()
    }

    /// Names and digests of all files in one.
    pub fn content(&self) -> ContentDigest {
        let mut digest = Sha256::new();
        for (path, file) in &self.files {
            let line = format!("{path}\0{}\0{}\0{}\n", file.size, file.sha256, file.executable);
            digest.update(line.as_bytes());
        }
        ContentDigest(digest.finish())
    }

    /// Makes the tree in the slot's next directory, from what is in use and from the server.
    pub async fn build(&self, fetch: &mut Fetch<'_>, slot: &Slot) -> Result<Stage, UpdateError> {
        let mut stage = Stage::begin(slot.next()).map_err(UpdateError::Disk)?;
        let mut missing = self.take_unchanged(slot.active(), &mut stage).map_err(UpdateError::Disk)?;
        if self.is_archive_less(&missing) {
            self.take_from_archive(fetch, slot, &mut stage, &mut missing).await?;
        }
        for (path, file) in &self.files {
            if missing.contains_key(path) {
                self.take_from_server(fetch, &mut stage, path, file).await?;
            }
        }
        Ok(stage)
    }

    /// Copies what did not change; gives the rest.
    fn take_unchanged(
        &self,
        active: &Path,
        stage: &mut Stage,
    ) -> io::Result<HashMap<RelativePath, &'a ManifestFile>> {
        let mut missing = HashMap::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, active, flags, Mode::empty()).ok();
        for (path, file) in &self.files {
            let there = directory.as_ref().and_then(|directory| {
                // Plain files only, reached without a link.
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
                let there =
                    File::from(openat2(directory, path.as_path(), flags, Mode::empty(), within).ok()?);
                let metadata = there.metadata().ok()?;
                (metadata.is_file() && metadata.len() == file.size).then_some(there)
            });
            let same = match there {
                Some(mut there) => {
                    let mut new = stage.create(path, file.executable)?;
                    let same = copy(&mut there, &mut new, file)?;
                    if !same {
                        stage.discard_last()?;
                    }
                    same
                }
                None => false,
            };
            if !same {
                missing.insert(path.clone(), *file);
            }
        }
        Ok(missing)
    }

    fn is_archive_less(&self, missing: &HashMap<RelativePath, &ManifestFile>) -> bool {
        let one_by_one: u64 = missing.values().map(|file| file.size + REQUEST).sum();
        missing.len() > MANY && one_by_one > self.bytes() / 2
    }

    /// Takes from the archive of all files what is right in it. It may be of another version, or not be there.
    async fn take_from_archive(
        &self,
        fetch: &mut Fetch<'_>,
        slot: &Slot,
        stage: &mut Stage,
        missing: &mut HashMap<RelativePath, &'a ManifestFile>,
    ) -> Result<(), UpdateError> {
        let path = format!("/policies/{}/rules.tar.gz", self.node_id);
        let answer = match fetch.ask(Method::GET, &path, Tags::default()).await {
            Ok(Told::New(answer)) => answer,
            // A server that makes no archive has the files all the same.
            Ok(_) | Err(UpdateError::Answered { .. }) => return Ok(()),
            Err(e) => return Err(e),
        };
        let most = 2 * self.bytes() + (self.files() + 1) * 4096;
        let mut archive = fetch.spool(*answer, slot, most).await?;
        let mut sink = Selected { by_path: self.by_path(), stage, missing, is_open: false };
        let limits = Limits { total: most, ..unpack::LIMITS };
        match unpack::unpack(&mut archive, Format::TarGz, None, limits, &mut sink) {
            // What it lacks is asked for one by one, also the file that it broke off in; what came out of it before
            // was right.
            Err(e) if e.is_archive() => match sink.is_open {
                true => stage.discard_last().map_err(UpdateError::Disk),
                false => Ok(()),
            },
            Err(e) => Err(UpdateError::Disk(io::Error::other(e))),
            Ok(()) => Ok(()),
        }
    }

    fn by_path(&self) -> HashMap<&'a str, RelativePath> {
        self.files.iter().map(|(path, file)| (file.path.as_str(), path.clone())).collect()
    }

    async fn take_from_server(
        &self,
        fetch: &mut Fetch<'_>,
        stage: &mut Stage,
        path: &RelativePath,
        file: &ManifestFile,
    ) -> Result<(), UpdateError> {
        let url = format!("/policies/{}/rules/{}", self.node_id, file.path.to_url());
        let Told::New(answer) = fetch.ask(Method::GET, &url, Tags::default()).await? else {
            return Err(UpdateError::Altered(file.path.to_string()));
        };
        let new = stage.create(path, file.executable).map_err(UpdateError::Disk)?;
        let mut new = Hashed { file: new, digest: Sha256::new() };
        let size = match fetch.save(*answer, &mut new, file.size).await {
            Err(UpdateError::Download(DownloadError::TooLong { .. })) => {
                return Err(UpdateError::Altered(file.path.to_string()));
            }
            size => size?,
        };
        match size == file.size && ContentDigest(new.digest.finish()) == file.sha256 {
            true => Ok(()),
            false => Err(UpdateError::Altered(file.path.to_string())),
        }
    }
}

/// Copies a file, sharing its blocks where the file system can. Gives whether it is the right one.
fn copy(from: &mut File, to: &mut File, expected: &ManifestFile) -> io::Result<bool> {
    let read = match rustix::fs::ioctl_ficlone(&*to, &*from) {
        Ok(()) => unpack::copy(to, &mut io::sink()),
        Err(_) => unpack::copy(&mut io::Read::take(from, expected.size + 1), to),
    };
    match read {
        Ok((size, digest)) => Ok(size == expected.size && digest == expected.sha256),
        Err(unpack::UnpackError::Write(e)) => Err(e),
        // A file that cannot be read is fetched again.
        Err(_) => Ok(false),
    }
}

struct Hashed {
    file: File,
    digest: Sha256,
}

impl io::Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Keeps of an archive what is missing and right.
struct Selected<'s, 'a> {
    by_path: HashMap<&'a str, RelativePath>,
    stage: &'s mut Stage,
    missing: &'s mut HashMap<RelativePath, &'a ManifestFile>,
    /// A file has begun and not ended.
    is_open: bool,
}

impl Sink for Selected<'_, '_> {
    fn directory(&mut self, _: &RelativePath) -> io::Result<()> {
        Ok(())
    }

    fn begin(&mut self, path: &RelativePath, _: bool) -> io::Result<Option<File>> {
        let Some(path) = self.by_path.get(path.as_str()) else { return Ok(None) };
        let Some(file) = self.missing.get(path) else { return Ok(None) };
        let new = self.stage.create(path, file.executable)?;
        self.is_open = true;
        Ok(Some(new))
    }

    fn end(&mut self, path: &RelativePath, size: u64, digest: ContentDigest) -> io::Result<()> {
        self.is_open = false;
        let Some(path) = self.by_path.get(path.as_str()) else { return Ok(()) };
        match self.missing.get(path) {
            None => Ok(()),
            Some(file) if file.size == size && file.sha256 == digest => {
                self.missing.remove(path);
                Ok(())
            }
            Some(_) => self.stage.discard_last(),
        }
    }

    fn copy(&mut self, _: &RelativePath, _: &RelativePath) -> io::Result<u64> {
        Ok(0)
    }
}
