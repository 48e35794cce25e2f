//! Character cards on disk.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use matou_persona::{MAX_CARD_BYTES, Persona};

/// The cards at a path: itself, or of a folder the files that are called as cards are, by their names.
pub(super) fn found(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let about = || format!("cannot read the cards in {}", path.display());
    let entries = std::fs::read_dir(path).with_context(about)?;
    let files: std::io::Result<Vec<PathBuf>> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect();
    let mut files = files.with_context(about)?;
    files.retain(|file| file.is_file() && is_card(file));
    files.sort();
    Ok(files)
}

/// Whether a file is called as cards are.
fn is_card(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let extension = extension.unwrap_or_default().to_lowercase();
    matches!(
        extension.as_str(),
        "png" | "apng" | "json" | "charx" | "toml"
    )
}

/// Reads a card.
pub(super) fn read(path: &Path) -> Result<Persona> {
    let about = || format!("cannot read {}", path.display());
    let len = std::fs::metadata(path).with_context(about)?.len();
    ensure!(
        len <= MAX_CARD_BYTES as u64,
        "{} has {len} bytes, and at most {MAX_CARD_BYTES} are read: give the card a smaller picture",
        path.display()
    );
    let bytes = std::fs::read(path).with_context(about)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Persona::read(&bytes, &name)?)
}
