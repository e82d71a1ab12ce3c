// SPDX-License-Identifier: Apache-2.0
//! From the question what there is to directories that are ready for their places. Nothing in use is touched.

use chrono::{SubsecRound, Utc};
use protocol::{hash::ContentDigest, node_id::NodeId, policy_manifest::Expectation};

use super::{
    Options, Outcome, UpdateError,
    archives::{self, Question, Unpacked},
    fetch::{Fetch, Tags},
    manifest::{self, Offer, Tree},
    memory::{Active, Library, Memory, Refused, Source},
    pinned::Pinned,
    slot::{self, Slot},
    slots,
    swap::Ready,
};
use crate::{
    identity::Identity,
    server::{session::Session, target::Target, trust},
    settings::Settings,
};

/// What an attempt has come to.
pub enum Prepared {
    /// There is nothing to put in place.
    Outcome(Outcome),
    /// The files are those in use; what is known of them is new. With the newest version taken.
    Same(Box<Active>, Option<u64>),
    /// Directories are ready.
    Ready(Box<New>),
}

/// Directories that are ready, and what is to be remembered when they are in use.
pub struct New {
    /// The directories.
    pub ready: Vec<Ready>,
    /// The policies.
    pub active: Option<Active>,
    /// The library.
    pub library: Option<Library>,
    /// Newest version taken under a pinned key.
    pub held: Option<u64>,
}

/// An attempt under way.
pub struct Attempt<'a> {
    node_id: NodeId,
    pinned: Pinned,
    memory: Memory,
    options: Options,
    fetch: Fetch<'a>,
    policies: Slot,
    library: Slot,
    refused: Option<Refused>,
}

impl<'a> Attempt<'a> {
    /// Gets what is needed to ask.
    pub fn new(
        settings: &'a Settings,
        identity: &Identity,
        options: Options,
        memory: &Memory,
    ) -> Result<Self, UpdateError> {
        let pinned = Pinned::load(&settings.paths.policy_key)?;
        let client = trust::client_identity(settings, identity)?;
        let session = Session::new(settings, Target::of(settings, Some(&client))?);
        let [policies, library] = slots(&settings.paths);
        let refused = memory
            .refused
            .clone()
            .filter(|refused| !options.force && refused.holds(settings, pinned.digest, Utc::now()));
        let node_id = identity.node_id.clone();
        let fetch = Fetch::new(session);
        Ok(Self { node_id, pinned, memory: memory.clone(), options, fetch, policies, library, refused })
    }

    /// What is left of it.
    pub fn into_parts(self) -> (Fetch<'a>, [Slot; 2], Option<ContentDigest>) {
        (self.fetch, [self.policies, self.library], self.pinned.digest)
    }

    /// Asks, fetches, and makes directories.
    pub async fn prepare(&mut self) -> Result<Prepared, UpdateError> {
        let active = self.active()?;
        let known = active.as_ref().filter(|active| active.source != Source::Archive);
        let refused = self.refused.clone();
        match self.ask_manifest(tags(known, refused.as_ref())).await? {
            manifest::Asked::Active => match known {
                Some(Active { source: Source::Manifest, version: Some(0), .. }) => self.library(active).await,
                _ => Ok(Prepared::Outcome(Outcome::Unchanged)),
            },
            manifest::Asked::Refused => Err(self.refused_before()),
            manifest::Asked::Offered(offer) => match self.by_manifest(&offer, active.clone()).await {
                // They may have changed since their manifest was sent.
                Err(UpdateError::Altered(path)) => match self.ask_manifest(Tags::default()).await? {
                    manifest::Asked::Offered(again) if again.manifest != offer.manifest => {
                        self.by_manifest(&again, active).await
                    }
                    _ => Err(UpdateError::Altered(path)),
                },
                other => other,
            },
            // With a pinned key nothing is taken that nobody signed.
            manifest::Asked::NotThere if self.pinned.digest.is_some() => {
                Ok(Prepared::Outcome(Outcome::NoPolicies))
            }
            manifest::Asked::NotThere => self.by_archives(active).await,
        }
    }

    async fn ask_manifest(&mut self, tags: Tags<'_>) -> Result<manifest::Asked, UpdateError> {
        let expectation = Expectation {
            node_id: &self.node_id,
            pinned: &self.pinned.certificates,
            held: self.memory.held,
            now: Utc::now(),
        };
        manifest::ask(&mut self.fetch, &expectation, tags).await
    }

    /// What is known of the policies in use, if they are still those that were put there, checked as they would be
    /// now.
    fn active(&self) -> Result<Option<Active>, UpdateError> {
        let there = slot::id_of(self.policies.active()).map_err(UpdateError::Disk)?;
        let active = self.memory.active.clone().filter(|active| {
            Some(active.directory) == there && active.keys == self.pinned.digest && !self.options.force
        });
        Ok(active)
    }

    fn refused_before(&self) -> UpdateError {
        let (at, reason) = match &self.refused {
            Some(refused) => (refused.at.format("%F %T UTC").to_string(), refused.reason.clone()),
            None => Default::default(),
        };
        UpdateError::RefusedBefore { at, reason }
    }

