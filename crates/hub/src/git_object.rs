//! The names that git gives to files: what the hub promises of a file that is not in large-file storage.
//!
//! SHA-1 no longer keeps out who can choose both of two files, but whoever is to pass off another file for
//! one that is published needs a second preimage, which nobody has found.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::{Digest, Sha1};

/// The object id that `etag` is, if it is one.
pub(crate) fn promised(etag: &str) -> Option<&str> {
    let is_id = etag.len() == 40 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(etag)
}

/// The id of a file's content as a git object: the SHA-1 of a header and the content.
pub(crate) fn id_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", file.metadata()?.len()));
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let digits = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_git() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // As `git hash-object` has it.
        let empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
        assert_eq!(id_of(file.path()).unwrap(), empty);
        std::fs::write(file.path(), "hello\n").unwrap();
        let hello = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(id_of(file.path()).unwrap(), hello);
        assert_eq!(promised(hello), Some(hello));
        assert_eq!(promised(&"a".repeat(64)), None);
    }
}
