//! Blocks of text, which everything else is made of.

use crate::dialects::anthropic::wire::Block;
use crate::dialects::shared::fields::required;
use crate::error::ApiError;

/// The texts of blocks that have to be text.
pub(super) fn texts(param: &str, blocks: Vec<Block>) -> Result<Vec<String>, ApiError> {
    let blocks = blocks.into_iter().enumerate();
    blocks
        .map(|(i, block)| text(&format!("{param}[{i}]"), block))
        .collect()
}

/// The text of a block that has to be text.
pub(super) fn text(param: &str, block: Block) -> Result<String, ApiError> {
    match block.kind.as_str() {
        "text" => required(block.text, param, "text"),
        other => Err(unreadable(param, other)),
    }
}

/// A block of a type that cannot be read where it is.
pub(super) fn unreadable(param: &str, kind: &str) -> ApiError {
    let message = format!("`{param}` is of type \"{kind}\", which cannot be read here.");
    ApiError::unsupported(format!("{param}.type"), message)
}
