// SPDX-License-Identifier: Apache-2.0
//! The shared folder: files of a policy server that all nodes may fetch (protocol 7.5, 15.1).
//!
//! HEAD with a hash is how existing clients ask whether their copy is the present one; entity tags, in
//! `files`, are the same question in HTTP's own words, and both may be asked.

mod hash;

use std::{path::PathBuf, sync::Arc};

use futures_util::future::BoxFuture;
use hyper::{Method, Response, StatusCode, header};
use protocol::relative_path::RelativePath;

use self::hash::Claim;
use crate::{
    files::{Files, OpenError, OpenFile, content_type},
    http::{Body, Call, Problem, Service},
};

/// Serves the folder.
pub struct SharedFolder {
    directory: PathBuf,
    files: Arc<Files>,
}

/// What a path leads to.
enum Place {
    /// The folder itself.
    Top,
    Below(RelativePath),
}

impl SharedFolder {
    /// That of this directory, which need not be there.
    pub fn new(directory: PathBuf, files: Arc<Files>) -> Self {
        Self { directory, files }
    }

    async fn head(&self, place: Place, call: &Call) -> Result<Response<Body>, Problem> {
        let Place::Below(path) = place else { return Err(unreadable(&"a directory")) };
        let file = self.files.open(&self.directory, &path).await.map_err(|error| match error {
            OpenError::NoDirectory | OpenError::NotFound => Problem::NotFound,
            OpenError::Directory | OpenError::Failed(_) => unreadable(&error),
        })?;
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
            Place::Top => self.index(None).await?,
            Place::Below(path) => match self.files.open(&self.directory, &path).await {
                Err(OpenError::Directory) => self.index(Some(&path)).await?,
                opened => (path, opened),
            },
        };
        match opened {
            Ok(file) => Ok(self.answer(call, &path, file).await),
            Err(OpenError::NoDirectory | OpenError::NotFound | OpenError::Directory) => {
                Err(Problem::NotFound)
            }
            Err(OpenError::Failed(error)) => Err(unreadable(&error)),
        }
    }

    /// What is served for a directory.
    async fn index(
        &self,
        directory: Option<&RelativePath>,
    ) -> Result<(RelativePath, Result<OpenFile, OpenError>), Problem> {
        let path = directory.map_or("index.html".to_owned(), |directory| format!("{directory}/index.html"));
        let path = path.parse().map_err(|_| Problem::NotFound)?;
        let opened = self.files.open(&self.directory, &path).await;
        Ok((path, opened))
    }

    async fn answer(&self, call: &Call, path: &RelativePath, file: OpenFile) -> Response<Body> {
        self.files.answer(&call.method, &call.headers, file, content_type(path)).await
    }
}

impl Place {
    fn read(rest: &str) -> Result<Self, Problem> {
        match rest.strip_suffix('/').unwrap_or(rest) {
            "" => Ok(Self::Top),
            path => match RelativePath::from_url(path) {
                Ok(path) => Ok(Self::Below(path)),
                Err(error) => Err(Problem::BadRequest(error.to_string())),
            },
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
