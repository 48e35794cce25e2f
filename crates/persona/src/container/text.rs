//! The text of a card: bounded, UTF-8, and JSON where it is JSON.

use serde_json::Value;

use crate::error::PersonaError;
use crate::limits::MAX_TEXT_BYTES;

/// The text of `place`, without a byte order mark.
pub(crate) fn utf8<'a>(bytes: &'a [u8], place: &str) -> Result<&'a str, PersonaError> {
    if bytes.len() > MAX_TEXT_BYTES {
        return Err(PersonaError::TooLarge {
            what: place.to_owned(),
            bytes: bytes.len(),
            limit: MAX_TEXT_BYTES,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| PersonaError::NotUtf8 {
        place: place.to_owned(),
        offset: error.valid_up_to(),
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The JSON of `place`. How deep it may nest is bounded by the parser.
pub(crate) fn json(bytes: &[u8], place: &str) -> Result<Value, PersonaError> {
    let text = utf8(bytes, place)?;
    serde_json::from_str(text).map_err(|error| PersonaError::Json {
        place: place.to_owned(),
        problem: error.to_string(),
    })
}
