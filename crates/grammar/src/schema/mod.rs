//! JSON schemas, made ready for the grammar compiler.
//!
//! Underneath, llguidance enforces a part of JSON Schema 2020-12. [`prepare`] turns a client's
//! schema of any draft since 4 into that part, or refuses it: legacy keywords take their modern
//! form, what can be said otherwise is (`dependentRequired` as `anyOf`, `format` as `pattern`),
//! annotations go, and each keyword that is left over is an error with its path. References are
//! gathered in `$defs` of the root, so that the result stands on its own and an unused definition
//! can't fail.
//!
//! Some faults show only when the grammar is built, deep inside and without a position. Then
//! [`locate_failure`] looks for the innermost subschema that fails in the same way.

mod formats;
mod keywords;
mod locate;
mod path;
mod references;
mod rewrite;
mod rules;

use serde_json::{Value, json};

use crate::GrammarError;

pub(crate) use locate::locate_failure;

/// The schema in the form that the grammar compiler enforces completely.
///
/// # Errors
///
/// [`GrammarError::UnsupportedSchema`], [`GrammarError::InvalidSchema`] with the path of the
/// fault, or [`GrammarError::TooLarge`].
pub(crate) fn prepare(schema: &Value) -> Result<Value, GrammarError> {
    let mut prepared = match rewrite::rewrite(schema)? {
        Value::Object(map) => map,
        Value::Bool(true) => serde_json::Map::new(),
        _ => {
            return Err(GrammarError::InvalidSchema {
                path: "$".to_owned(),
                reason: "nothing satisfies the schema `false`".to_owned(),
            });
        }
    };
    // llguidance's own options; whatever a client wrote under this key is gone by now.
    let is_empty = is_empty(schema);
    prepared.insert(
        "x-guidance".to_owned(),
        json!({
            "whitespace_flexible": !is_empty,
            "whitespace_pattern": (!is_empty).then_some(WHITESPACE),
            "json_allowed_escapes": ESCAPES,
        }),
    );
    Ok(Value::Object(prepared))
}

/// Whether only `{}` satisfies a schema: there is no room in it for anything, white space included.
fn is_empty(schema: &Value) -> bool {
    let has_none = |properties: &Value| {
        let properties = properties.as_object();
        properties.is_none_or(serde_json::Map::is_empty)
    };
    schema["type"] == "object"
        && schema["additionalProperties"] == false
        && schema.get("patternProperties").is_none()
        && has_none(&schema["properties"])
}

/// Between two tokens of JSON: nothing, a space, or a line break with indentation. Models that are
/// free to write more sometimes write nothing else.
const WHITESPACE: &str = r"\x20|\r?\n[\x20\t]{0,64}";

/// What may follow a backslash in a string. Without `\uXXXX`, each character is written in one way
/// only: the compiler compares the names of additional properties as they are written, and
/// `"\u0061"` would get past a schema for `a`.
const ESCAPES: &str = "nrbtf\\\"";

#[cfg(test)]
mod tests;
