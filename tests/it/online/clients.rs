//! The clients that people use, unmodified.

use std::path::Path;
use std::process::Command;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{
    ChatCompletionMessageToolCalls, ChatCompletionNamedToolChoice,
    ChatCompletionRequestAssistantMessageArgs, ChatCompletionRequestSystemMessage,
    ChatCompletionRequestToolMessageArgs, ChatCompletionRequestUserMessageArgs, ChatCompletionTool,
    ChatCompletionToolChoiceOption, ChatCompletionTools, CreateChatCompletionRequest,
    CreateChatCompletionRequestArgs, FinishReason, FunctionName, FunctionObject,
};
use async_openai::types::completions::CreateCompletionRequestArgs;
use futures_util::StreamExt;
use matou_testkit::gpu;
use serde_json::{Value, json};

use super::environment::{Environment, script};
use crate::harness::{Server, finish};

/// The clients of those whose APIs matou speaks.
const CLIENTS: Environment = Environment {
    name: "python-clients",
    packages: &["openai==3.54.0", "anthropic==2.13.0", "ollama==0.6.3"],
};
/// What people put on top of them, which wants versions of its own.
const FRAMEWORKS: Environment = Environment {
    name: "python-frameworks",
    packages: &[
        "litellm==1.110.2",
        "langchain-openai==1.7.4",
        "instructor==1.17.0",
    ],
};
/// The client of OpenAI for Node.
const NODE: Environment = Environment {
    name: "node-clients",
    packages: &["openai@6.49.0"],
};

/// Runs a script of `tests/clients` against a server of its own, and expects it to say `ok`.
fn drive(mut interpreter: Command, script: &Path) {
    let server = Server::start(&[]);
    interpreter.arg(script).arg(&server.url);
    let (success, output, errors) = finish(interpreter);
    assert!(success, "{}: {errors}", script.display());
    assert!(output.contains("ok"), "{output}");
}

#[test]
fn the_python_client_of_openai_works() {
    drive(Command::new(CLIENTS.python()), &script("openai_sdk.py"));
}

#[test]
fn the_python_client_of_openai_gets_answers_of_a_gpu() {
    let Some(gpu) = gpu() else { return };
    let server = Server::start(&["--device", &gpu.to_string()]);
    let mut client = Command::new(CLIENTS.python());
    client.arg(script("openai_on_gpu.py")).arg(&server.url);
    let (success, output, errors) = finish(client);
    assert!(success && output.contains("ok"), "{output}{errors}");
}

#[test]
fn the_python_client_of_anthropic_works() {
    drive(Command::new(CLIENTS.python()), &script("anthropic_sdk.py"));
}

#[test]
fn the_python_client_of_ollama_works() {
    drive(Command::new(CLIENTS.python()), &script("ollama_client.py"));
}

/// One who knows the capital, and says so briefly.
const CARD: &str = r#"
name = "Ada"
system_prompt = "You are {{char}}, a helpful assistant."
greeting = "Hello, {{user}}. How can I help you?"

[sampling]
temperature = 0
max_tokens = 32
"#;

#[test]
fn one_persona_answers_the_clients_of_four_apis() {
    let folder = tempfile::TempDir::new().unwrap();
    std::fs::write(folder.path().join("ada.toml"), CARD).unwrap();
    let server = Server::start(&["--personas", folder.path().to_str().unwrap()]);
    let mut python = Command::new(CLIENTS.python());
    python
        .arg(script("personas.py"))
        .arg(&server.url)
        .arg("ada");
    let (success, output, errors) = finish(python);
    assert!(success, "{output}{errors}");
    assert!(output.contains("ok"), "{output}");
}

#[test]
fn litellm_langchain_and_instructor_work() {
    drive(Command::new(FRAMEWORKS.python()), &script("frameworks.py"));
}

#[test]
fn the_node_client_of_openai_works() {
    // Node looks for packages beside the script.
    let copy = NODE.node().join("openai_node.mjs");
    std::fs::copy(script("openai_node.mjs"), &copy).expect("the script can be copied");
    drive(Command::new("node"), &copy);
}

fn question(model: &str) -> CreateChatCompletionRequest {
    let message = ChatCompletionRequestUserMessageArgs::default()
        .content("What is the capital of France?")
        .build()
        .unwrap();
    CreateChatCompletionRequestArgs::default()
        .model(model)
        .messages([
            ChatCompletionRequestSystemMessage::from("You are a helpful assistant.").into(),
            message.into(),
        ])
        .temperature(0.0)
        .max_completion_tokens(24_u32)
        .build()
        .unwrap()
}

