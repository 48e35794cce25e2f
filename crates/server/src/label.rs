//! That a machine wrote an answer, said so that machines can read it: in a header, and in the body.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use matou_llm::models::{Lease, ServedName};
use serde::Serialize;
use utoipa::ToSchema;

/// What generates answers here.
const GENERATOR: &str = concat!("matou/", env!("CARGO_PKG_VERSION"));

/// The header that `draft-abaris-aicdh` proposes: a dictionary of structured fields (RFC 9651).
const HEADER: HeaderName = HeaderName::from_static("ai-disclosure");

/// Who wrote an answer: no human did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Label {
    /// The program.
    pub(crate) generator: &'static str,
    /// The model, or the adapter.
    pub(crate) model: String,
    /// The persona, if it was asked for as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) persona: Option<String>,
    /// Changes when the model or the build changes.
    pub(crate) fingerprint: String,
}

impl Label {
    /// The label of what `lease` answers.
    pub(crate) fn of(lease: &Lease) -> Self {
        Self {
            generator: GENERATOR,
            model: lease.model_name().to_owned(),
            persona: lease.persona().map(|persona| persona.id().to_owned()),
            fingerprint: lease.card().fingerprint.clone(),
        }
    }

    /// The label of what will be answered under a name.
    pub(crate) fn of_name(named: &ServedName) -> Self {
        let facts = &named.model.facts;
        let adapter = named.adapter.as_ref();
        Self {
            generator: GENERATOR,
            model: adapter
                .map_or(&facts.names[0], |adapter| &adapter.name)
                .clone(),
            persona: named
                .persona
                .as_ref()
                .map(|persona| persona.id().to_owned()),
            fingerprint: facts.fingerprint.clone(),
        }
    }

    /// Puts it into the head of a response.
    pub(crate) fn put_on(&self, response: &mut Response) {
        let model = string(self.persona.as_deref().unwrap_or(&self.model));
        let value = format!("mode=ai-originated, model={model}, provider=\"{GENERATOR}\"");
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HEADER, value);
        }
    }
}

/// A string of RFC 9651, which has ASCII only; one of another alphabet is written as its display string.
fn string(text: &str) -> String {
    let is_plain = |byte: &u8| (0x20..0x7f).contains(byte);
    if text.bytes().all(|byte| is_plain(&byte)) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let mut written = String::from("%\"");
    for byte in text.bytes() {
        match is_plain(&byte) && byte != b'%' && byte != b'"' {
            true => written.push(char::from(byte)),
            false => written.push_str(&format!("%{byte:02x}")),
        }
    }
    written + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strings_of_structured_fields() {
        assert_eq!(string("captain-ada"), r#""captain-ada""#);
        assert_eq!(string(r#"a "b" \c"#), r#""a \"b\" \\c""#);
        assert_eq!(string("mâtou 1%"), r#"%"m%c3%a2tou 1%25""#);
    }
}
