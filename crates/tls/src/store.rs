//! A folder that several processes use at once, and that nobody else reads.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::TlsError;

const LOCK: &str = ".lock";

/// A folder of certificates and keys.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// While it lives, no other process is between reading and writing. The file stays: to remove it would
/// let two in.
pub(crate) struct Guard {
    _file: Option<File>,
}

impl Store {
    /// Opens a folder, which is made for its owner alone if it is not there.
    pub(crate) fn open(folder: &Path) -> Result<Self, TlsError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(folder)
            .map_err(|source| cannot_write(folder, source))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Waits until no other process is at work here.
    pub(crate) fn lock(&self) -> Result<Guard, TlsError> {
        let path = self.path(LOCK);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&path)
            .map_err(|source| cannot_write(&path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            // Some file systems of networks have no locks. Files are whole there too, and to lose a race is
            // an error that says so, at the next start at the latest.
            Err(TryLockError::Error(source))
                if source.kind() == std::io::ErrorKind::Unsupported =>
            {
                return Ok(Guard { _file: None });
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {
                file.lock().map_err(|source| cannot_write(&path, source))?;
            }
        }
        Ok(Guard { _file: Some(file) })
    }

    /// Writes files, each of which is whole or not there, for their owner alone. They get their names at
    /// the end, one right after the other.
    pub(crate) fn write(&self, files: &[(&str, &str)]) -> Result<(), TlsError> {
        let mut staged = Vec::with_capacity(files.len());
        for (name, text) in files {
            let path = self.path(name);
            // It is made with mode 0600.
            let mut file = NamedTempFile::new_in(&self.folder)
                .map_err(|source| cannot_write(&path, source))?;
            file.write_all(text.as_bytes())
                .and_then(|()| file.as_file().sync_all())
                .map_err(|source| cannot_write(&path, source))?;
            staged.push((path, file));
        }
        for (path, file) in staged {
            file.persist(&path)
                .map_err(|error| cannot_write(&path, error.error))?;
        }
        Ok(())
    }

    /// Takes from everybody but its owner what they may do with a file of a key, and says so.
    #[cfg(unix)]
    pub(crate) fn close(&self, name: &str) -> Result<(), TlsError> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        if is_open_to_others(&path) {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
                .map_err(|source| cannot_write(&path, source))?;
            tracing::warn!(
                file = %path.display(),
                "others could read the key of the authority: its mode is 0600 now. If somebody may have \
                 read it, remove ca.pem and ca-key.pem, and the trust of the devices"
            );
        }
        Ok(())
    }

    #[cfg(not(unix))]
    pub(crate) fn close(&self, _name: &str) -> Result<(), TlsError> {
        Ok(())
    }
}

/// Whether somebody but its owner may read or write a file.
#[cfg(unix)]
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
pub(crate) fn is_open_to_others(_path: &Path) -> bool {
    false
}

fn cannot_write(path: &Path, source: std::io::Error) -> TlsError {
    TlsError::Write {
        path: path.to_owned(),
        source,
    }
}
