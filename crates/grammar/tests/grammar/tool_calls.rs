//! The grammars of tool calls against the parser of tool calls: whatever the one lets a model
//! write, the other reads as calls of the given tools with valid arguments.

use crate::toy::{PYTHON_TOKEN, TOOL_TOKEN, ToyVocabulary};
use matou_chat::tools::{CallPolicy, Tool, ToolEvent, ToolFormat, ToolParser};
use matou_grammar::{Compiler, GrammarSpec};
use serde_json::{Value, json};

const FORMATS: [ToolFormat; 8] = [
    ToolFormat::Hermes,
    ToolFormat::SmolLm,
    ToolFormat::Llama3Json,
    ToolFormat::Llama3Pythonic,
    ToolFormat::Mistral,
    ToolFormat::MistralArgs,
    ToolFormat::Functionary,
    ToolFormat::GenericJson,
];
const MAX_TOKENS: usize = 300;

fn tools() -> Vec<Tool> {
    let tool = |name: &str, parameters: Value| Tool {
        name: name.to_owned(),
        parameters,
    };
    vec![
        tool(
            "get_weather",
            json!({
                "type": "object",
                "properties": {
                    "city": {"type": "string", "maxLength": 12},
                    "days": {"type": "array", "items": {"$ref": "#/$defs/day"}, "maxItems": 3},
                    "unit": {"enum": ["celsius", "fahrenheit", null]},
                },
                "required": ["days"],
                "additionalProperties": false,
                "$defs": {"day": {"type": "integer", "minimum": 0, "maximum": 31}},
            }),
        ),
        tool(
            "now",
            json!({"type": "object", "properties": {}, "additionalProperties": false}),
        ),
        tool(
            "set-flags",
            json!({
                "type": "object",
                "properties": {"a b": {"type": "boolean"}, "n": {"type": "null"}},
                "required": ["a b"],
                "additionalProperties": false,
            }),
        ),
    ]
}

struct Harness {
    toy: ToyVocabulary,
    compiler: Compiler,
}

impl Harness {
    fn new() -> Self {
        let toy = ToyVocabulary::new();
        let compiler = Compiler::new(&toy.vocabulary()).expect("a compiler");
        Self { toy, compiler }
    }

    /// Texts that the grammar allows.
    fn texts(
        &self,
        format: ToolFormat,
        tools: &[Tool],
        policy: CallPolicy,
        count: u64,
    ) -> Vec<String> {
        let special = |token: &str| match token {
            TOOL_TOKEN => Some(self.toy.tool_token()),
            PYTHON_TOKEN => Some(self.toy.python_token()),
            _ => None,
        };
        let grammar = format.grammar(tools, policy, special);
        let spec = GrammarSpec::Lark {
            source: grammar.lark.clone(),
            schemas: grammar.schemas,
        };
        let compiled = self.compiler.compile(&spec);
        let compiled =
            compiled.unwrap_or_else(|error| panic!("{format:?}: {error}\n{}", grammar.lark));
        (0..count)
            .filter_map(|seed| self.toy.sample(compiled.start(), seed, MAX_TOKENS))
            .collect()
    }
}

/// The text of an answer, and its calls.
fn parse(format: ToolFormat, tools: &[Tool], answer: &str) -> (String, Vec<(String, Value)>) {
    let mut parser = ToolParser::new(format, tools);
    let mut events = parser.push(answer);
    events.extend(parser.finish());
    let (mut text, mut calls) = (String::new(), Vec::new());
    for event in events {
        match event {
            ToolEvent::Text(piece) => text += &piece,
            ToolEvent::CallStart { name, .. } => calls.push((name, String::new())),
            ToolEvent::ArgumentsDelta { index, fragment } => calls[index].1 += &fragment,
            ToolEvent::CallEnd { .. } => {}
        }
    }
    let parse = |(name, arguments): (String, String)| {
        let arguments = serde_json::from_str(&arguments);
        (
            name,
            arguments.unwrap_or_else(|error| panic!("{answer}: {error}")),
        )
    };
    (text, calls.into_iter().map(parse).collect())
}

fn check(tools: &[Tool], answer: &str, calls: &[(String, Value)]) {
    for (name, arguments) in calls {
        let tool = tools.iter().find(|tool| tool.name == *name);
        let tool = tool.unwrap_or_else(|| panic!("{answer}: no tool {name}"));
        let valid = jsonschema::is_valid(&tool.parameters, arguments);
        assert!(valid, "{answer}: {name} {arguments}");
    }
}

#[test]
fn forced_calls_are_read_back_with_valid_arguments() {
    let harness = Harness::new();
    let tools = tools();
    // The third tool has a parameter that Python can't name.
    let cases = FORMATS.map(|format| (format, &tools[..]));
    let cases = cases
        .into_iter()
        .chain([(ToolFormat::Llama3Pythonic, &tools[..2])]);
    for (format, tools) in cases {
        for parallel in [false, true] {
            let policy = CallPolicy {
                required: true,
                parallel,
            };
            let texts = harness.texts(format, tools, policy, 40);
            assert!(texts.len() > 20, "{format:?}: most samples end");
            let mut most = 0;
            for answer in texts {
                let (text, calls) = parse(format, tools, &answer);
                assert_eq!(text.trim(), "", "{format:?}: {answer}");
                assert!(!calls.is_empty(), "{format:?}: {answer}");
                check(tools, &answer, &calls);
                most = most.max(calls.len());
            }
            assert_eq!(most > 1, parallel, "{format:?}");
        }
    }
}

#[test]
fn a_named_choice_calls_that_function() {
    let harness = Harness::new();
    let policy = CallPolicy {
        required: true,
        parallel: false,
    };
    for format in FORMATS {
        for answer in harness.texts(format, &tools()[1..2], policy, 5) {
            let (_, calls) = parse(format, &tools(), &answer);
            assert_eq!(
                calls,
                [("now".to_owned(), json!({}))],
                "{format:?}: {answer}"
            );
        }
    }
}

#[test]
fn optional_calls_leave_text_alone_and_constrain_calls() {
    let harness = Harness::new();
    let tools = tools();
    let policy = CallPolicy {
        required: false,
        parallel: true,
    };
    for format in FORMATS {
        let mut with_text = 0;
        for answer in harness.texts(format, &tools, policy, 30) {
            let (text, calls) = parse(format, &tools, &answer);
            check(&tools, &answer, &calls);
            with_text += usize::from(!text.is_empty());
        }
        assert!(with_text > 0, "{format:?}");
    }
}
