//! Reading a JSON file, with errors that name it.

use std::path::Path;

use crate::error::{ModelError, Result};

pub(super) fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::InvalidFile {
        path: path.to_owned(),
        message: error.to_string(),
    })
}
