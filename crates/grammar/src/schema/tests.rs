use serde_json::{Value, json};

use super::{path, prepare};
use crate::GrammarError;

/// The prepared schema without the compiler's options.
fn prepared(schema: Value) -> Value {
    let mut prepared = prepare(&schema).expect("a supported schema");
    let map = prepared.as_object_mut().expect("an object");
    assert!(map.remove("x-guidance").is_some());
    prepared
}

#[test]
fn legacy_keywords_take_their_modern_form() {
    let legacy = json!({
        "$schema": "http://json-schema.org/draft-04/schema#",
        "items": [{"minimum": 1, "exclusiveMinimum": true}, {"maximum": 2, "exclusiveMaximum": false}],
        "additionalItems": false,
    });
    let modern = json!({
        "prefixItems": [{"minimum": 1, "exclusiveMinimum": 1}, {"maximum": 2}],
        "items": false,
    });
    assert_eq!(prepared(legacy), modern);
}

#[test]
fn annotations_and_unknown_keywords_go() {
    let schema =
        json!({"title": "t", "x-order": 3, "deprecated": true, "minLength": 2.0, "default": {}});
    assert_eq!(prepared(schema), json!({"minLength": 2}));
}

#[test]
fn dependencies_become_choices() {
    let schema = json!({"type": "object", "dependentRequired": {"a": ["b", "c"]}});
    let absent = json!({"properties": {"a": false}});
    let rewritten = json!({
        "type": "object",
        "allOf": [{"anyOf": [absent, {"required": ["b", "c"]}]}],
    });
    assert_eq!(prepared(schema), rewritten);
}

#[test]
fn names_of_properties_become_properties() {
    let schema =
        json!({"propertyNames": {"enum": ["a"]}, "additionalProperties": {"type": "null"}});
    let condition = json!({"properties": {"a": {"type": "null"}}, "additionalProperties": false});
    assert_eq!(
        prepared(schema),
        json!({"additionalProperties": {"type": "null"}, "allOf": [condition]})
    );
}

#[test]
fn used_definitions_are_gathered_under_their_paths() {
    let schema = json!({
        "properties": {"a": {"$ref": "#/components/A%20b"}},
        "components": {"A b": {"$ref": "#leaf"}, "unused": {"not": {"type": "null"}}},
        "definitions": {"leaf": {"$anchor": "leaf", "type": "null"}},
    });
    let a = "$.components['A b']";
    assert_eq!(
        prepared(schema),
        json!({
            "properties": {"a": {"$ref": format!("#/$defs/{}", path::escape(a))}},
            "$defs": {
                a: {"$ref": "#/$defs/$.definitions.leaf"},
                "$.definitions.leaf": {"type": "null"},
            },
        })
    );
}

#[test]
fn references_are_relative_to_the_nearest_id() {
    let schema = json!({
        "$id": "https://example.com/folder/root",
        "$ref": "item",
        "$defs": {"x": {"$id": "/folder/item", "$ref": "#/$defs/y", "$defs": {"y": {"type": "null"}}}},
    });
    let x = json!({"$ref": "#/$defs/$.$defs.x.$defs.y"});
    assert_eq!(
        prepared(schema),
        json!({
            "$ref": "#/$defs/$.$defs.x",
            "$defs": {"$.$defs.x": x, "$.$defs.x.$defs.y": {"type": "null"}},
        })
    );
}

#[test]
fn keywords_that_say_nothing_where_they_are_pass() {
    let schema = json!({
        "uniqueItems": false,
        "not": false,
        "then": {"uniqueItems": true},
    });
    assert_eq!(prepared(schema), json!({}));
    assert_eq!(prepared(json!({"if": {"type": "null"}})), json!({}));
    assert_eq!(
        prepared(json!({"type": "string", "uniqueItems": true})),
        json!({"type": "string"})
    );
}

#[test]
fn what_is_no_schema_is_invalid_where_it_is() {
    for (schema, at) in [
        (json!({"properties": {"a": 1}}), "$.properties.a"),
        (json!({"type": "text"}), "$.type"),
        (json!({"anyOf": {}}), "$.anyOf"),
        (json!({"items": {"required": true}}), "$.items.required"),
        (json!({"maxLength": -1}), "$.maxLength"),
        (json!({"multipleOf": 0}), "$.multipleOf"),
        (json!(false), "$"),
        (json!("text"), "$"),
    ] {
        let error = prepare(&schema).err();
        let found = match &error {
            Some(GrammarError::InvalidSchema { path, .. }) => path.as_str(),
            other => panic!("{schema}: {other:?}"),
        };
        assert_eq!(found, at, "{schema}");
    }
}
