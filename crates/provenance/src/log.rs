//! The file that is written to, by a thread of its own: answers do not wait for a disk.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tracing::error;

use crate::fingerprint::Salt;
use crate::record::{Head, Record};

/// Records that wait for the disk: the answers of some minutes.
const MAX_WAITING: usize = 4096;

/// Longest first line that there is.
const MAX_HEAD: u64 = 4096;

/// A file of hashes, open to be written to.
#[derive(Debug)]
pub struct ProvenanceLog {
    salt: Salt,
    records: Option<SyncSender<Record>>,
    writer: Option<JoinHandle<()>>,
}

impl ProvenanceLog {
    /// Opens a file, which is made if it is not there; nobody but its owner can read it.
    ///
    /// # Errors
    ///
    /// When it cannot be made, read or written, or is another kind of file.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        let salt = match file.metadata()?.len() {
            0 => begin(&mut file)?,
            _ => resume(&mut file)?,
        };
        let (records, waiting) = sync_channel::<Record>(MAX_WAITING);
        let name = path.display().to_string();
        let writer = std::thread::Builder::new()
            .name("matou-provenance".to_owned())
            .spawn(move || {
                let mut is_torn = false;
                for record in waiting {
                    // In one piece, so that a line is whole or not there; what was torn ends first.
                    let torn = if is_torn { "\n" } else { "" };
                    let line = format!("{torn}{}\n", record.to_line());
                    is_torn = false;
                    if let Err(error) = file.write_all(line.as_bytes()) {
                        is_torn = true;
                        let request = record.source.request;
                        error!(file = name, request, %error, "an answer is not in the provenance log");
                    }
                }
            })?;
        Ok(Self {
            salt,
            records: Some(records),
            writer: Some(writer),
        })
    }

    /// What hashes for this file are mixed with.
    pub fn salt(&self) -> Salt {
        self.salt
    }

    /// Writes a record, soon.
    pub fn write(&self, record: Record) {
        let Some(records) = &self.records else { return };
        if let Err(TrySendError::Full(record) | TrySendError::Disconnected(record)) =
            records.try_send(record)
        {
            let request = record.source.request;
            error!(
                request,
                "an answer is not in the provenance log: the disk is too slow"
            );
        }
    }
}

/// Writes what waits.
impl Drop for ProvenanceLog {
    fn drop(&mut self) {
        self.records = None;
        // A panic has told of itself.
        let _ = self.writer.take().map(JoinHandle::join);
    }
}

fn begin(file: &mut File) -> std::io::Result<Salt> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(std::io::Error::other)?;
    let head = serde_json::to_string(&Head::new(Salt(salt)))?;
    file.write_all((head + "\n").as_bytes())?;
    Ok(Salt(salt))
}

fn resume(file: &mut File) -> std::io::Result<Salt> {
    let mut line = String::new();
    BufReader::new(Read::take(&mut *file, MAX_HEAD)).read_line(&mut line)?;
    let salt = Head::salt(line.trim_end()).map_err(std::io::Error::other)?;
    // What was cut off in the middle of a line must not take the next one with it.
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(salt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fingerprinter, Source, verify};

    const TEXT: &str =
        "Cats sleep for most of the day, and hunt at dawn and dusk, when mice are about.";

    fn record(log: &ProvenanceLog, text: &str, request: &str) -> Record {
        let mut fingerprinter = Fingerprinter::new(log.salt());
        fingerprinter.push(text);
        let source = Source {
            request: request.to_owned(),
            ..Source::default()
        };
        Record::new(source, fingerprinter.finish())
    }

    #[test]
    fn what_is_written_is_found_again_over_restarts_and_torn_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = ProvenanceLog::open(&path).unwrap();
        log.write(record(&log, TEXT, "one"));
        drop(log);
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"at\":1,\"requ").unwrap();
        let log = ProvenanceLog::open(&path).unwrap();
        log.write(record(&log, "Something else entirely.", "two"));
        drop(log);
        let found = verify(&path, TEXT).unwrap();
        assert_eq!(found.whole[0].request, "one");
        assert_eq!(
            verify(&path, "something else ENTIRELY").unwrap().whole[0].request,
            "two"
        );
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("Cats") && !text.contains("hunt"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        ProvenanceLog::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn another_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("letter");
        std::fs::write(&path, "Dear reader").unwrap();
        let error = ProvenanceLog::open(&path).unwrap_err().to_string();
        assert!(error.contains("not that of a provenance log"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "Dear reader");
    }

    #[test]
    fn a_full_disk_is_no_panic() {
        if let Ok(full) = OpenOptions::new().write(true).open("/dev/full") {
            drop(full);
            assert!(ProvenanceLog::open(Path::new("/dev/full")).is_err());
        }
    }
}
