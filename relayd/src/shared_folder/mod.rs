// SPDX-License-Identifier: Apache-2.0
//! The shared folder: files of a policy server that all nodes may fetch (protocol 7.5, 15.1).
//!
//! A relay that has no such folder serves that of its upstream, through its cache.
//!
//! HEAD with a hash is how existing clients ask whether their copy is the present one; entity tags, in
//! `files`, are the same question in HTTP's own words, and both may be asked.

pub(crate) mod described;
mod hash;

use std::{path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use hyper::{Method, Response, StatusCode, header};
use protocol::relative_path::RelativePath;

use self::hash::Claim;
use crate::{
    cache::Cache,
    files::{Files, OpenError, OpenFile, Tag, content_type},
    http::{Body, Call, Problem, Service},
};

/// Serves the folder.
pub struct SharedFolder {
    directory: PathBuf,
    files: Arc<Files>,
    /// What the upstream has; none on the root.
    above: Option<Cache>,
}

/// Where the folder is on other policy servers.
const ELSEWHERE: &str = "/rudder/relay-api/shared-folder/";

/// What a path leads to.
enum Place {
    /// The folder itself, or, by the slash at its end, a directory in it.
    Directory(Option<RelativePath>),
    /// Anything.
    Below(RelativePath),
}

impl SharedFolder {
    /// That of this directory, or if that is not there or empty, of the server above.
    pub fn new(directory: PathBuf, files: Arc<Files>, above: Option<Cache>) -> Self {
        Self { directory, files, above }
    }

    /// A file of the folder. With a server above, one with nothing in it is as good as none: packages make it.
    async fn open(&self, path: &RelativePath) -> Result<OpenFile, OpenError> {
        match self.files.open(&self.directory, path).await {
            Err(OpenError::NotFound) if self.above.is_some() && self.is_empty().await => {
                Err(OpenError::NoDirectory)
            }
            opened => opened,
        }
    }

    async fn is_empty(&self) -> bool {
        match tokio::fs::read_dir(&self.directory).await {
            Ok(mut entries) => matches!(entries.next_entry().await, Ok(None)),
            Err(_) => false,
        }
    }

    async fn head(&self, place: Place, call: &Call) -> Result<Response<Body>, Problem> {
        let (path, is_directory) = match place {
            Place::Below(path) => (path, false),
            Place::Directory(Some(path)) => (path, true),
            Place::Directory(None) => return Err(unreadable(&"a directory")),
        };
        let file = match self.open(&path).await {
            Ok(_) if is_directory => return Err(Problem::NotFound),
            Ok(file) => file,
            Err(OpenError::NoDirectory) => return self.head_above(&path, call).await,
            Err(OpenError::NotFound) => return Err(Problem::NotFound),
            Err(error) => return Err(unreadable(&error)),
        };
        // Only looked at when there is a file (protocol 7.5).
        let claim = Claim::read(call.query.as_deref()).map_err(Problem::BadRequest)?;
        let mut response = self.answer(call, &path, file.clone()).await;
        if let Some(claim) = claim
            && response.status() == StatusCode::OK
            && claim.holds(&self.files, &file).await.map_err(|error| unreadable(&error))?
        {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Ok(response)
    }

    async fn get(&self, place: Place, call: &Call) -> Result<Response<Body>, Problem> {
        let (path, opened) = match place {
            Place::Directory(directory) => self.index(directory.as_ref()).await?,
            Place::Below(path) => match self.open(&path).await {
                Err(OpenError::Directory) => self.index(Some(&path)).await?,
                opened => (path, opened),
            },
        };
        match opened {
            Ok(file) => Ok(self.answer(call, &path, file).await),
            Err(OpenError::NoDirectory) => self.get_above(&path, call).await,
            Err(OpenError::NotFound | OpenError::Directory) => Err(Problem::NotFound),
            Err(OpenError::Failed(error)) => Err(unreadable(&error)),
        }
    }

    async fn get_above(&self, path: &RelativePath, call: &Call) -> Result<Response<Body>, Problem> {
        let cache = self.above.as_ref().ok_or(Problem::NotFound)?;
        Ok(cache.answer(&format!("{ELSEWHERE}{}", path.to_url()), &call.method, &call.headers).await)
    }

    async fn head_above(&self, path: &RelativePath, call: &Call) -> Result<Response<Body>, Problem> {
        let cache = self.above.as_ref().ok_or(Problem::NotFound)?;
        let mut path = format!("{ELSEWHERE}{}", path.to_url());
        let mut headers = call.headers.clone();
        match Claim::read(call.query.as_deref()).map_err(Problem::BadRequest)? {
            // The tag is the digest, so that the copy here can answer.
            Some(Claim::Sha256(digest)) => {
                headers.insert(header::IF_NONE_MATCH, Tag::of(&digest).header().clone());
            }
            Some(Claim::Sha512(_)) => path.extend(["?", call.query.as_deref().unwrap_or_default()]),
            None => {}
        }
        Ok(cache.answer(&path, &call.method, &headers).await)
    }

    /// What is served for a directory.
    async fn index(
        &self,
        directory: Option<&RelativePath>,
    ) -> Result<(RelativePath, Result<OpenFile, OpenError>), Problem> {
        let path = directory.map_or("index.html".to_owned(), |directory| format!("{directory}/index.html"));
        let path = path.parse().map_err(|_| Problem::NotFound)?;
        let opened = self.open(&path).await;
        Ok((path, opened))
    }

    async fn answer(&self, call: &Call, path: &RelativePath, file: OpenFile) -> Response<Body> {
        self.files.answer(&call.method, &call.headers, file, || content_type(path)).await
    }
}

impl Place {
    fn read(rest: &str) -> Result<Self, Problem> {
        let read =
            |path| RelativePath::from_url(path).map_err(|error| Problem::BadRequest(error.to_string()));
        match rest.strip_suffix('/') {
            _ if rest.is_empty() => Ok(Self::Directory(None)),
            Some(directory) => read(directory).map(|path| Self::Directory(Some(path))),
            None => read(rest).map(Self::Below),
        }
    }
}

/// What a node asks for is no news, but that it is there and cannot be read is.
fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!("shared folder: something that is asked for cannot be read: {error}");
    Problem::Internal
}

impl Service for SharedFolder {
    fn answer(&self, call: Call) -> BoxFuture<'_, Response<Body>> {
        Box::pin(async move {
            let place = Place::read(&call.rest);
            let answer = if call.method == Method::HEAD {
                match place {
                    Ok(place) => self.head(place, &call).await,
                    Err(problem) => Err(problem),
                }
            } else {
                match place {
                    Ok(place) => self.get(place, &call).await,
                    // Says nothing about why (protocol 7.5).
                    Err(_) => Err(Problem::NotFound),
                }
            };
            answer.unwrap_or_else(Problem::into_response)
        })
    }
}
