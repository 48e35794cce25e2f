//! Grammars that hold a model to its notation of calls.

use serde_json::{Map, Value, json};

use super::{Tool, ToolFormat};

/// A grammar as plain data: Lark in the dialect of llguidance, and the schemas of the rules that it
/// uses without defining them.
#[derive(Clone, Debug, PartialEq)]
pub struct CallGrammar {
    /// Starts at the rule `start`.
    pub lark: String,
    /// Rule names and JSON schemas.
    pub schemas: Vec<(String, Value)>,
}

/// What a [`CallGrammar`] demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallPolicy {
    /// There must be a call. Otherwise text may come instead of calls or before them, and only the
    /// calls are constrained.
    pub required: bool,
    /// There may be several calls.
    pub parallel: bool,
}

impl ToolFormat {
    /// The grammar of answers that call `tools` (at least one) with arguments that satisfy their
    /// schemas. To force one function, give that tool only.
    ///
    /// `special_token` tells the id of a control token of the model's vocabulary, such as
    /// `[TOOL_CALLS]`; what is none is spelled out as text.
    pub fn grammar(
        self,
        tools: &[Tool],
        policy: CallPolicy,
        special_token: impl Fn(&str) -> Option<u32>,
    ) -> CallGrammar {
        let literal = |text: &str| match special_token(text) {
            Some(id) => format!("<[{id}]>"),
            None if text.is_empty() => String::new(),
            None => quote(text),
        };
        let mut writer = GrammarWriter {
            lines: Vec::new(),
            schemas: Vec::new(),
        };
        // A list is Python or JSON as a whole.
        let in_python = self == Self::Llama3Pythonic
            && tools.iter().all(|tool| takes_keywords(&tool.parameters));
        for (index, tool) in tools.iter().enumerate() {
            if in_python {
                writer.python_call(index, tool);
            } else {
                writer.call(self, index, tool, &literal("[ARGS]"));
            }
        }
        let calls: Vec<String> = (0..tools.len())
            .map(|index| format!("call_{index}"))
            .collect();
        writer.lines.push(format!("call: {}", calls.join(" | ")));

        if self == Self::FunctionaryV32 {
            writer.recipients(policy);
            return CallGrammar {
                lark: writer.lines.join("\n"),
                schemas: writer.schemas,
            };
        }
        let opener = self.openers().first().copied().unwrap_or_default();
        let is_bare = !self.bare_openers().is_empty();
        let open = if is_bare {
            String::new()
        } else {
            literal(opener)
        };
        let body = self.body(policy.parallel, &literal(self.closer()));
        let blocks = format!("{body} {}", self.more_blocks(policy.parallel, &open, &body));
        writer.lines.extend(if policy.required {
            vec![format!("start: {open} {blocks}")]
        } else if is_bare {
            let openers: String = self
                .bare_openers()
                .iter()
                .map(|c| format!("\\{c}"))
                .collect();
            vec![
                format!("start: {blocks} | TEXT?"),
                format!("TEXT: /(?s:\\s*[^\\s{openers}].*)/"),
            ]
        } else if special_token(opener).is_some() {
            vec![
                format!("start: TEXT? {open} {blocks} | TEXT?"),
                "TEXT: /(?s:.+)/".to_owned(),
            ]
        } else {
            // The lexer takes the text with the opener that ends it as one lexeme.
            let pattern = escape_regex(opener);
            vec![
                format!("start: opened {blocks} | TEXT?"),
                format!("opened[lazy]: /(?s:.*){pattern}/"),
                format!("TEXT: /(?s:.+)/ & ~/(?s:.*){pattern}(?s:.*)/"),
            ]
        });
        CallGrammar {
            lark: writer.lines.join("\n"),
            schemas: writer.schemas,
        }
    }

    /// What follows the opener.
    fn body(self, parallel: bool, close: &str) -> String {
        let more = |separator: &str| match parallel {
            true => format!("({} call)*", quote(separator)),
            false => String::new(),
        };
        match self {
            Self::Hermes => format!("\"\\n\" call \"\\n\" {close}"),
            Self::SmolLm | Self::Mistral | Self::Llama3Pythonic => {
                format!("\"[\" call {} \"]\" {close}", more(", "))
            }
            // Granite closes nothing.
            Self::Granite => format!("\"[\" call {} \"]\"", more(", ")),
            Self::Llama3Json => format!("call {}", more("; ")),
            Self::MistralArgs | Self::FunctionaryV32 => "call".to_owned(),
            Self::Functionary => format!("call {close}"),
            Self::GenericJson if parallel => format!("(call | \"[\" call {} \"]\")", more(", ")),
            Self::GenericJson => "call".to_owned(),
        }
    }

    /// Further blocks, where each call has an opener of its own.
    fn more_blocks(self, parallel: bool, open: &str, body: &str) -> String {
        match self {
            Self::Hermes if parallel => format!("(\"\\n\" {open} {body})*"),
            Self::MistralArgs | Self::Functionary if parallel => format!("({open} {body})*"),
            _ => String::new(),
        }
    }
}

struct GrammarWriter {
    lines: Vec<String>,
    schemas: Vec<(String, Value)>,
}

