// SPDX-License-Identifier: Apache-2.0
//! Archives that were made, kept on the disk while they are asked for.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{plan::Plan, write::write};
use crate::{
    durable::{PRIVATE, create_private_directory},
    files::{OpenError, OpenFile, open_blocking},
};

/// Archives that are made at a time; it takes a processor each.
const LANES: usize = 2;
/// What is not whole yet.
const UNFINISHED: &str = ".part-";

/// The directory of archives.
pub struct Archives {
    directory: PathBuf,
    /// Most bytes of all together.
    max_size: u64,
    /// An archive is always in the same lane: what many ask for at a time is made once.
    lanes: [Arc<Semaphore>; LANES],
    /// When each was asked for last, counted in requests.
    asked: Mutex<HashMap<String, u64>>,
    requests: AtomicU64,
}

impl Archives {
    /// Those in a directory, which is made when it is needed. What an earlier process left unfinished
    /// there is removed.
    pub fn new(directory: &Path, max_size: u64) -> Self {
        for (path, name, _) in entries(directory).unwrap_or_default() {
            if name.starts_with(UNFINISHED) {
                // It is in nobody's way.
                let _ = fs::remove_file(path);
            }
        }
        Self {
            directory: directory.to_owned(),
            max_size,
            lanes: std::array::from_fn(|_| Arc::new(Semaphore::new(1))),
            asked: Mutex::default(),
            requests: AtomicU64::new(0),
        }
    }

    /// The archive of a plan, made now if it is not there.
    ///
    /// **Errors**: as the system says; [`io::ErrorKind::ResourceBusy`] when the tree changes meanwhile.
    pub async fn get(self: &Arc<Self>, plan: Plan) -> io::Result<OpenFile> {
        let archives = self.clone();
        let looked = blocking(move || {
            let name = plan.name();
            let found = archives.open(&name)?;
            Ok((plan, name, found))
        });
        let (plan, name, found) = looked.await?;
        if let Some(found) = found {
            return Ok(found);
        }
        let archives = self.clone();
        let lane = usize::from(name.as_bytes()[0]) % LANES;
        let lane = archives.lanes[lane].clone().acquire_owned().await.map_err(io::Error::other)?;
        blocking(move || {
            // Until it is made, whether or not somebody still waits for it.
            let _lane = lane;
            if let Some(found) = archives.open(&name)? {
                return Ok(found);
            }
            archives.make(&plan, &name)?;
            archives.make_room(&name)?;
            archives.open(&name)?.ok_or_else(|| io::ErrorKind::NotFound.into())
        })
        .await
    }

    fn open(&self, name: &str) -> io::Result<Option<OpenFile>> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let path = name.parse().map_err(io::Error::other)?;
        match open_blocking(&self.directory, &path) {
            Ok(file) => {
                self.lock().insert(name.to_owned(), request);
                Ok(Some(file))
            }
            Err(OpenError::Failed(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    fn make(&self, plan: &Plan, name: &str) -> io::Result<()> {
        create_private_directory(&self.directory)?;
        let unfinished = self.directory.join(format!("{UNFINISHED}{name}"));
        let made = new_file(&unfinished)
            .and_then(|file| write(plan, file)?.sync_all())
            .and_then(|()| fs::rename(&unfinished, self.directory.join(name)));
        if made.is_err() {
            // The error that is reported is the one that matters.
            let _ = fs::remove_file(&unfinished);
        }
        made
    }

    /// Removes what was not asked for the longest, until all fit; never the newest one.
    fn make_room(&self, newest: &str) -> io::Result<()> {
        let mut asked = self.lock();
        let mut kept = Vec::new();
        for (path, name, facts) in entries(&self.directory)? {
            if !name.starts_with(UNFINISHED) && name != newest {
                // Not asked for since the start: by age.
                let last = asked.get(&name).copied();
                let age = facts.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                kept.push(((last, age), path, name, facts.len()));
            }
        }
        kept.sort_unstable_by_key(|(last, ..)| *last);
        let newest_size = fs::metadata(self.directory.join(newest))?.len();
        let mut size = kept.iter().map(|(_, _, _, size)| size).sum::<u64>() + newest_size;
        for (_, path, name, freed) in &kept {
            if size <= self.max_size {
                break;
            }
            fs::remove_file(path)?;
            asked.remove(name);
            size -= freed;
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_file(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path)
}

fn entries(directory: &Path) -> io::Result<Vec<(PathBuf, String, fs::Metadata)>> {
    let entry = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        Ok((entry.path(), entry.file_name().to_string_lossy().into_owned(), entry.metadata()?))
    };
    fs::read_dir(directory)?.map(entry).collect()
}

/// Does something that may take a while.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
