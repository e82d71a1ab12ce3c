// SPDX-License-Identifier: Apache-2.0
//! What the sweeper does to what is stored, a name at a time. Whoever puts a file there at the same moment wins.

use std::os::fd::OwnedFd;

use protocol::shared_file::{Address, Metadata};
use rustix::{
    fs::{AtFlags, statat, unlinkat},
    io::Errno,
};

use super::{
    part::link_over,
    store::{PARTS, Store, StoreError, unlink},
};

impl Store {
    /// Removes a file whose metadata still are of a kind.
    pub(super) fn remove_if(
        &self,
        address: &Address,
        whether: impl Fn(&Metadata) -> bool,
    ) -> Result<bool, StoreError> {
        let _names = self.lock();
        let Some(metadata) = self.metadata(address)?.filter(whether) else { return Ok(false) };
        let place = self.place_of(address)?;
        unlinkat(&place, address.file.metadata_name(), AtFlags::empty())?;
        unlink(&place, address.file.as_str())?;
        if let Some(content) = self.content()? {
            self.drop_unused(&content, &metadata.hash_value.to_string())?;
        }
        Ok(true)
    }

    /// Makes the name for other programs one of the content that the metadata say, should a crash have left
    /// another there.
    pub(super) fn repair(&self, address: &Address) -> Result<bool, StoreError> {
        let _names = self.lock();
        let (Some(metadata), Some(content)) = (self.metadata(address)?, self.content()?) else {
            return Ok(false);
        };
        let (hash, place) = (metadata.hash_value.to_string(), self.place_of(address)?);
        let inode = |directory: &OwnedFd, name: &str| {
            statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| stat.st_ino).ok()
        };
        let wanted = inode(&content, &hash);
        if wanted.is_none() || wanted == inode(&place, address.file.as_str()) {
            return Ok(false);
        }
        link_over(&self.directory(&[PARTS])?, &content, &hash, &place, address.file.as_str())?;
        Ok(true)
    }

    /// Removes a content that this server stored under an address without metadata to it.
    pub(super) fn remove_orphan(&self, address: &Address) -> Result<bool, StoreError> {
        let _names = self.lock();
        let place = self.place_of(address)?;
        match statat(&place, address.file.metadata_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            _ => return Ok(false),
        }
        // With one name only, somebody else put it there.
        let ours = statat(&place, address.file.as_str(), AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| stat.st_nlink > 1);
        if ours {
            unlink(&place, address.file.as_str())?;
        }
        Ok(ours)
    }

    /// Removes a content to which nothing refers.
    pub(super) fn remove_unused(&self, hash: &str) -> Result<bool, StoreError> {
        let _names = self.lock();
        match self.content()? {
            Some(content) => self.drop_unused(&content, hash),
            None => Ok(false),
        }
    }
}
