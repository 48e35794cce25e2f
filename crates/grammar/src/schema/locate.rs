//! Where in a schema a fault is that only the compiler found.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::path::{element, member};
use crate::GrammarError;

/// How many subschemas are tried.
const MAX_TRIES: usize = 500;

/// Runs `check` on the prepared schema; if it fails, on ever smaller parts of it that fail for the
/// same reason, to name the innermost.
///
/// # Errors
///
/// [`GrammarError::UnsupportedSchema`], [`GrammarError::InvalidSchema`] or
/// [`GrammarError::TooLarge`] with the compiler's reason.
pub(crate) fn locate_failure(
    prepared: &Value,
    check: impl Fn(Value) -> Result<(), String>,
) -> Result<(), GrammarError> {
    let Err(reason) = check(prepared.clone()) else {
        return Ok(());
    };
    let mut search = Search {
        definitions: prepared.get("$defs").and_then(Value::as_object),
        guidance: prepared.get("x-guidance"),
        check: &check,
        tries: 0,
        seen: HashSet::new(),
    };
    let mut innermost = (prepared, "$".to_owned(), reason);
    while let Some(inner) = search.failing_child(innermost.0, &innermost.1, &innermost.2) {
        innermost = inner;
    }
    Err(classify(innermost.0, innermost.1, innermost.2))
}

struct Search<'a, C> {
    definitions: Option<&'a Map<String, Value>>,
    guidance: Option<&'a Value>,
    check: C,
    tries: usize,
    /// Definitions that were entered already.
    seen: HashSet<&'a str>,
}

impl<'a, C: Fn(Value) -> Result<(), String>> Search<'a, &C> {
    fn failing_child(
        &mut self,
        schema: &'a Value,
        path: &str,
        reason: &str,
    ) -> Option<(&'a Value, String, String)> {
        for (child, path) in self.children(schema, path) {
            self.tries += 1;
            if self.tries > MAX_TRIES {
                return None;
            }
            let Err(inner) = (self.check)(self.alone(child)) else {
                continue;
            };
            // A part may fail for a reason that did not matter in the whole: `false` for a
            // property that may be absent.
            if reason.contains(&inner) || inner.contains(reason) {
                return Some((child, path, inner));
            }
        }
        None
    }

    /// The subschema as a schema of its own.
    fn alone(&self, schema: &Value) -> Value {
        let Value::Object(map) = schema else {
            return schema.clone();
        };
        let mut map = map.clone();
        if let Some(definitions) = self.definitions {
            map.insert("$defs".to_owned(), json!(definitions));
        }
        if let Some(guidance) = self.guidance {
            map.insert("x-guidance".to_owned(), guidance.clone());
        }
        Value::Object(map)
    }

    fn children(&mut self, schema: &'a Value, path: &str) -> Vec<(&'a Value, String)> {
        let mut children = Vec::new();
        for (keyword, value) in schema.as_object().into_iter().flatten() {
            let path = member(path, keyword);
            match (keyword.as_str(), value) {
                ("properties" | "patternProperties", Value::Object(map)) => {
                    children.extend(map.iter().map(|(name, child)| (child, member(&path, name))));
                }
                ("allOf" | "anyOf" | "oneOf" | "prefixItems", Value::Array(list)) => {
                    children.extend(
                        list.iter()
                            .enumerate()
                            .map(|(index, child)| (child, element(&path, index))),
                    );
                }
                ("items" | "additionalProperties", child) => children.push((child, path)),
                ("$defs", Value::Object(map)) => {
                    // A definition is named by its path in the client's schema.
                    for (name, child) in map {
                        if self.seen.insert(name) {
                            children.push((child, name.clone()));
                        }
                    }
                }
                _ => {}
            }
        }
        children
    }
}

/// Tells what a client can't have from what makes no sense.
fn classify(schema: &Value, path: String, reason: String) -> GrammarError {
    if reason.contains("too large") || reason.contains("too big") || reason.contains("exceeded") {
        return GrammarError::TooLarge(format!("the schema at {path}: {reason}"));
    }
    let keyword = [
        ("oneOf", "oneOf"),
        ("'multipleOf'", "multipleOf"),
        ("integer range", "minimum"),
        ("float range", "minimum"),
        ("patternProperty", "patternProperties"),
        ("min/maxProperties", "minProperties"),
        ("circular references", "$ref"),
        ("regex", "pattern"),
    ]
    .iter()
    .find(|(mark, _)| reason.contains(mark))
    .map(|(_, keyword)| *keyword);
    match keyword {
        _ if reason.contains("nsatisfiable") => GrammarError::InvalidSchema { path, reason },
        Some("oneOf") => GrammarError::UnsupportedSchema {
            path: member(&path, "oneOf"),
            keyword: "oneOf".to_owned(),
            reason: "the alternatives may overlap; use `anyOf`, or give each a required \
                     property with a different `const`"
                .to_owned(),
        },
        Some(keyword) => {
            let has_keyword = schema.get(keyword).is_some();
            GrammarError::UnsupportedSchema {
                path: if has_keyword {
                    member(&path, keyword)
                } else {
                    path
                },
                keyword: keyword.to_owned(),
                reason,
            }
        }
        None => GrammarError::InvalidSchema { path, reason },
    }
}
