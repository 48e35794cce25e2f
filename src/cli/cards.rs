//! Character cards on disk.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use matou_persona::{MAX_CARD_BYTES, Persona};

/// Whether a file is called as cards are.
pub(super) fn is_card(path: &Path) -> bool {
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
