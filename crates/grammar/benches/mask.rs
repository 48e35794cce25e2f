//! What a mask costs: the time between two tokens that structured output adds.
//!
//! `cargo bench -p matou-grammar` prints one line a grammar and vocabulary: the mean time to compute
//! a mask and to accept a token, over a text that the grammar allows, and the slowest of each.

use std::time::{Duration, Instant};

use matou_chat::{GgufVocab, SpecialTokens, Tokenizer};
use matou_grammar::{Compiler, Grammar, GrammarSpec, Vocabulary, VocabularyToken};
use matou_model::GgufFile;
use serde_json::json;

fn main() {
    for name in ["smollm2-vocab.gguf", "ggml-vocab-llama-bpe.gguf"] {
        let tokenizer = tokenizer(name);
        let began = Instant::now();
        let vocabulary = vocabulary(&tokenizer);
        let compiler = Compiler::new(&vocabulary).expect("a compiler");
        println!(
            "{name}: {} tokens, ready in {:.0?}",
            vocabulary.len(),
            began.elapsed()
        );
        for (title, spec, text) in cases() {
            let began = Instant::now();
            let grammar = compiler.compile(&spec).expect("a valid grammar");
            let compiled = began.elapsed();
            let ids = tokenizer
                .encode(text, SpecialTokens::Plain, false)
                .expect("text has ids");
            let began = Instant::now();
            let start = grammar.start();
            let started = began.elapsed();
            drop(start);
            let cold = walk(&grammar, &ids);
            let warm = walk(&grammar, &ids);
            println!(
                "  {title:8} compile {compiled:8.1?}  start {started:8.1?}  {} tokens  {cold}  again: {warm}",
                ids.len()
            );
        }
    }
}

struct Cost {
    mask: Duration,
    slowest: Duration,
    accept: Duration,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            mask,
            slowest,
            accept,
        } = self;
        write!(
            formatter,
            "mask {mask:7.1?} (slowest {slowest:7.1?}), accept {accept:6.1?}"
        )
    }
}

/// Follows the text from a fresh start of the grammar.
fn walk(grammar: &Grammar, ids: &[u32]) -> Cost {
    let mut constraint = grammar.start();
    let (mut masks, mut slowest, mut accepts) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for &id in ids {
        let began = Instant::now();
        constraint.mask().expect("the grammar goes on");
        let mask = began.elapsed();
        masks += mask;
        slowest = slowest.max(mask);
        let began = Instant::now();
        constraint.accept(id).expect("the grammar allows the text");
        accepts += began.elapsed();
    }
    assert!(constraint.is_complete(), "the text is whole");
    let count = ids.len() as u32;
    Cost {
        mask: masks / count,
        slowest,
        accept: accepts / count,
    }
}

fn cases() -> Vec<(&'static str, GrammarSpec, &'static str)> {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 40},
            "email": {"type": "string", "format": "email"},
            "born": {"type": "string", "format": "date"},
            "status": {"enum": ["active", "inactive", "suspended"]},
            "score": {"type": "number", "minimum": 0, "maximum": 100},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 8},
            "address": {"anyOf": [{"$ref": "#/$defs/address"}, {"type": "null"}]},
        },
        "required": ["name", "email", "born", "status", "score", "tags", "address"],
        "additionalProperties": false,
        "$defs": {"address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["street", "zip"],
            "additionalProperties": false,
        }},
    });
    let record = r#"{"name": "Ada Lovelace", "email": "ada@example.com", "born": "1815-12-10", "status": "active", "score": 99.5, "tags": ["mathematics", "analytical engine", "first programmer"], "address": {"street": "12 St James's Square, London", "zip": "12345"}}"#;
    vec![
        ("object", GrammarSpec::JsonObject, record),
        ("schema", GrammarSpec::JsonSchema(schema), record),
        (
            "regex",
            GrammarSpec::Regex(r"[A-Z][a-z]+( [a-z]+)*\.".to_owned()),
            "The quick brown fox jumps over the lazy dog and goes on to run through the long grass.",
        ),
        (
            "choice",
            GrammarSpec::Choice(
                ["positive", "negative", "neutral"]
                    .map(str::to_owned)
                    .to_vec(),
            ),
            "negative",
        ),
    ]
}

fn vocabulary(tokenizer: &Tokenizer) -> Vocabulary {
    let tokens = (0..tokenizer.vocab_size() as u32).map(|id| {
        match (tokenizer.is_special(id), tokenizer.id_to_token(id)) {
            (true, Some(name)) => VocabularyToken::Special(name),
            _ => tokenizer
                .token_bytes(id)
                .map_or(VocabularyToken::Unused, VocabularyToken::Text),
        }
    });
    Vocabulary::new(tokens, tokenizer.eos_token_ids()).expect("a valid vocabulary")
}

fn tokenizer(name: &str) -> Tokenizer {
    let path = matou_testkit::fixtures_dir().join("vocab").join(name);
    let file = GgufFile::open(&path).expect("the vocabulary is there");
    let vocab = GgufVocab::take_from(&mut file.metadata().to_json("tokenizer."));
    Tokenizer::from_gguf(vocab.expect("a vocabulary")).expect("a tokenizer")
}
