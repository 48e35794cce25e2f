//! What clients write can't overflow the stack, panic or take long.

use std::time::{Duration, Instant};

use matou_grammar::{CompileLimits, Compiler, GrammarError, GrammarSpec};
use serde_json::{Map, Value, json};

use crate::toy::ToyVocabulary;

/// Compiles the grammar and computes a mask; either may fail, neither may hang or abort.
fn survive(title: &str, spec: &GrammarSpec) -> Result<(), GrammarError> {
    let limits = CompileLimits {
        timeout: Duration::from_secs(60),
        ..CompileLimits::default()
    };
    let compiler = Compiler::with_limits(&ToyVocabulary::new().vocabulary(), limits);
    let began = Instant::now();
    let result = compiler.expect("a compiler").compile(spec);
    let result = result.map(|grammar| {
        let _ = grammar.start().mask();
    });
    let took = began.elapsed();
    println!("{title}: {took:.1?} {:.300}", format!("{result:?}"));
    assert!(took < Duration::from_secs(20), "{title}: {took:?}");
    if let Err(error) = &result {
        assert!(error.is_client_error(), "{title}: {error}");
    }
    result
}

#[test]
fn long_chains_of_references_are_followed_or_refused() {
    for length in [100, 5_000, 15_000, 25_000] {
        let mut definitions = Map::new();
        for index in 0..length {
            let next = format!("#/$defs/d{}", index + 1);
            definitions.insert(format!("d{index}"), json!({"$ref": next}));
        }
        definitions.insert(format!("d{length}"), json!({"type": "null"}));
        let schema = json!({"$ref": "#/$defs/d0", "$defs": definitions});
        let result = survive("references", &GrammarSpec::JsonSchema(schema));
        assert_eq!(result.is_ok(), length < 20_000, "{length}: {result:?}");
    }
}

#[test]
fn deep_schemas_are_refused() {
    let mut schema = json!({"type": "null"});
    for _ in 0..1_000 {
        schema = json!({"items": schema, "type": "array"});
    }
    let result = survive("depth", &GrammarSpec::JsonSchema(schema));
    assert!(matches!(result, Err(GrammarError::TooLarge(_))));
}

#[test]
fn recursive_schemas_without_an_end_are_errors() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}),
        json!({"allOf": [{"$ref": "#"}]}),
    ] {
        let result = survive("recursion", &GrammarSpec::JsonSchema(schema.clone()));
        let refused = matches!(result, Err(GrammarError::InvalidSchema { .. }));
        assert!(refused, "{schema}: {result:?}");
    }
}

#[test]
fn numbers_and_patterns_out_of_proportion_take_no_time() {
    let huge = 4_000_000_000_u64;
    let patterns: Map<String, Value> = (0..1_000)
        .map(|index| (format!("^.*a{index}.*b$"), json!(true)))
        .collect();
    let few_patterns: Map<String, Value> = (0..30)
        .map(|index| (format!("a{index}[a-z]*b.*c.*d{index}"), json!(true)))
        .collect();
    let options: Vec<Value> = (0..3_000)
        .map(|index| json!({"const": format!("value {index}")}))
        .collect();
    let choices: Vec<Value> = (0..12)
        .map(|index| {
            let one = json!({"properties": {format!("a{index}"): {"const": 1}}});
            json!({"anyOf": [one, {"properties": {format!("b{index}"): {"const": 2}}}]})
        })
        .collect();
    let long = json!({"type": "string", "maxLength": 1000});
    for schema in [
        json!({"type": "string", "minLength": huge}),
        json!({"type": "string", "maxLength": huge}),
        json!({"type": "array", "minItems": huge}),
        json!({"type": "array", "maxItems": huge, "items": long}),
        json!({"type": "string", "pattern": "^((a{900}){900}){900}$"}),
        json!({"type": "string", "pattern": "^(((a*)*)*)*b$"}),
        json!({"type": "string", "pattern": "^(a|b)*a(a|b){200}$"}),
        json!({"type": "object", "patternProperties": patterns}),
        json!({"type": "object", "patternProperties": few_patterns}),
        json!({"type": "integer", "multipleOf": 999_999_937}),
        json!({"anyOf": options}),
        json!({"allOf": choices}),
    ] {
        let title = schema.to_string();
        let _ = survive(
            &title[..title.len().min(60)],
            &GrammarSpec::JsonSchema(schema),
        );
    }
}

