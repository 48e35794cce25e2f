//! What each kind of grammar lets through, and how the compiler's limits hold.

use crate::toy::ToyVocabulary;
use matou_grammar::{Compiler, GrammarError, GrammarSpec};
use serde_json::json;

struct Fixture {
    toy: ToyVocabulary,
    compiler: Compiler,
}

impl Fixture {
    fn new() -> Self {
        let toy = ToyVocabulary::new();
        let compiler = Compiler::new(&toy.vocabulary()).expect("a compiler");
        Self { toy, compiler }
    }

    fn accepts(&self, spec: &GrammarSpec, text: &str) -> bool {
        let grammar = self.compiler.compile(spec).expect("a valid grammar");
        self.toy.accepts(grammar.start(), text)
    }

    fn error(&self, spec: &GrammarSpec) -> GrammarError {
        self.compiler.compile(spec).err().expect("an error")
    }
}

#[test]
fn a_json_object_is_any_object_and_nothing_else() {
    let fixture = Fixture::new();
    for text in [
        "{}",
        r#"{"a": [1, -2.5e3, null, {"b": "\né"}]}"#,
        "{\n  \"a\": true\n}",
    ] {
        assert!(fixture.accepts(&GrammarSpec::JsonObject, text), "{text}");
    }
    for text in ["[]", "1", r#"{"a"}"#, r#"{"a": 1"#, " {}"] {
        assert!(!fixture.accepts(&GrammarSpec::JsonObject, text), "{text}");
    }
}

#[test]
fn a_regex_matches_as_a_whole() {
    let fixture = Fixture::new();
    let date = GrammarSpec::Regex(r"\d{4}/\d\d".to_owned());
    assert!(fixture.accepts(&date, "2026/11"));
    assert!(!fixture.accepts(&date, "2026/1"));
    assert!(!fixture.accepts(&date, "2026/111"));
    let broken = fixture.error(&GrammarSpec::Regex("a(b".to_owned()));
    assert!(matches!(
        broken,
        GrammarError::InvalidGrammar { kind: "regex", .. }
    ));
    assert!(broken.is_client_error());
}

#[test]
fn a_choice_is_one_of_its_strings() {
    let fixture = Fixture::new();
    let choices = ["yes", "no\n", "\"quoted\"\u{7f}", "yes, and"];
    let spec = GrammarSpec::Choice(choices.map(str::to_owned).to_vec());
    for choice in choices {
        assert!(fixture.accepts(&spec, choice), "{choice:?}");
    }
    assert!(!fixture.accepts(&spec, "no"));
    assert!(!fixture.accepts(&spec, "maybe"));
    let empty = fixture.error(&GrammarSpec::Choice(Vec::new()));
    assert!(matches!(
        empty,
        GrammarError::InvalidGrammar { kind: "choice", .. }
    ));
}

#[test]
fn a_lark_grammar_may_use_special_tokens_and_schemas() {
    let fixture = Fixture::new();
    let spec = GrammarSpec::Lark {
        source: format!(
            "start: <|python_tag|> \"call \" arguments <[{}]>",
            fixture.toy.tool_token()
        ),
        schemas: vec![("arguments".to_owned(), json!({"type": "integer"}))],
    };
    let mut constraint = fixture.compiler.compile(&spec).expect("valid").start();
    assert_eq!(
        constraint
            .mask()
            .expect("a mask")
            .iter()
            .collect::<Vec<_>>(),
        [fixture.toy.python_token()]
    );
    constraint
        .accept(fixture.toy.python_token())
        .expect("allowed");
    for byte in b"call 12" {
        constraint.accept(u32::from(*byte)).expect("allowed");
    }
    assert!(!constraint.is_complete());
    constraint
        .accept(fixture.toy.tool_token())
        .expect("allowed");
    assert!(constraint.is_complete() && constraint.must_stop());
}

#[test]
fn schemas_of_a_lark_grammar_are_checked_like_any_other() {
    let fixture = Fixture::new();
    let error = fixture.error(&GrammarSpec::Lark {
        source: "start: arguments".to_owned(),
        schemas: vec![(
            "arguments".to_owned(),
            json!({"properties": {"a": {"not": {"type": "null"}}}}),
        )],
    });
    assert!(
        matches!(error, GrammarError::UnsupportedSchema { path, keyword, .. }
        if path == "$.properties.a.not" && keyword == "not")
    );
}

#[test]
fn a_token_outside_the_mask_is_refused_and_leaves_the_constraint_where_it_was() {
    let fixture = Fixture::new();
    let grammar = fixture
        .compiler
        .compile(&GrammarSpec::Choice(vec!["ab".to_owned()]))
        .expect("valid");
    let mut constraint = grammar.start();
    assert!(constraint.accept(u32::from(b'b')).is_err());
    constraint.mask().expect("a mask");
    assert!(constraint.accept(u32::from(b'b')).is_err());
    assert!(constraint.accept(9999).is_err());
    assert!(constraint.accept(fixture.toy.eos()).is_err());
    constraint.accept(u32::from(b'a')).expect("allowed");
    let mut other = constraint.clone();
    constraint.accept(u32::from(b'b')).expect("allowed");
    assert!(constraint.must_stop() && !other.must_stop());
    other
        .accept(u32::from(b'b'))
        .expect("a clone goes on by itself");
    assert_eq!(
        constraint
            .mask()
            .expect("a mask")
            .iter()
            .collect::<Vec<_>>(),
        [fixture.toy.eos()]
    );
    constraint.accept(fixture.toy.eos()).expect("the end");
}

