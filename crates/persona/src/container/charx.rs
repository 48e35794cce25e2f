//! CHARX files: zip archives with `card.json` and assets.
//!
//! Only the card and its main picture are ever unpacked. Other assets are carried over as they
//! lie in the archive, so none of them can be a bomb.

use std::io::{Cursor, Read, Write};

use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use crate::error::PersonaError;
use crate::limits::{
    MAX_ARCHIVE_FILES, MAX_ARCHIVE_RATIO, MAX_CARD_BYTES, MAX_TEXT_BYTES, RATIO_FREE_BYTES,
};

/// The card's name in an archive.
const CARD: &str = "card.json";

/// How URIs of assets inside the archive begin: as the specification spells it, and as many would.
pub(crate) const EMBEDDED: [&str; 2] = ["embeded://", "embedded://"];

/// Whether a file is a zip archive.
pub(crate) fn is_archive(file: &[u8]) -> bool {
    file.starts_with(b"PK\x03\x04") || file.starts_with(b"PK\x05\x06")
}

fn broken(problem: impl Into<String>) -> PersonaError {
    PersonaError::Charx {
        problem: problem.into(),
    }
}

fn open(file: &[u8]) -> Result<ZipArchive<Cursor<&[u8]>>, PersonaError> {
    let too_many = |count: usize| {
        broken(format!(
            "it has {count} files, and at most {MAX_ARCHIVE_FILES} are read"
        ))
    };
    // Before the list of files is read: it takes more memory than the archive has bytes.
    if let Some(count) = stated_files(file).filter(|&count| count > MAX_ARCHIVE_FILES) {
        return Err(too_many(count));
    }
    let archive = ZipArchive::new(Cursor::new(file)).map_err(|error| broken(error.to_string()))?;
    match archive.len() {
        count if count > MAX_ARCHIVE_FILES => Err(too_many(count)),
        _ => Ok(archive),
    }
}

/// Files that the last record of the archive counts.
fn stated_files(file: &[u8]) -> Option<usize> {
    let tail = &file[file.len().saturating_sub(22 + 0xffff)..];
    let at = tail
        .windows(4)
        .rposition(|window| window == b"PK\x05\x06")?;
    let count = tail.get(at + 10..at + 12)?;
    Some(usize::from(u16::from_le_bytes([count[0], count[1]])))
}

/// The JSON of the card.
pub(crate) fn card(file: &[u8]) -> Result<Vec<u8>, PersonaError> {
    let found = member(&mut open(file)?, CARD, MAX_TEXT_BYTES, file.len())?;
    found.ok_or_else(|| broken("it has no `card.json` at its root"))
}

/// An asset by its path, if the archive has it.
pub(crate) fn asset(file: &[u8], path: &str) -> Result<Option<Vec<u8>>, PersonaError> {
    member(&mut open(file)?, path, MAX_CARD_BYTES, file.len())
}

/// Unpacks a file of the archive, as far as it may: what its header states is not believed.
fn member(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    name: &str,
    limit: usize,
    archive_bytes: usize,
) -> Result<Option<Vec<u8>>, PersonaError> {
    let Some(index) = archive.index_for_name(name) else {
        return Ok(None);
    };
    let limit = limit.min(RATIO_FREE_BYTES.max(archive_bytes.saturating_mul(MAX_ARCHIVE_RATIO)));
    let file = archive
        .by_index(index)
        .map_err(|error| broken(format!("`{name}`: {error}")))?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| broken(format!("`{name}`: {error}")))?;
    if bytes.len() > limit {
        return Err(PersonaError::TooLarge {
            what: format!("`{name}` in the CHARX archive"),
            bytes: bytes.len(),
            limit,
        });
    }
    Ok(Some(bytes))
}

/// A new archive of a card and of assets, as (path, bytes).
pub(crate) fn write(json: &str, assets: &[(&str, &[u8])]) -> Result<Vec<u8>, PersonaError> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    put(&mut writer, CARD, json.as_bytes())?;
    for (path, bytes) in assets {
        put(&mut writer, path, bytes)?;
    }
    finish(writer)
}

/// The archive with another card in it, and everything else as it was.
pub(crate) fn with_card(file: &[u8], json: &str) -> Result<Vec<u8>, PersonaError> {
    let mut archive = open(file)?;
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    put(&mut writer, CARD, json.as_bytes())?;
    let mut carried: u64 = 0;
    for index in 0..archive.len() {
        let member = archive.by_index_raw(index).map_err(unwritable)?;
        // Files that lie on each other in the archive would not any more: that is a bomb.
        carried = carried.saturating_add(member.compressed_size());
        if carried > file.len() as u64 {
            return Err(broken("its files lie on each other"));
        }
        if member.name_raw() != CARD.as_bytes() {
            writer.raw_copy_file(member).map_err(unwritable)?;
        }
    }
    finish(writer)
}

type Writer = ZipWriter<Cursor<Vec<u8>>>;

/// Times are left at their zero, so that the same card gives the same bytes.
fn put(writer: &mut Writer, name: &str, bytes: &[u8]) -> Result<(), PersonaError> {
    let options = SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
    writer.start_file(name, options).map_err(unwritable)?;
    writer.write_all(bytes).map_err(unwritable)
}

fn finish(writer: Writer) -> Result<Vec<u8>, PersonaError> {
    Ok(writer.finish().map_err(unwritable)?.into_inner())
}

fn unwritable(error: impl std::fmt::Display) -> PersonaError {
    PersonaError::Write {
        form: "CHARX",
        problem: error.to_string(),
    }
}
