//! Coding agents, unmodified: each answers a question with a tool call and its result in the loop,
//! streamed. The model is scripted, so that it is the agent and the server that are tried: it calls
//! the tool that reads the file, and once the file's text is in its prompt it says what it read.

use std::path::PathBuf;
use std::process::Command;

use matou_server::{AppState, serve};
use matou_testkit::speller::{HERMES, conversing};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::environment::{Environment, script};
use crate::harness::{PATIENCE, finish};

const CLAUDE_CODE: Environment = Environment {
    name: "agent-claude-code",
    packages: &["@anthropic-ai/claude-code@2.1.332"],
};
const CODEX: Environment = Environment {
    name: "agent-codex",
    packages: &["@openai/codex@0.171.0"],
};
const OPENCODE: Environment = Environment {
    name: "agent-opencode",
    packages: &["opencode-ai@1.18.33"],
};
/// Wants a Python from 3.10 to 3.12, and is the largest of them.
const AIDER: Environment = Environment {
    name: "agent-aider",
    packages: &["aider-chat==0.86.2"],
};

/// What the file says.
const FACT: &str = "The cat is called Milo.";
/// Room for the prompts of agents, a byte a token.
const CONTEXT: usize = 160 << 10;

/// Runs `driver` of `tests/clients` with its packages in `folder`, against a server whose model gives the
/// first of `replies` whose cue it has read.
async fn drive(driver: &'static str, folder: PathBuf, replies: &[(&str, &str)]) {
    let llm = conversing(replies, HERMES, CONTEXT);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(
        listener,
        AppState::new(llm),
        async {
            // Dropped or told: either way it is over.
            let _ = stopped.await;
        },
        PATIENCE,
    ));
    let run = move || {
        let mut command = Command::new("python3");
        command.arg(script(driver)).arg(url).arg(folder);
        finish(command)
    };
    let (success, output, errors) = tokio::task::spawn_blocking(run).await.unwrap();
    assert!(success, "{driver}: {output}{errors}");
    assert!(output.contains("ok"), "{output}");
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

/// A call as the template's model writes it.
fn call(name: &str, arguments: &str) -> String {
    format!("<tool_call>\n{{\"name\": \"{name}\", \"arguments\": {arguments}}}\n</tool_call>")
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_code_reads_a_file_and_answers() {
    let first = call("Read", r#"{"file_path": "notes.txt"}"#);
    let replies = [(FACT, FACT), ("", &first)];
    drive("agent_claude_code.py", CLAUDE_CODE.node(), &replies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_reads_a_file_and_answers() {
    let first = call("exec_command", r#"{"cmd": "cat notes.txt"}"#);
    let replies = [(FACT, FACT), ("", &first)];
    drive("agent_codex.py", CODEX.node(), &replies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opencode_reads_a_file_and_answers() {
    let first = call("read", r#"{"filePath": "notes.txt"}"#);
    let replies = [(FACT, FACT), ("", &first)];
    drive("agent_opencode.py", OPENCODE.node(), &replies).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aider_writes_a_file() {
    let python = AIDER.python();
    let folder = python.ancestors().nth(2).unwrap().to_owned();
    // It has no tools: files are edited by text in a form that it reads.
    let replies = [(FACT, "answer.txt\n```\nMilo\n```\n")];
    drive("agent_aider.py", folder, &replies).await;
}
