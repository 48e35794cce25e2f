//! SHA-256 of files: computed while they arrive, checked before they are used, and remembered, so
//! that a file of many gigabytes is not read again at every start.
//!
//! What was verified is remembered outside the file, in `verified/<key>.json` of matou's own cache
//! folder, with the file's path, size and modification time: change the file, and it is hashed anew.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::Digest;

/// A SHA-256 digest; written as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256([u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Sha256 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("`{text}` is no SHA-256 (64 hexadecimal digits)"));
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let value = |digit: u8| (digit as char).to_digit(16).unwrap_or(0) as u8;
            *byte = value(pair[0]) << 4 | value(pair[1]);
        }
        Ok(Self(digest))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(digest: Sha256) -> Self {
        digest.to_string()
    }
}

/// A file that is hashed as it is written.
pub(crate) struct HashingFile {
    file: File,
    hasher: sha2::Sha256,
    len: u64,
}

impl HashingFile {
    /// Opens `path` to append to it; what it holds already counts, up to `limit` bytes. A longer
    /// file cannot be the beginning of the wanted one and is started afresh.
    pub(crate) fn resume(path: &Path, limit: u64) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let mut this = Self {
            file,
            hasher: sha2::Sha256::new(),
            len: 0,
        };
        if this.file.metadata()?.len() > limit {
            this.restart()?;
        }
        this.len = hash_into(&mut this.file, &mut this.hasher)?;
        Ok(this)
    }

    /// Bytes in the file.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Forgets everything written so far.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.hasher = sha2::Sha256::new();
        self.len = 0;
        Ok(())
    }

    /// Makes sure that the bytes are on disk and returns their digest.
    pub(crate) fn finish(self) -> io::Result<Sha256> {
        self.file.sync_all()?;
        Ok(Sha256(self.hasher.finalize().into()))
    }
}

impl Write for HashingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn hash_into(reader: &mut impl Read, hasher: &mut sha2::Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(total),
            n => {
                hasher.update(&buffer[..n]);
                total += n as u64;
            }
        }
    }
}

/// The digest of a file's bytes.
///
/// # Errors
///
/// When it cannot be read.
pub fn sha256_of(path: &Path) -> io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    hash_into(&mut File::open(path)?, &mut hasher)?;
    Ok(Sha256(hasher.finalize().into()))
}

/// What a file looked like when its digest was computed.
#[derive(Serialize, Deserialize, PartialEq)]
struct Record {
    path: PathBuf,
    size: u64,
    modified_ns: u128,
    sha256: Sha256,
}

impl Record {
    fn of(path: &Path, sha256: Sha256) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let metadata = path.metadata()?;
        let modified = metadata
            .modified()?
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Self {
            size: metadata.len(),
            modified_ns: modified.as_nanos(),
            path,
            sha256,
        })
    }
}

/// The memory of verified files.
pub(crate) struct Verified {
    folder: PathBuf,
}

impl Verified {
    /// `cache_dir` is matou's own cache folder.
    pub(crate) fn new(cache_dir: &Path) -> Self {
        Self {
            folder: cache_dir.join("verified"),
        }
    }

    /// The digest of `path`, computed only if the file is not remembered.
    pub(crate) fn digest(&self, path: &Path) -> io::Result<Sha256> {
        if let Some(digest) = self.recall(path) {
            return Ok(digest);
        }
        tracing::info!(file = %path.display(), "verifying");
        let digest = sha256_of(path)?;
        self.remember(path, digest);
        Ok(digest)
    }

    /// Records the digest of a file. Failing to is no error: the file is then hashed again next time.
    pub(crate) fn remember(&self, path: &Path, digest: Sha256) {
        let written = Record::of(path, digest).and_then(|record| {
            let json = serde_json::to_vec(&record)?;
            write_atomically(&self.sidecar(&record.path), &json)
        });
        if let Err(error) = written {
            tracing::debug!(%error, file = %path.display(), "cannot remember that the file was verified");
        }
    }

    fn recall(&self, path: &Path) -> Option<Sha256> {
        let sidecar = self.sidecar(&path.canonicalize().ok()?);
        let record: Record = serde_json::from_slice(&std::fs::read(sidecar).ok()?).ok()?;
        (record == Record::of(path, record.sha256).ok()?).then_some(record.sha256)
    }

    fn sidecar(&self, canonical: &Path) -> PathBuf {
        let key = Sha256(sha2::Sha256::digest(canonical.as_os_str().as_encoded_bytes()).into());
        self.folder.join(format!("{key}.json"))
    }
}

/// Writes a small file so that nobody ever sees half of it. Creates its folder.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        assert_eq!(ABC.parse::<Sha256>().unwrap().to_string(), ABC);
        for wrong in [
            "",
            "ba78",
            &ABC.replace('b', "g"),
            &format!("{ABC}0"),
            &"é".repeat(32),
        ] {
            assert!(wrong.parse::<Sha256>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_resumed_file_is_hashed_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("partial");
        std::fs::write(&path, "a").unwrap();
        let mut file = HashingFile::resume(&path, 3).unwrap();
        assert_eq!(file.len(), 1);
        file.write_all(b"bc").unwrap();
        assert_eq!(file.len(), 3);
        assert_eq!(file.finish().unwrap().to_string(), ABC);
        assert_eq!(sha256_of(&path).unwrap().to_string(), ABC);
    }

    #[test]
    fn a_partial_file_longer_than_the_whole_is_started_afresh() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("partial");
        std::fs::write(&path, "too long").unwrap();
        let mut file = HashingFile::resume(&path, 3).unwrap();
        file.write_all(b"abc").unwrap();
        assert_eq!(file.finish().unwrap().to_string(), ABC);
    }

    #[test]
    fn a_verified_file_is_remembered_until_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "abc").unwrap();
        let verified = Verified::new(&folder.path().join("cache"));
        assert_eq!(verified.recall(&path), None);
        assert_eq!(verified.digest(&path).unwrap().to_string(), ABC);
        assert_eq!(verified.recall(&path).unwrap().to_string(), ABC);
        std::fs::write(&path, "abcd").unwrap();
        assert_eq!(verified.recall(&path), None);
    }
}