impl GrammarWriter {
    /// The rule `call_N` of one tool, without what encloses calls. `args` is Mistral's marker.
    fn call(&mut self, format: ToolFormat, index: usize, tool: &Tool, args: &str) {
        let arguments = format!("arguments_{index}");
        let name = Value::from(tool.name.as_str());
        let object = |key: &str| {
            let head = quote(&format!("{{\"name\": {name}, \"{key}\": "));
            format!("{head} {arguments} \"}}\"")
        };
        let body = match format {
            ToolFormat::Llama3Json => object("parameters"),
            ToolFormat::MistralArgs => format!("{} {args} {arguments}", quote(&tool.name)),
            ToolFormat::FunctionaryV32 => {
                format!("{} {arguments}", quote(&format!("{}\n", tool.name)))
            }
            ToolFormat::Functionary => {
                format!("{} {arguments}", quote(&format!("{}>", tool.name)))
            }
            _ => object("arguments"),
        };
        self.lines.push(format!("call_{index}: {body}"));
        self.schemas.push((arguments, as_object(&tool.parameters)));
    }

    /// The rules of answers that begin behind the first `>>>`. Calls behind text are not held to
    /// anything.
    fn recipients(&mut self, policy: CallPolicy) {
        let more = if policy.parallel {
            "(\">>>\" call)*"
        } else {
            ""
        };
        if policy.required {
            self.lines.push(format!("start: call {more}"));
        } else {
            self.lines
                .push(format!("start: call {more} | \"all\\n\" TEXT?"));
            self.lines.push("TEXT: /(?s:.+)/".to_owned());
        }
    }

    /// The rule `call_N` in Python's syntax, with rules for `key=value, …` in the order of the
    /// schema's properties: `first_N_I` is what may follow before an argument was written,
    /// `next_N_I` after one, from property I on.
    fn python_call(&mut self, tool: usize, Tool { name, parameters }: &Tool) {
        let head = quote(&format!("{name}("));
        self.lines
            .push(format!("call_{tool}: {head} first_{tool}_0 \")\""));
        let none = Map::new();
        let schema = parameters;
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.unwrap_or(&none);
        let required = schema.get("required").and_then(Value::as_array);
        for (index, (name, value)) in properties.iter().enumerate() {
            let is_required = required.is_some_and(|names| names.iter().any(|each| each == name));
            let value_rule = format!("value_{tool}_{index}");
            let key = quote(&format!("{name}="));
            let after = format!("next_{tool}_{}", index + 1);
            for (kind, separator) in [("first", ""), ("next", "\", \" ")] {
                let skip = match is_required {
                    true => String::new(),
                    false => format!(" | {kind}_{tool}_{}", index + 1),
                };
                self.lines.push(format!(
                    "{kind}_{tool}_{index}: {separator}{key} {value_rule} {after}{skip}"
                ));
            }
            self.schemas
                .push((value_rule, with_definitions(value, schema)));
        }
        for kind in ["first", "next"] {
            self.lines
                .push(format!("{kind}_{tool}_{}: \"\"", properties.len()));
        }
    }
}

/// Whether arguments can be written as `key=value`: the names are identifiers, and the schema is
/// simply one of properties.
fn takes_keywords(schema: &Value) -> bool {
    const OTHERS: [&str; 7] = [
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
        "not",
        "if",
        "patternProperties",
    ];
    let is_identifier = |name: &String| {
        name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut names = properties.into_iter().flat_map(Map::keys);
    OTHERS.iter().all(|keyword| schema.get(keyword).is_none()) && names.all(is_identifier)
}

/// A string literal of Lark, which takes JSON's escapes.
fn quote(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A regex that matches the text.
fn escape_regex(text: &str) -> String {
    let escape = |c: char| match c.is_alphanumeric() || c == '_' {
        true => c.to_string(),
        false => format!("\\x{{{:X}}}", u32::from(c)),
    };
    text.chars().map(escape).collect()
}

/// The schema of the arguments. A tool that names none, in whichever way, is called with `{}`.
fn as_object(parameters: &Value) -> Value {
    let Value::Object(map) = parameters else {
        return no_arguments();
    };
    let is_empty = |key: &str| {
        map.get(key)
            .is_none_or(|value| value.as_object().is_some_and(Map::is_empty))
    };
    let says_more = map.keys().any(|key| {
        !matches!(
            key.as_str(),
            "type" | "properties" | "required" | "$schema" | "title" | "description"
        )
    });
    let names_properties = map.contains_key("properties") || map.is_empty();
    if names_properties && is_empty("properties") && !says_more {
        return no_arguments();
    }
    let mut map = map.clone();
    map.entry("type").or_insert_with(|| json!("object"));
    Value::Object(map)
}

fn no_arguments() -> Value {
    json!({"type": "object", "properties": {}, "additionalProperties": false})
}

/// The schema of a property with the definitions that it may refer to.
fn with_definitions(property: &Value, parent: &Value) -> Value {
    let Value::Object(map) = property else {
        return property.clone();
    };
    let mut map = map.clone();
    for keyword in ["$defs", "definitions"] {
        if let Some(definitions) = parent.get(keyword) {
            map.entry(keyword).or_insert_with(|| definitions.clone());
        }
    }
    Value::Object(map)
}
