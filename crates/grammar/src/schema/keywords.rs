//! Keywords that need a look at their neighbours before they are taken over or refused.

use serde_json::{Map, Value, json};

use super::formats::{self, Format};
use super::path::member;
use super::rules::{self, Result, admits, invalid, unsupported};

/// What `propertyNames` can say.
pub(super) enum NameRule<'a> {
    Pattern(String),
    OneOf(Vec<&'a str>),
}

impl<'a> NameRule<'a> {
    /// `None` if every name will do.
    pub(super) fn read(schema: &'a Value, path: &str) -> Result<Option<Self>> {
        let keyword = "propertyNames";
        let Value::Object(map) = schema else {
            return match schema {
                Value::Bool(true) => Ok(None),
                Value::Bool(false) => Ok(Some(Self::OneOf(Vec::new()))),
                _ => invalid(member(path, keyword), "it must be a schema"),
            };
        };
        let mut rule = None;
        for (name, value) in map {
            let read = match (name.as_str(), value) {
                ("type", value) if value == "string" => continue,
                ("title" | "description" | "$comment", _) => continue,
                ("pattern", Value::String(pattern)) => {
                    Self::Pattern(rules::regex(pattern, &member(path, keyword), name)?)
                }
                ("enum", value) => Self::OneOf(rules::strings(value, &member(path, keyword))?),
                ("const", Value::String(name)) => Self::OneOf(vec![name]),
                _ => return unsupported(path, keyword, "except with one `pattern` or `enum`"),
            };
            if rule.replace(read).is_some() {
                return unsupported(path, keyword, "except with one `pattern` or `enum`");
            }
        }
        Ok(rule)
    }
}

/// In draft 4 these are booleans that change the meaning of `minimum` and `maximum`.
pub(super) fn exclusive_bound(
    keyword: &str,
    value: &Value,
    map: &Map<String, Value>,
    path: &str,
) -> Result<Option<Value>> {
    let inclusive = match keyword {
        "exclusiveMinimum" => "minimum",
        _ => "maximum",
    };
    match value {
        Value::Bool(true) => Ok(map.get(inclusive).cloned()),
        Value::Bool(false) => Ok(None),
        _ => {
            rules::bound(value, path, keyword)?;
            Ok(Some(value.clone()))
        }
    }
}

/// The schema that says what a `format` does; `None` if it says nothing here.
pub(super) fn format(value: &Value, map: &Map<String, Value>, path: &str) -> Result<Option<Value>> {
    let Value::String(name) = value else {
        return invalid(member(path, "format"), "it must be a string");
    };
    let types = map.get("type");
    Ok(match formats::lookup(name) {
        Some(Format::Pattern(pattern)) if admits(types, "string") => {
            let pattern = format!("^(?:{pattern})$");
            Some(match types {
                Some(Value::String(_)) => json!({"type": "string", "pattern": pattern}),
                _ => json!({"pattern": pattern}),
            })
        }
        Some(Format::Range(low, high)) if admits(types, "number") || admits(types, "integer") => {
            Some(json!({"minimum": low, "maximum": high}))
        }
        Some(_) => None,
        None => {
            let reason = format!("the format `{name}` is unknown");
            return unsupported(path, "format", &reason);
        }
    })
}

/// Keywords of JSON Schema that no grammar here can enforce, unless they say nothing where they
/// are.
pub(super) fn refuse_unsupported(map: &Map<String, Value>, path: &str) -> Result<()> {
    for (keyword, value) in map {
        let reason = match keyword.as_str() {
            "not" if *value == json!({}) || value.is_boolean() => continue,
            "not" => "a grammar has no complement",
            "if" if !map.contains_key("then") && !map.contains_key("else") => continue,
            "if" => "a grammar can't depend on a condition; use `anyOf` with both cases",
            "uniqueItems" if *value == json!(false) => continue,
            "uniqueItems"
                if map
                    .get("maxItems")
                    .is_some_and(|max| *max == 1 || *max == 0) =>
            {
                continue;
            }
            "uniqueItems" if !admits(map.get("type"), "array") => continue,
            "uniqueItems" => "a grammar can't compare the items of an array",
            "contains" if !admits(map.get("type"), "array") => continue,
            "contains" => "a grammar can't count the items of a kind",
            "$dynamicRef" | "$recursiveRef" => "use `$ref`",
            "unevaluatedProperties" | "unevaluatedItems" if has_applicator(map) => {
                "together with other keywords that hold schemas"
            }
            "extends" | "disallow" | "divisibleBy" => "draft 3 of JSON Schema is not supported",
            _ => continue,
        };
        return unsupported(path, keyword, reason);
    }
    Ok(())
}

fn has_applicator(map: &Map<String, Value>) -> bool {
    const APPLICATORS: [&str; 8] = [
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "if",
        "not",
        "dependentSchemas",
        "dependencies",
    ];
    APPLICATORS.iter().any(|keyword| map.contains_key(*keyword))
}

/// A grammar can't stop a model from writing a name twice, which counts once. One name more than
/// those that are required is always distinct from them.
pub(super) fn check_property_count(map: &Map<String, Value>, path: &str) -> Result<()> {
    let required = map
        .get("required")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    let least = map
        .get("minProperties")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    if least as usize <= required + 1 {
        return Ok(());
    }
    unsupported(
        path,
        "minProperties",
        "a grammar can't tell whether the names of optional properties differ",
    )
}
