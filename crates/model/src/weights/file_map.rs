//! A file of weights in memory: mapped, read once, and let go of piece by piece.
#![allow(unsafe_code)] // A map is a promise that the file stays; so is giving pages of it back.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{ModelError, Result};

/// The bytes of a file, which the system reads when they are looked at.
#[derive(Debug)]
pub(super) struct FileMap(Mmap);

impl FileMap {
    /// Maps a file for reading.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let io_error = |source| ModelError::Io {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io_error)?;
        // SAFETY: the map is only read, as plain bytes, and never outlives loading. Another process
        // that truncates the file meanwhile would end this one with SIGBUS; every engine that maps
        // weights accepts that, since copying gigabytes first is the alternative.
        let map = unsafe { Mmap::map(&file) }.map_err(io_error)?;
        Ok(Self(map))
    }

    /// Lets go of the pages that were read so far. Without it, a model takes twice its memory until
    /// it is loaded: what was read of the file, and what was made of it.
    pub(super) fn release(&self) {
        #[cfg(unix)]
        {
            use memmap2::UncheckedAdvice;
            // SAFETY: a map of a file that is never written to. Pages that are given back are read
            // from the file again when they are looked at, and hold what they held.
            let given_back = unsafe { self.0.unchecked_advise(UncheckedAdvice::DontNeed) };
            // A system that refuses keeps the pages until it needs them: nothing is lost.
            let _ = given_back;
        }
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_after_they_were_released() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let map = FileMap::open(&path).unwrap();
        let before = map.to_vec();
        map.release();
        assert_eq!(*map, before[..]);
        assert_eq!(before, std::fs::read(path).unwrap());
    }
}
