//! A conversation with a tool: the model calls a function, this program runs it, and the model answers
//! with its result. `target/release/examples/tools [MODEL]`, built as `answer.rs` says.

use matou_engine::{EngineConfig, SamplingParams};
use matou_llm::generation::collect;
use matou_llm::message::{MessageParser, MessagePart};
use matou_llm::open::{OpenOptions, open};
use matou_llm::request::{ChatCall, ToolUse};
use matou_llm::tools::functions::{Function, FunctionChoice, tool_use};
use matou_llm::{Llm, Wanted, prepare};
use serde_json::{Value, json};

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let options = OpenOptions::default();
    let model = std::env::args().nth(1);
    let loaded = open(model.as_deref(), &options).await?;
    let config = loaded.engine_config(&options, EngineConfig::default())?;
    let (llm, _engine) = loaded.start(config, Vec::new())?;

    let mut messages = vec![json!({"role": "user", "content": "How warm is it in Ulm?"})];
    // The first turn must be a call: a grammar sees to it that its arguments fit the schema.
    let weather = tool_use(vec![temperature()], FunctionChoice::Required, false)?;
    for part in turn(&llm, messages.clone(), weather).await? {
        if let Part::Call {
            id,
            name,
            arguments,
        } = part
        {
            println!("the model calls {name}({arguments})");
            let result = "21 degrees";
            messages.push(json!({
                "role": "assistant",
                "content": "",
                "tool_calls": [{
                    "id": id,
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                }],
            }));
            messages.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
        }
    }
    // The second turn is free.
    for part in turn(&llm, messages, None).await? {
        if let Part::Text(text) = part {
            println!("{text}");
        }
    }
    Ok(())
}

/// The function that is offered.
fn temperature() -> Function {
    Function {
        name: "get_temperature".to_owned(),
        description: Some("The temperature in a city.".to_owned()),
        parameters: Some(json!({
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 40}},
            "required": ["city"],
            "additionalProperties": false,
        })),
        strict: true,
    }
}

/// A part of an answer, whole.
enum Part {
    Text(String),
    Call {
        id: String,
        name: String,
        arguments: String,
    },
}

/// The parts of the next answer of a conversation.
async fn turn(llm: &Llm, messages: Vec<Value>, tools: Option<ToolUse>) -> Result<Vec<Part>, Error> {
    let sampling = SamplingParams {
        max_tokens: Some(200),
        ..SamplingParams::greedy()
    };
    let mut call = ChatCall::new(messages, sampling);
    call.request.tools = tools;
    let prompt = prepare::chat(llm, call, &Wanted::always())?;
    let mut parser = MessageParser::new(&prompt.format);
    let events = prompt.start(llm, "example".to_owned(), "messages")?;
    let collected = collect(events.into_stream(), 1).await?;
    let mut parts = Vec::new();
    let told = parser.push(&collected.choices[0].text);
    for part in told.into_iter().chain(parser.finish()) {
        match (part, parts.last_mut()) {
            (MessagePart::Text(more), Some(Part::Text(text))) => text.push_str(&more),
            (MessagePart::Text(text), _) => parts.push(Part::Text(text)),
            (MessagePart::CallStart { id, name, .. }, _) => parts.push(Part::Call {
                id,
                name,
                arguments: String::new(),
            }),
            (MessagePart::Arguments { fragment, .. }, Some(Part::Call { arguments, .. })) => {
                arguments.push_str(&fragment);
            }
            (MessagePart::Arguments { .. } | MessagePart::Reasoning(_), _) => {}
        }
    }
    Ok(parts)
}