    async fn by_manifest(&mut self, offer: &Offer, active: Option<Active>) -> Result<Prepared, UpdateError> {
        let tree = Tree::of(&offer.manifest)?;
        let content = tree.content();
        let version = offer.manifest.version();
        let is_signed = self.pinned.digest.is_some();
        let held = if is_signed { self.memory.held.max(Some(version)) } else { self.memory.held };
        let new = Active {
            source: if is_signed { Source::SignedManifest } else { Source::Manifest },
            version: Some(version),
            created: Some(offer.manifest.created()),
            expires: offer.manifest.expires(),
            since: Utc::now().trunc_subsecs(0),
            etag: offer.etag.clone(),
            keys: self.pinned.digest,
            content: Some(content),
            files: tree.files(),
            bytes: tree.bytes(),
            directory: 0,
        };
        if let Some(old) = active.filter(|active| active.content == Some(content)) {
            let same = Active { directory: old.directory, since: old.since, ..new };
            return match tree.is_foreign() && !is_signed {
                true => self.library(Some(same)).await,
                false => Ok(Prepared::Same(Box::new(same), held)),
            };
        }
        if self.options.check {
            return Ok(Prepared::Outcome(Outcome::Available));
        }
        let stage = tree.build(&mut self.fetch, &self.policies).await?;
        let directory = stage.seal().map_err(UpdateError::Disk)?;
        let ready = vec![Ready { slot: self.policies.clone(), directory }];
        let active = Some(Active { directory, ..new });
        let mut new = New { ready, active, library: self.memory.library.clone(), held };
        if tree.is_foreign() && !is_signed {
            let library = self.known_library()?;
            let tags = Tags { active: library_tag(library.as_ref()), refused: None };
            let asked = archives::ask_library(&mut self.fetch, tags, &self.library, false).await?;
            if let archives::Asked::Ready { library: Some(unpacked), .. } = asked {
                new.put_library(&unpacked, &self.library)?;
            }
        }
        Ok(Prepared::Ready(Box::new(new)))
    }

    /// The policies have not changed, the library may have.
    async fn library(&mut self, active: Option<Active>) -> Result<Prepared, UpdateError> {
        let library = self.known_library()?;
        let refused = self.refused.as_ref().and_then(|refused| refused.library_etag.as_deref());
        let tags = Tags { active: library_tag(library.as_ref()), refused };
        match archives::ask_library(&mut self.fetch, tags, &self.library, self.options.check).await? {
            archives::Asked::Ready { library: Some(unpacked), .. } => {
                let mut new = New { ready: vec![], active, library, held: self.memory.held };
                new.put_library(&unpacked, &self.library)?;
                Ok(Prepared::Ready(Box::new(new)))
            }
            archives::Asked::Available => Ok(Prepared::Outcome(Outcome::Available)),
            archives::Asked::Refused => Err(self.refused_before()),
            _ => match active {
                Some(active) => Ok(Prepared::Same(Box::new(active), self.memory.held)),
                None => Ok(Prepared::Outcome(Outcome::Unchanged)),
            },
        }
    }

    /// What is known of the library in use, if it is still the one that was put there.
    fn known_library(&self) -> Result<Option<Library>, UpdateError> {
        let there = slot::id_of(self.library.active()).map_err(UpdateError::Disk)?;
        let known = self.memory.library.clone();
        Ok(known.filter(|library| Some(library.directory) == there && !self.options.force))
    }

    async fn by_archives(&mut self, active: Option<Active>) -> Result<Prepared, UpdateError> {
        let library = self.known_library()?;
        let active = active.filter(|active| active.source == Source::Archive);
        let refused = self.refused.as_ref();
        let question = Question {
            node_id: &self.node_id,
            policies: tags(active.as_ref(), refused),
            library: Tags {
                active: library_tag(library.as_ref()),
                refused: refused.and_then(|refused| refused.library_etag.as_deref()),
            },
            policies_slot: &self.policies,
            library_slot: &self.library,
            check: self.options.check,
        };
        let (new_policies, new_library) = match archives::ask(&mut self.fetch, &question).await? {
            archives::Asked::Active => return Ok(Prepared::Outcome(Outcome::Unchanged)),
            archives::Asked::Refused => return Err(self.refused_before()),
            archives::Asked::NotThere => return Ok(Prepared::Outcome(Outcome::NoPolicies)),
            archives::Asked::Available => return Ok(Prepared::Outcome(Outcome::Available)),
            archives::Asked::Ready { policies, library } => (policies, library),
        };
        let mut new = New { ready: vec![], active, library, held: self.memory.held };
        if let Some(unpacked) = new_library {
            new.put_library(&unpacked, &self.library)?;
        }
        if let Some(unpacked) = new_policies {
            let directory = new.put(&unpacked, &self.policies)?;
            new.active = Some(Active {
                source: Source::Archive,
                version: None,
                created: None,
                expires: None,
                since: Utc::now().trunc_subsecs(0),
                etag: unpacked.etag,
                keys: None,
                content: None,
                files: unpacked.files,
                bytes: unpacked.bytes,
                directory,
            });
        }
        Ok(Prepared::Ready(Box::new(new)))
    }
}

impl New {
    fn put(&mut self, unpacked: &Unpacked, slot: &Slot) -> Result<slot::DirectoryId, UpdateError> {
        let directory = unpacked.stage.seal().map_err(UpdateError::Disk)?;
        self.ready.push(Ready { slot: slot.clone(), directory });
        Ok(directory)
    }

    fn put_library(&mut self, unpacked: &Unpacked, slot: &Slot) -> Result<(), UpdateError> {
        let directory = self.put(unpacked, slot)?;
        self.library = Some(Library { etag: unpacked.etag.clone(), directory });
        Ok(())
    }
}

/// What need not be sent of policies. Those in use did pass, with another library than the one that was refused.
fn tags<'t>(active: Option<&'t Active>, refused: Option<&'t Refused>) -> Tags<'t> {
    let active = active.and_then(|active| active.etag.as_deref());
    let refused = refused.and_then(|refused| refused.etag.as_deref());
    Tags { active, refused: refused.filter(|refused| Some(*refused) != active) }
}

fn library_tag(library: Option<&Library>) -> Option<&str> {
    library?.etag.as_deref()
}
