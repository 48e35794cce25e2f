//! Reading the files of a tokenizer, with errors that name them.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::error::TokenizerError;

/// Largest vocabulary accepted; the largest published ones have about 2^18 tokens. Ids in a file
/// are bounded by this before anything is allocated for them.
pub(super) const MAX_VOCAB_SIZE: usize = 1 << 22;

/// The bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TokenizerError> {
    std::fs::read(path).map_err(|source| TokenizerError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The bytes of a file, `None` where there is none.
pub(super) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, TokenizerError> {
    match read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(TokenizerError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// A JSON file, `null` where there is none.
pub(super) fn read_json(path: &Path) -> Result<Value, TokenizerError> {
    let Some(bytes) = read_optional(path)? else {
        return Ok(Value::Null);
    };
    serde_json::from_slice(&bytes).map_err(|error| TokenizerError::Invalid {
        origin: path.display().to_string(),
        message: error.to_string(),
    })
}
