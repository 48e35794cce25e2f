//! Documents and findings that come with a conversation, as the text that the model reads.

use serde::Deserialize;
use serde_json::Value;

use super::text::{texts, unreadable};
use crate::dialects::anthropic::wire::Block;
use crate::dialects::shared::fields::missing;
use crate::dialects::shared::union::TextOr;
use crate::error::ApiError;

/// A document: its title, what to know about it, and its text.
pub(super) fn document(param: &str, block: Block) -> Result<String, ApiError> {
    refuse_citations(param, &block)?;
    let Some(source) = &block.source else {
        return Err(missing(&format!("{param}.source")));
    };
    let at = format!("{param}.source");
    let text = match (source["type"].as_str().unwrap_or_default(), source) {
        ("text", source) => match &source["data"] {
            Value::String(text) => text.clone(),
            _ => return Err(missing(&format!("{at}.data"))),
        },
        ("content", source) => {
            let at = format!("{at}.content");
            let given = Option::deserialize(&source["content"]).map_err(|error| {
                ApiError::wrong_type(&at, format!("Invalid value for `{at}`: {error}."))
            })?;
            content(&at, given)?
        }
        (other, _) => return Err(unreadable(&at, other)),
    };
    Ok(told(block.title, block.context, text))
}

/// What a search has found: its title, where it is from, and its text.
pub(super) fn search_result(param: &str, block: Block) -> Result<String, ApiError> {
    refuse_citations(param, &block)?;
    let source = block.source.as_ref().and_then(Value::as_str);
    let source = source.map(str::to_owned);
    let text = content(&format!("{param}.content"), block.content)?;
    Ok(told(block.title, source, text))
}

/// Text, or blocks of text, which has to be there.
fn content(param: &str, content: Option<TextOr<Block>>) -> Result<String, ApiError> {
    match content {
        Some(TextOr::Text(text)) => Ok(text),
        Some(TextOr::List(blocks)) => Ok(texts(param, blocks)?.join("\n\n")),
        None => Err(missing(param)),
    }
}

fn told(title: Option<String>, about: Option<String>, text: String) -> String {
    let parts = [title, about, Some(text)].into_iter().flatten();
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

/// A model would have to be trained to cite, and the answer to say where from.
fn refuse_citations(param: &str, block: &Block) -> Result<(), ApiError> {
    let citations = block.citations.as_ref();
    if citations.and_then(|citations| citations.enabled) != Some(true) {
        return Ok(());
    }
    let param = format!("{param}.citations");
    let message = format!("`{param}` is not supported: this server's models cite nothing.");
    Err(ApiError::unsupported(param, message))
}
