//! A cursor over untrusted bytes: every read is bounded by what the file really holds.

use std::path::Path;

use crate::error::{ModelError, Result};

/// Reads little-endian values from the front of a file. Errors name the file and the offset.
pub(super) struct ByteReader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> ByteReader<'a> {
    pub(super) fn new(path: &'a Path, bytes: &'a [u8]) -> Self {
        Self {
            path,
            bytes,
            position: 0,
        }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// An error about this file.
    pub(super) fn error(&self, message: impl Into<String>) -> ModelError {
        ModelError::InvalidFile {
            path: self.path.to_owned(),
            message: message.into(),
        }
    }

    /// The next `len` bytes; `what` names them if the file ends before.
    pub(super) fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8]> {
        let taken = self.bytes[self.position..].get(..len).ok_or_else(|| {
            self.error(format!(
                "{what} at offset {} takes {len} bytes, but the file ends at {}",
                self.position,
                self.bytes.len()
            ))
        })?;
        self.position += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let taken = self.take(N, what)?;
        Ok(taken
            .try_into()
            .expect("`take` returns the length asked for"))
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `min_bytes` each in the rest of the file, so that it
    /// is safe to allocate for all of them.
    pub(super) fn count(&mut self, min_bytes: usize, what: &str) -> Result<usize> {
        let offset = self.position;
        let stated = self.u64(what)?;
        let fits = (self.bytes.len() - self.position) / min_bytes;
        usize::try_from(stated)
            .ok()
            .filter(|&count| count <= fits)
            .ok_or_else(|| {
                self.error(format!(
                    "{what} at offset {offset} is {stated}, but the rest of the file holds {fits} at most"
                ))
            })
    }

    /// A length-prefixed string.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a [u8]> {
        let len = self.count(1, what)?;
        self.take(len, what)
    }

    /// A length-prefixed string that must be UTF-8: names, by which things are looked up.
    pub(super) fn name(&mut self, what: &str) -> Result<&'a str> {
        let offset = self.position;
        let bytes = self.string(what)?;
        std::str::from_utf8(bytes)
            .map_err(|_| self.error(format!("{what} at offset {offset} is not UTF-8")))
    }
}
