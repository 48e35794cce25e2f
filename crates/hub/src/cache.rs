//! The Hugging Face cache, in the layout that all its users share:
//!
//! ```text
//! models--owner--name/
//!   blobs/<etag>                        the bytes; the etag of weights is their SHA-256
//!   blobs/<etag>.matou-incomplete       what has arrived of a download
//!   refs/<revision>                     the commit that a branch or tag stands for
//!   snapshots/<commit>/<path>           links to ../../blobs/<etag>
//! .locks/models--owner--name/<etag>.lock
//! ```
//!
//! hf-hub's own `download` fills the same layout, but gives up on a lock after five seconds and does
//! not check what arrived before other programs see it. So files are placed here, after their digest
//! was checked.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model_ref::is_relative_path;
use crate::verify::{Sha256, write_atomically};

/// A repository's folder in the cache.
pub(crate) struct RepoCache {
    folder: PathBuf,
    locks: PathBuf,
}

impl RepoCache {
    pub(crate) fn new(hub_cache: &Path, repo: &str) -> Self {
        let name = format!("models--{}", repo.replace('/', "--"));
        Self {
            locks: hub_cache.join(".locks").join(&name),
            folder: hub_cache.join(name),
        }
    }

    /// The folder of the files of a revision, if any was ever fetched.
    pub(crate) fn snapshot(&self, revision: &str) -> Option<PathBuf> {
        let commit = if is_commit(revision) {
            revision.to_owned()
        } else {
            std::fs::read_to_string(self.folder.join("refs").join(revision)).ok()?
        };
        let commit = commit.trim();
        let folder = self.folder.join("snapshots").join(commit);
        (is_commit(commit) && folder.is_dir()).then_some(folder)
    }

    /// Paths of the files of a revision that are on disk.
    pub(crate) fn files(&self, revision: &str) -> Vec<String> {
        let mut files = Vec::new();
        if let Some(folder) = self.snapshot(revision) {
            list(&folder, String::new(), &mut files);
        }
        files.sort();
        files
    }

    /// Where the bytes with this etag belong.
    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where the bytes with this etag are collected. The name is matou's own: the `.incomplete`
    /// files of other programs may have holes.
    pub(crate) fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder
            .join("blobs")
            .join(format!("{etag}.matou-incomplete"))
    }

    /// Waits until no other program fetches these bytes, and keeps them from it until the result
    /// is dropped. All users of the cache lock the same file.
    pub(crate) async fn lock(&self, etag: &str) -> io::Result<File> {
        lock(&self.locks.join(format!("{etag}.lock"))).await
    }

    /// Makes a blob appear as a file of a revision; returns that file's path.
    pub(crate) fn publish(
        &self,
        revision: &str,
        commit: &str,
        file: &str,
        etag: &str,
    ) -> io::Result<PathBuf> {
        let pointer = self.folder.join("snapshots").join(commit).join(file);
        let blob = self.blob(etag);
        if pointer.canonicalize().ok() != blob.canonicalize().ok() || !pointer.exists() {
            link(&blob, &pointer, file.split('/').count())?;
        }
        if !is_commit(revision) {
            write_atomically(&self.folder.join("refs").join(revision), commit.as_bytes())?;
        }
        Ok(pointer)
    }
}

/// The digest that the hub promises for a file of the cache: the name of its blob, if that has the
/// form of one.
pub(crate) fn promised_digest(pointer: &Path) -> Option<Sha256> {
    pointer
        .canonicalize()
        .ok()?
        .file_name()?
        .to_str()?
        .parse()
        .ok()
}

/// Removes a file of the cache and the bytes behind it.
///
/// # Errors
///
/// When it is not there, or cannot be removed.
pub fn remove(pointer: &Path) -> io::Result<()> {
    let blob = pointer.canonicalize()?;
    std::fs::remove_file(pointer)?;
    if blob != pointer && blob.exists() {
        std::fs::remove_file(blob)?;
    }
    Ok(())
}

/// Waits for an exclusive lock on `path`, which is created.
pub(crate) async fn lock(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    let mut announced = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                if !announced {
                    tracing::info!(lock = %path.display(), "another process is fetching this file; waiting for it");
                    announced = true;
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Whether this is a full commit id, which always stands for the same files.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn list(folder: &Path, prefix: String, files: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = format!("{prefix}{name}");
        match entry.path() {
            // Not `is_dir`, which would follow a link in a circle.
            _ if entry.file_type().is_ok_and(|kind| kind.is_dir()) => {
                list(&entry.path(), format!("{path}/"), files)
            }
            file if file.exists() && is_relative_path(&path) => files.push(path),
            _ => {}
        }
    }
}

/// Links `pointer`, `depth` levels below its snapshot's folder, to `blob`; replaces what was there
/// in one step.
#[cfg(unix)]
fn link(blob: &Path, pointer: &Path, depth: usize) -> io::Result<()> {
    let folder = pointer.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let name = blob.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let target = PathBuf::from("../".repeat(depth + 1))
        .join("blobs")
        .join(name);
    let staging = tempfile::Builder::new()
        .make_in(folder, |path| std::os::unix::fs::symlink(&target, path))?;
    let (_, staging) = staging.into_parts();
    staging.persist(pointer).map_err(|error| error.error)
}

/// Links need privileges on other systems, so that the bytes are copied, as other users of the
/// cache do.
#[cfg(not(unix))]
fn link(blob: &Path, pointer: &Path, _depth: usize) -> io::Result<()> {
    let folder = pointer.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    std::fs::copy(blob, pointer).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_published_blob_is_found_by_revision_and_by_commit() {
        let cache = tempfile::tempdir().unwrap();
        let repo = RepoCache::new(cache.path(), "me/mine");
        write_atomically(&repo.blob("etag"), b"bytes").unwrap();
        let pointer = repo
            .publish("refs/pr/1", COMMIT, "sub/model.gguf", "etag")
            .unwrap();
        assert_eq!(std::fs::read(&pointer).unwrap(), b"bytes");
        for revision in ["refs/pr/1", COMMIT] {
            assert_eq!(repo.files(revision), ["sub/model.gguf"]);
            assert_eq!(
                repo.snapshot(revision).unwrap().join("sub/model.gguf"),
                pointer
            );
        }
        assert!(repo.files("main").is_empty());
        assert!(
            cache
                .path()
                .join("models--me--mine/refs/refs/pr/1")
                .exists()
        );
    }

    #[test]
    fn publishing_again_moves_the_revision_and_replaces_the_link() {
        let cache = tempfile::tempdir().unwrap();
        let repo = RepoCache::new(cache.path(), "me/mine");
        for (etag, commit) in [
            ("one", COMMIT.to_owned()),
            ("two", COMMIT.to_owned()),
            ("one", "f".repeat(40)),
        ] {
            write_atomically(&repo.blob(etag), etag.as_bytes()).unwrap();
            repo.publish("main", &commit, "m.gguf", etag).unwrap();
            let file = repo.snapshot("main").unwrap().join("m.gguf");
            assert_eq!(std::fs::read_to_string(file).unwrap(), etag);
        }
    }

    #[test]
    fn a_ref_that_is_no_commit_leads_nowhere() {
        let cache = tempfile::tempdir().unwrap();
        let repo = RepoCache::new(cache.path(), "me/mine");
        write_atomically(
            &cache.path().join("models--me--mine/refs/main"),
            b"../../..",
        )
        .unwrap();
        assert_eq!(repo.snapshot("main"), None);
    }
}
