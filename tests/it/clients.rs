//! The clients that people use, unmodified.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{
    ChatCompletionRequestSystemMessage, ChatCompletionRequestUserMessageArgs,
    CreateChatCompletionRequest, CreateChatCompletionRequestArgs,
};
use async_openai::types::completions::CreateCompletionRequestArgs;
use futures_util::StreamExt;

use crate::harness::{Server, finish};

/// Python packages that the scripts in `tests/clients` need.
const PACKAGES: [&str; 1] = ["openai==3.54.0"];

/// A Python with [`PACKAGES`], in a virtual environment below the target folder, made once.
fn python() -> &'static PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("python-clients");
        let python = folder.join("bin/python");
        let stamp = folder.join("installed");
        let wanted = PACKAGES.join("\n");
        if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return python;
        }
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv", "--clear"]).arg(&folder);
        let mut pip = Command::new(&python);
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(PACKAGES);
        for command in [venv, pip] {
            let (success, _, errors) = finish(command);
            assert!(
                success,
                "the tests need python3 with venv and pip: {errors}"
            );
        }
        std::fs::write(&stamp, wanted).expect("the environment can be marked complete");
        python
    })
}

#[test]
fn the_python_client_of_openai_works() {
    let server = Server::start(&[]);
    let mut script = Command::new(python());
    script
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/clients/openai_sdk.py"
        ))
        .arg(&server.url);
    let (success, output, errors) = finish(script);
    assert!(success, "{errors}");
    assert!(output.contains("ok"), "{output}");
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

#[tokio::test]
async fn the_crate_async_openai_works() {
    let server = Server::start(&[]);
    let config = OpenAIConfig::new()
        .with_api_base(format!("{}/v1", server.url))
        .with_api_key("unused");
    let client = Client::with_config(config);

    let models = client.models().list().await.unwrap();
    let model = models.data[0].id.clone();

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