fn async_openai(server: &Server) -> Client<OpenAIConfig> {
    let config = OpenAIConfig::new()
        .with_api_base(format!("{}/v1", server.url))
        .with_api_key("unused");
    Client::with_config(config)
}

/// The name of the model, as the server tells it.
async fn served(client: &Client<OpenAIConfig>) -> String {
    client.models().list().await.unwrap().data[0].id.clone()
}

#[tokio::test]
async fn the_crate_async_openai_works() {
    let server = Server::start(&[]);
    let client = async_openai(&server);
    let model = served(&client).await;

    let answer = client.chat().create(question(&model)).await.unwrap();
    let answer = answer.choices[0].message.content.clone().expect("content");
    assert!(answer.contains("Paris"), "{answer}");

    let mut stream = client.chat().create_stream(question(&model)).await.unwrap();
    let mut streamed = String::new();
    while let Some(chunk) = stream.next().await {
        streamed.extend(
            chunk
                .unwrap()
                .choices
                .into_iter()
                .filter_map(|choice| choice.delta.content),
        );
    }
    assert_eq!(streamed, answer);

    let completion = CreateCompletionRequestArgs::default()
        .model(&model)
        .prompt("The capital of France is")
        .temperature(0.0)
        .max_tokens(8_u32)
        .build()
        .unwrap();
    let completion = client.completions().create(completion).await.unwrap();
    assert!(
        completion.choices[0].text.contains("Paris"),
        "{completion:?}"
    );
}

/// A question that has to be answered by asking for the weather of Ulm or of Kiel.
fn about_the_weather(model: &str) -> CreateChatCompletionRequest {
    let function = FunctionObject {
        name: "weather".to_owned(),
        description: Some("the weather of a city".to_owned()),
        parameters: Some(json!({
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Ulm", "Kiel"]}},
            "required": ["city"],
            "additionalProperties": false,
        })),
        strict: Some(true),
    };
    let choice = ChatCompletionNamedToolChoice {
        function: FunctionName {
            name: function.name.clone(),
        },
    };
    CreateChatCompletionRequest {
        tools: Some(vec![ChatCompletionTools::Function(ChatCompletionTool {
            function,
        })]),
        tool_choice: Some(ChatCompletionToolChoiceOption::Function(choice)),
        parallel_tool_calls: Some(false),
        max_completion_tokens: Some(64),
        ..question(model)
    }
}

#[tokio::test]
async fn the_crate_async_openai_calls_tools() {
    let server = Server::start(&[]);
    let client = async_openai(&server);
    let mut request = about_the_weather(&served(&client).await);

    let answer = client.chat().create(request.clone()).await.unwrap();
    let choice = &answer.choices[0];
    assert_eq!(choice.finish_reason, Some(FinishReason::ToolCalls));
    let calls = choice.message.tool_calls.clone().expect("calls");
    let [ChatCompletionMessageToolCalls::Function(call)] = calls.as_slice() else {
        panic!("one call of a function: {calls:?}");
    };
    assert_eq!(call.function.name, "weather");
    let arguments: Value = serde_json::from_str(&call.function.arguments).unwrap();
    assert!(
        ["Ulm", "Kiel"].contains(&arguments["city"].as_str().unwrap()),
        "{arguments}"
    );

    let mut stream = client.chat().create_stream(request.clone()).await.unwrap();
    let (mut name, mut streamed, mut reason) = (String::new(), String::new(), None);
    while let Some(chunk) = stream.next().await {
        for choice in chunk.unwrap().choices {
            reason = choice.finish_reason.or(reason);
            for piece in choice.delta.tool_calls.into_iter().flatten() {
                assert_eq!(piece.index, 0);
                let function = piece.function.expect("a function");
                name.extend(function.name);
                streamed.extend(function.arguments);
            }
        }
    }
    assert_eq!((name.as_str(), reason), ("weather", choice.finish_reason));
    assert_eq!(streamed, call.function.arguments);

    // And on with what the function gave.
    let called = ChatCompletionRequestAssistantMessageArgs::default()
        .tool_calls(calls.clone())
        .build()
        .unwrap();
    let result = ChatCompletionRequestToolMessageArgs::default()
        .tool_call_id(&call.id)
        .content("sunny, 21 degrees")
        .build()
        .unwrap();
    request.messages.extend([called.into(), result.into()]);
    request.tool_choice = None;
    let answer = client.chat().create(request).await.unwrap();
    assert!(answer.choices[0].finish_reason.is_some(), "{answer:?}");
}
