//! Which form a card file has, told from its bytes, and the card's JSON in it.

use serde_json::Value;

use crate::card::toml_form;
use crate::container::picture::media_type;
use crate::container::{charx, png, text};
use crate::error::PersonaError;
use crate::limits::MAX_CARD_BYTES;

/// What a card was read from, as far as it is needed to write it again.
#[derive(Debug)]
pub(crate) enum Source {
    Json,
    Toml,
    /// The file.
    Png(Vec<u8>),
    /// The file.
    Charx(Vec<u8>),
}

/// The source and the card's JSON.
pub(crate) fn read(bytes: &[u8], file_name: &str) -> Result<(Source, Value), PersonaError> {
    if bytes.len() > MAX_CARD_BYTES {
        return Err(PersonaError::TooLarge {
            what: "the file".to_owned(),
            bytes: bytes.len(),
            limit: MAX_CARD_BYTES,
        });
    }
    if bytes.starts_with(&png::SIGNATURE) {
        let (json, keyword) = png::card(bytes)?;
        let json = text::json(&json, &format!("the card in the PNG's chunk `{keyword}`"))?;
        return Ok((Source::Png(bytes.to_vec()), json));
    }
    if charx::is_archive(bytes) {
        let json = text::json(&charx::card(bytes)?, "`card.json` in the CHARX archive")?;
        return Ok((Source::Charx(bytes.to_vec()), json));
    }
    if let Some(media_type) = media_type(bytes) {
        let reason = format!("it is {media_type}, in which no cards are kept");
        return Err(PersonaError::Format { reason });
    }
    let lower = file_name.to_ascii_lowercase();
    if bytes.contains(&0) {
        let reason = "it is neither text nor one of the files that hold cards".to_owned();
        return Err(PersonaError::Format { reason });
    }
    let content = text::utf8(bytes, "the file")?;
    let begins_json = content.trim_start().starts_with('{');
    if lower.ends_with(".toml")
        || !begins_json && !lower.ends_with(".json") && looks_like_toml(content)
    {
        return Ok((Source::Toml, toml_form::read(content)?));
    }
    if !begins_json && !lower.ends_with(".json") {
        let reason = "its text is neither JSON nor TOML".to_owned();
        return Err(PersonaError::Format { reason });
    }
    Ok((Source::Json, text::json(bytes, "the file")?))
}

/// Whether the first line that says something is `key = value` or a table.
fn looks_like_toml(content: &str) -> bool {
    let lines = content.lines().map(str::trim);
    let mut telling = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    telling
        .next()
        .is_some_and(|line| line.starts_with('[') || line.contains('='))
}