#[test]
fn a_mask_holds_what_the_grammar_allows_and_nothing_else() {
    let fixture = Fixture::new();
    let grammar = fixture
        .compiler
        .compile(&GrammarSpec::Choice(vec!["a".to_owned()]))
        .expect("valid");
    let mut constraint = grammar.start();
    let mask = constraint.mask().expect("a mask");
    for token in 0..400 {
        assert_eq!(
            mask.allows(token),
            token == u32::from(b'a'),
            "token {token}"
        );
    }
}

#[test]
fn json_strings_hold_no_control_tokens() {
    let fixture = Fixture::new();
    let spec = GrammarSpec::JsonSchema(json!({"type": "string"}));
    let mut constraint = fixture.compiler.compile(&spec).expect("valid").start();
    constraint.accept(u32::from(b'"')).expect("allowed");
    let mask = constraint.mask().expect("a mask");
    assert!(mask.allows(u32::from(b'<')));
    for token in [
        fixture.toy.tool_token(),
        fixture.toy.python_token(),
        fixture.toy.eos(),
    ] {
        assert!(!mask.allows(token));
    }
}

#[test]
fn the_same_grammar_is_compiled_once() {
    let fixture = Fixture::new();
    let first = fixture
        .compiler
        .compile(&GrammarSpec::JsonObject)
        .expect("valid");
    let again = fixture
        .compiler
        .compile(&GrammarSpec::JsonObject)
        .expect("valid");
    assert!(std::sync::Arc::ptr_eq(&first, &again));
}

const GBNF_JSON: &str = r##"
# The grammar that llama.cpp ships for JSON, as to its structure.
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
ws ::= | " " | "\n" [ \t]{0,20}
"##;

#[test]
fn a_gbnf_grammar_with_recursion_becomes_lark() {
    let fixture = Fixture::new();
    let spec = GrammarSpec::Gbnf(GBNF_JSON.to_owned());
    for text in [
        "{}",
        r#"{"a": [1,-2.5e3, null, {"b":"\n\u00e9"}]}"#,
        "{\n  \"a\": true\n} ",
    ] {
        assert!(fixture.accepts(&spec, text), "{text}");
    }
    for text in ["[]", r#"{"a"}"#, r#"{"a": 1"#, "{}  ", r#"{"a":  1}"#] {
        assert!(!fixture.accepts(&spec, text), "{text}");
    }
}

#[test]
fn a_gbnf_grammar_without_recursion_is_exact() {
    let fixture = Fixture::new();
    let spec = GrammarSpec::Gbnf(
        "root ::= [a-z]+ \"x\" tail{2,3}\ntail ::= [0-9]\n  | \"é\" .".to_owned(),
    );
    for text in ["abx12", "xxxx123", "axé\n1"] {
        assert!(fixture.accepts(&spec, text), "{text}");
    }
    for text in ["ab12", "x12", "ax1", "ax1234"] {
        assert!(!fixture.accepts(&spec, text), "{text}");
    }
}

#[test]
fn a_right_recursive_gbnf_rule_works() {
    let fixture = Fixture::new();
    let spec = GrammarSpec::Gbnf("root ::= \"a\" ws \"b\" root?\nws ::= ([ \\t] ws)?".to_owned());
    assert!(fixture.accepts(&spec, "ab"));
    assert!(fixture.accepts(&spec, "a \t bab"));
    assert!(!fixture.accepts(&spec, "a\nb"));
}

#[test]
fn gbnf_faults_are_named() {
    let fixture = Fixture::new();
    for (source, expected) in [
        ("root ::= a", "the rule `a` is not defined"),
        ("a ::= \"b\"", "the rule `root` is not defined"),
        ("root ::= \"b\n", "line 1"),
        ("root ::= \"a\"\nx : y", "line 2: expected `::=`"),
        ("root ::= [z-a]", "ascending"),
        ("root ::= \"a\"{3,2}", "repetition"),
        ("root ::= (\"a\"", "`)`"),
        ("root ::= !<think>", "negated"),
    ] {
        let error = fixture.error(&GrammarSpec::Gbnf(source.to_owned()));
        assert!(error.to_string().contains(expected), "{source}: {error}");
        assert!(error.is_client_error());
    }
}

#[test]
fn a_text_that_can_only_be_empty_has_ended_before_it_begins() {
    let fixture = Fixture::new();
    for (regex, is_over) in [("", true), ("(a{0})", true), ("a?", false), ("a", false)] {
        let spec = GrammarSpec::Regex(regex.to_owned());
        let mut constraint = fixture.compiler.compile(&spec).unwrap().start();
        assert_eq!(constraint.must_stop(), is_over, "{regex}");
        if is_over {
            let mask: Vec<u32> = constraint.mask().unwrap().iter().collect();
            assert_eq!(mask, [fixture.toy.eos()], "{regex}");
            assert!(constraint.try_accept(fixture.toy.eos()).unwrap());
        }
    }
}