#[test]
fn hostile_grammars_and_regexes_are_errors() {
    let rules: String = (0..4_000)
        .map(|rule| format!("r{rule}: \"a\" r{}\n", rule + 1))
        .collect();
    let terminals: String = (0..4_000)
        .map(|rule| format!("T{rule}: \"a\" T{}\n", rule + 1))
        .collect();
    let doubling: String = (0..60)
        .map(|rule| format!("T{rule}: T{0} T{0}\n", rule + 1))
        .collect();
    let brackets = "(".repeat(100_000);
    for spec in [
        GrammarSpec::lark("start: start"),
        GrammarSpec::lark(format!("start: r0\n{rules}r4000: \"b\"")),
        GrammarSpec::lark(format!("start: T0\n{terminals}T4000: \"b\"")),
        GrammarSpec::lark(format!("start: T0\n{doubling}T60: \"a\"")),
        GrammarSpec::lark(format!("start: {brackets}")),
        GrammarSpec::lark(""),
        GrammarSpec::Gbnf("root ::= root".to_owned()),
        GrammarSpec::Gbnf(format!("root ::= {brackets}")),
        GrammarSpec::Regex(brackets.clone()),
        GrammarSpec::Regex("((a{999}){999}){999}".to_owned()),
        GrammarSpec::Regex("a\\".to_owned()),
        GrammarSpec::Regex("a\n/start: \"x\"".to_owned()),
    ] {
        let title = format!("{spec:?}");
        let _ = survive(&title[..title.len().min(60)], &spec);
    }
}

#[test]
fn a_source_above_the_limit_is_refused() {
    let schema = json!({"const": "x".repeat(2 << 20)});
    let result = survive("size", &GrammarSpec::JsonSchema(schema));
    assert!(matches!(result, Err(GrammarError::TooLarge(_))));
}

#[test]
fn options_of_the_compiler_are_out_of_a_clients_reach() {
    let schema = json!({
        "x-guidance": {"lenient": true, "coerce_one_of": true},
        "oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}],
    });
    let error = survive("x-guidance", &GrammarSpec::JsonSchema(schema)).err();
    assert!(
        matches!(error, Some(GrammarError::UnsupportedSchema { path, keyword, .. })
        if path == "$.oneOf" && keyword == "oneOf")
    );
}

#[test]
fn a_fault_deep_inside_is_named_with_its_path() {
    let one_of = json!({"properties": {"y": {"oneOf": [{}, {"type": "null"}]}}});
    for (schema, path, keyword) in [
        (
            json!({"properties": {"a": {"items": {"uniqueItems": true}}}}),
            "$.properties.a.items.uniqueItems",
            "uniqueItems",
        ),
        (
            json!({"properties": {"a b": {"format": "isbn"}}}),
            "$.properties['a b'].format",
            "format",
        ),
        (
            json!({"$defs": {"x": {"if": {}, "then": {}}}, "items": {"$ref": "#/$defs/x"}}),
            "$.$defs.x.if",
            "if",
        ),
        (
            json!({"properties": {"a": {"pattern": "a(?=b)"}}}),
            "$.properties.a.pattern",
            "pattern",
        ),
        (
            json!({"anyOf": [{"type": "null"}, {"pattern": "a\\bc"}]}),
            "$.anyOf[1].pattern",
            "pattern",
        ),
        (
            json!({"definitions": {"x": one_of}, "$ref": "#/definitions/x"}),
            "$.definitions.x.properties.y.oneOf",
            "oneOf",
        ),
        (
            json!({"$ref": "https://example.com/schema"}),
            "$.$ref",
            "$ref",
        ),
        (
            json!({"minProperties": 2}),
            "$.minProperties",
            "minProperties",
        ),
        (
            json!({"const": 9_007_199_254_740_993_u64}),
            "$.const",
            "const",
        ),
    ] {
        let error = survive("path", &GrammarSpec::JsonSchema(schema.clone())).err();
        let found = match error {
            Some(GrammarError::UnsupportedSchema { path, keyword, .. }) => (path, keyword),
            other => panic!("{schema}: {other:?}"),
        };
        assert_eq!(found, (path.to_owned(), keyword.to_owned()), "{schema}");
    }
}
