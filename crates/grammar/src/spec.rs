//! What a client may ask of the output.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A description of the wanted output, as it comes from a request.
///
/// The root of a Lark grammar is the rule `start`, that of a GBNF grammar the rule `root`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum GrammarSpec {
    /// Any JSON object.
    JsonObject,
    /// A JSON value that satisfies the schema.
    JsonSchema(Value),
    /// Text that the regex matches as a whole (syntax of the crate `regex`).
    Regex(String),
    /// One of these strings.
    Choice(Vec<String>),
    /// A grammar in llguidance's dialect of Lark.
    Lark {
        /// The grammar.
        source: String,
        /// Rules that the grammar uses and that are defined here: a JSON value that satisfies the
        /// schema. Unlike `%json` inside the source, they are checked as in
        /// [`GrammarSpec::JsonSchema`].
        schemas: Vec<(String, Value)>,
    },
    /// A grammar in llama.cpp's notation.
    Gbnf(String),
}

impl GrammarSpec {
    /// A Lark grammar that stands on its own.
    pub fn lark(source: impl Into<String>) -> Self {
        Self::Lark {
            source: source.into(),
            schemas: Vec::new(),
        }
    }

    /// What a cache can look the grammar up by: equal texts mean equal grammars.
    pub(crate) fn cache_key(&self) -> String {
        match self {
            Self::JsonObject => "object".to_owned(),
            Self::JsonSchema(schema) => format!("schema {schema}"),
            Self::Regex(regex) => format!("regex {regex}"),
            Self::Choice(choices) => format!("choice {choices:?}"),
            Self::Lark { source, schemas } => format!("lark {source:?} {schemas:?}"),
            Self::Gbnf(source) => format!("gbnf {source}"),
        }
    }
}
