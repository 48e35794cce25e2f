//! Soundness of schemas at large: what a grammar produces validates, what it accepts is valid, and
//! what it can't enforce it names.

use std::collections::BTreeMap;

use crate::toy::ToyVocabulary;
use jsonschema::{Draft, Validator};
use matou_grammar::{Compiler, GrammarError, GrammarSpec};
use serde_json::Value;

/// Texts drawn from each grammar.
const SAMPLES: u64 = 4;
const MAX_TOKENS: usize = 300;

fn fixture(name: &str) -> Vec<Value> {
    let path = matou_testkit::fixtures_dir().join("json-schema").join(name);
    let text = std::fs::read_to_string(path).expect("the fixture is there");
    let parse = |line: &str| serde_json::from_str(line).expect("a line of JSON");
    text.lines().map(parse).collect()
}

fn validator(schema: &Value, draft: Draft) -> Option<Validator> {
    let options = jsonschema::options().with_draft(draft);
    options.should_validate_formats(true).build(schema).ok()
}

/// The outcome over many schemas.
#[derive(Debug, Default)]
struct Tally {
    schemas: usize,
    refused: BTreeMap<String, usize>,
    texts: usize,
    validated: usize,
    unfinished: usize,
    faults: Vec<String>,
}

impl Tally {
    fn refuse(&mut self, name: &str, error: GrammarError) {
        assert!(error.is_client_error(), "{name}: {error}");
        let reason = match &error {
            GrammarError::UnsupportedSchema { path, keyword, .. } => {
                assert!(path.starts_with('$'), "{name}: {error}");
                keyword.clone()
            }
            GrammarError::InvalidSchema { path, .. } => {
                assert!(path.starts_with('$'), "{name}: {error}");
                "unsatisfiable or not a schema".to_owned()
            }
            other => other.to_string(),
        };
        *self.refused.entry(reason).or_default() += 1;
    }

    /// Draws texts from the grammar and validates them.
    fn sample(
        &mut self,
        name: &str,
        toy: &ToyVocabulary,
        grammar: &matou_grammar::Grammar,
        validator: &Validator,
    ) {
        for seed in 0..SAMPLES {
            let Some(text) = toy.sample(grammar.start(), seed, MAX_TOKENS) else {
                self.unfinished += 1;
                continue;
            };
            self.texts += 1;
            match serde_json::from_str::<Value>(&text) {
                Ok(value) if validator.is_valid(&value) => self.validated += 1,
                Ok(_) => self.faults.push(format!("{name}: {text} is not valid")),
                // JSON sets no limit to exponents, `serde_json` does.
                Err(error) if error.to_string().contains("number out of range") => {}
                Err(error) => self.faults.push(format!("{name}: {text}: {error}")),
            }
        }
    }

    /// Prints the shares and holds them to what has been reached: so many schemas compiled, and so
    /// many texts drawn that validate. What is not compiled is refused by name.
    fn report(&self, title: &str, compiled_before: usize, validated_before: usize) {
        let refused: usize = self.refused.values().sum();
        let compiled = self.schemas - refused;
        println!(
            "{title}: {} schemas, {compiled} compiled ({}), {refused} refused by name ({}); {} texts \
             drawn, {} of them validated, {} more did not end in {MAX_TOKENS} tokens",
            self.schemas,
            share(compiled, self.schemas),
            share(refused, self.schemas),
            self.texts,
            self.validated,
            self.unfinished,
        );
        for (reason, count) in &self.refused {
            println!("  {count:4} {reason}");
        }
        assert!(
            self.faults.is_empty(),
            "{} faults:\n{}",
            self.faults.len(),
            self.faults.join("\n")
        );
        assert!(compiled >= compiled_before, "{compiled} compiled");
        assert!(
            self.validated >= validated_before,
            "{} validated",
            self.validated
        );
    }
}

fn share(part: usize, whole: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}

#[test]
fn the_official_suite_finds_no_unsound_grammar() {
    let toy = ToyVocabulary::new();
    let compiler = Compiler::new(&toy.vocabulary()).expect("a compiler");
    let mut tally = Tally::default();
    let (mut valid, mut accepted, mut invalid) = (0, 0, 0);
    for case in fixture("suite.jsonl") {
        let name = format!("{} {} {}", case["draft"], case["file"], case["case"]);
        tally.schemas += 1;
        let (draft, uri) = match case["draft"].as_str() {
            Some("draft4") => (Draft::Draft4, "http://json-schema.org/draft-04/schema#"),
            Some("draft7") => (Draft::Draft7, "http://json-schema.org/draft-07/schema#"),
            _ => (
                Draft::Draft202012,
                "https://json-schema.org/draft/2020-12/schema",
            ),
        };
        let mut schema = case["schema"].clone();
        if let Value::Object(map) = &mut schema {
            map.entry("$schema").or_insert_with(|| uri.into());
        }
        let grammar = match compiler.compile(&GrammarSpec::JsonSchema(schema.clone())) {
            Ok(grammar) => grammar,
            Err(error) => {
                tally.refuse(&name, error);
                continue;
            }
        };
        for test in case["tests"].as_array().expect("a list") {
            let text = test[0].to_string();
            let accepts = toy.accepts(grammar.start(), &text);
            if test[1] == true {
                valid += 1;
                accepted += usize::from(accepts);
            } else {
                invalid += 1;
                if accepts {
                    tally.faults.push(format!("{name}: accepts {text}"));
                }
            }
        }
        if let Some(validator) = validator(&schema, draft) {
            tally.sample(&name, &toy, &grammar, &validator);
        }
    }
    println!(
        "instances: {accepted} of {valid} valid ones accepted ({}), none of {invalid} invalid ones",
        share(accepted, valid)
    );
    tally.report("JSON-Schema-Test-Suite", 404, 1607);
    assert!(
        accepted >= 963,
        "{accepted} of {valid} valid instances are accepted"
    );
}

#[test]
fn schemas_from_the_wild_compile_to_sound_grammars_or_name_what_is_missing() {
    let toy = ToyVocabulary::new();
    let compiler = Compiler::new(&toy.vocabulary()).expect("a compiler");
    let mut tally = Tally::default();
    for case in fixture("schemastore.jsonl") {
        let name = case["name"].to_string();
        tally.schemas += 1;
        let grammar = match compiler.compile(&GrammarSpec::JsonSchema(case["schema"].clone())) {
            Ok(grammar) => grammar,
            Err(error) => {
                tally.refuse(&name, error);
                continue;
            }
        };
        if let Some(validator) = validator(&case["schema"], Draft::Draft7) {
            tally.sample(&name, &toy, &grammar, &validator);
        }
    }
    tally.report("SchemaStore", 178, 676);
}
