//! What coding agents send, as recorded in `tests/fixtures/agents`: every request is answered.

use serde_json::Value;

use crate::spelling::HERMES;
use crate::support::{TestServer, serve};
use matou_server::AppState;
use matou_testkit::speller::conversing;

/// A server of a model with room for what agents send, a byte a token.
fn roomy(reply: &str) -> TestServer {
    serve(AppState::new(conversing(&[("", reply)], HERMES, 64 << 10)))
}

fn recorded(name: &str) -> Value {
    let path = matou_testkit::fixtures_dir().join("agents").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text.replace("$MODEL", "speller")).unwrap()
}

/// Where the program of a recorded request sends it.
fn path(name: &str) -> &'static str {
    match name.split('-').next().unwrap() {
        "claude" => "/v1/messages?beta=true",
        "codex" => "/v1/responses",
        "opencode" => "/v1/chat/completions",
        "aider" => "/api/chat",
        other => panic!("nobody is called {other}"),
    }
}

#[tokio::test]
async fn every_recorded_request_is_answered() {
    let folder = matou_testkit::fixtures_dir().join("agents");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".json")).collect();
    names.sort();
    assert!(names.len() >= 16, "{names:?}");
    let server = roomy("ok");
    for name in names {
        let reply = server.post(path(&name), &recorded(&name)).await;
        assert_eq!(reply.status, 200, "{name}: {}", reply.text);
        assert!(reply.text.contains("speller"), "{name}: {}", reply.text);
        assert!(
            !reply.text.contains("event: error"),
            "{name}: {}",
            reply.text
        );
    }
}

#[tokio::test]
async fn a_call_goes_back_in_the_form_of_its_client() {
    for (name, tool, arguments, form) in [
        (
            "codex-1.json",
            "exec_command",
            r#"{"cmd": "cat notes.txt"}"#,
            r#""type":"function_call""#,
        ),
        (
            "codex-1.json",
            "multi_agent_v1__close_agent",
            r#"{"id": "a"}"#,
            r#""name":"close_agent","namespace":"multi_agent_v1""#,
        ),
        (
            "codex-patch.json",
            "apply_patch",
            r#"{"input": "*** Begin Patch"}"#,
            r#""type":"custom_tool_call""#,
        ),
        (
            "codex-tool-search.json",
            "tool_search",
            r#"{"query": "cats"}"#,
            r#""type":"tool_search_call""#,
        ),
        (
            "claude-code-1.json",
            "Read",
            r#"{"file_path": "notes.txt"}"#,
            r#""type":"tool_use""#,
        ),
        (
            "opencode-1.json",
            "read",
            r#"{"filePath": "notes.txt"}"#,
            r#""type":"function""#,
        ),
    ] {
        let call =
            format!("<tool_call>{{\"name\": \"{tool}\", \"arguments\": {arguments}}}</tool_call>");
        let reply = roomy(&call).post(path(name), &recorded(name)).await;
        assert!(reply.text.contains(form), "{name}, {tool}: {}", reply.text);
    }
}

#[tokio::test]
async fn a_tool_whose_loading_is_deferred_waits_until_a_result_refers_to_it() {
    let shown = |name: &str| {
        let request = recorded(name);
        async move {
            let server = roomy("ok");
            let count = server.post("/v1/messages/count_tokens", &request).await;
            count.json()["input_tokens"].as_u64().unwrap()
        }
    };
    let mut without = recorded("claude-code-tool-search.json");
    let tools = without["tools"].as_array_mut().unwrap();
    let deferred = tools.iter().filter(|tool| tool["defer_loading"] == true);
    assert!(deferred.count() > 0);
    let whole = shown("claude-code-tool-search.json").await;
    // A tool that is only a placeholder takes no room.
    without["tools"]
        .as_array_mut()
        .unwrap()
        .retain(|tool| tool["name"] != "DeferredToolPlaceholder");
    let server = roomy("ok");
    let reply = server.post("/v1/messages/count_tokens", &without).await;
    assert_eq!(reply.json()["input_tokens"], whole);
}
