//! The chat formats of Mistral's models, for those that come without a template.
//!
//! Repositories in Mistral's own layout have a `tekken.json` or a `tokenizer.model.vN`, whose version
//! says how the PyPI package `mistral-common` writes a chat (`tokens/tokenizers/instruct.py`). These
//! templates write the same.

use std::path::Path;

use super::error::TemplateError;
use super::source::TemplateSource;
use crate::tokenizer::{TEKKEN_FILE, tekken_version, versioned_file};

/// Brings messages into the shape that the formats start from.
const TURNS: &str = include_str!("turns.jinja");
/// How tools and calls are written.
const TOOLS: &str = include_str!("tools.jinja");
/// How the results of calls are written from version 11 on.
const RESULTS: &str = include_str!("results.jinja");

impl TemplateSource {
    /// The chat format of one version of Mistral's tokenizers: 1, 2, 3, 7, 11, 13 or later. `None`
    /// for numbers that were never in use.
    pub fn mistral(version: u32) -> Option<Self> {
        let set = |name: &str, value: bool| format!("{{%- set {name} = {value} -%}}");
        let ids = set("shows_call_ids", (3..13).contains(&version));
        let folds = set("folds_system", version < 7);
        let parts: &[&str] = match version {
            1 => &[&folds, TURNS, include_str!("v1.jinja")],
            2 => &[&folds, &ids, TURNS, TOOLS, include_str!("v2.jinja")],
            3 => &[&folds, &ids, TURNS, TOOLS, include_str!("v3.jinja")],
            7 => &[&folds, &ids, TURNS, TOOLS, include_str!("v7.jinja")],
            11 => &[
                &folds,
                &ids,
                TURNS,
                TOOLS,
                RESULTS,
                include_str!("v11.jinja"),
            ],
            // 15 puts settings before the first turn, which are left at their defaults.
            13.. => &[
                &folds,
                &ids,
                TURNS,
                TOOLS,
                RESULTS,
                include_str!("v13.jinja"),
            ],
            _ => return None,
        };
        Some(parts.concat().into())
    }
}

/// The format that the tokenizer in `folder` stands for, if it is one of Mistral's.
pub(super) fn of_folder(folder: &Path) -> Result<Option<TemplateSource>, TemplateError> {
    let tekken = folder.join(TEKKEN_FILE);
    let version = if tekken.exists() {
        tekken_version(&tekken).map_err(|error| TemplateError::Read {
            path: tekken.display().to_string(),
            message: error.to_string(),
        })?
    } else if let Some((version, _)) = versioned_file(folder) {
        Some(version)
    } else {
        // In Mistral's layout, a tokenizer without a version is one of the first.
        let first = folder.join("params.json").exists() && folder.join("tokenizer.model").exists();
        first.then_some(1)
    };
    Ok(version.and_then(TemplateSource::mistral))
}
