//! Requests that real clients stumbled over, each for a kind of them: `tests/fixtures/cases`.
//!
//! A line is a request with what has to come of it. `$MODEL` and `$CONTEXT` are filled in.

use axum::body::Body;
use axum::http::Request;
use serde_json::Value;

use crate::spelling::{PLAIN, saying};
use crate::support::{Reply, TestServer};

/// Length of the context of the models here.
const CONTEXT: usize = 16 << 10;

/// The published templates that cases name.
fn template(name: &str) -> String {
    let file = match name {
        "Mistral Nemo 2407" => "mistralai-Mistral-Nemo-Instruct-2407.jinja",
        "Mistral 7B v0.1" => "mistralai-Mistral-7B-Instruct-v0.1.jinja",
        "Hermes 3" => "NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja",
        other => panic!("no template is called {other}"),
    };
    let path = matou_testkit::fixtures_dir().join("templates").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

async fn ask(server: &TestServer, case: &Value) -> Reply {
    let body = match &case["body"] {
        Value::Null => Body::empty(),
        body => Body::from(body.to_string()),
    };
    let method = match (&case["method"], &case["body"]) {
        (Value::String(method), _) => method,
        (_, Value::Null) => "GET",
        _ => "POST",
    };
    let path = case["path"].as_str().unwrap();
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        request = request.header(name, value.as_str().unwrap());
    }
    server.send(request.body(body).unwrap()).await
}

/// Why an answer ended, and the arguments of its first call, in the words of OpenAI.
fn check(case: &Value, reply: &Reply) {
    let (name, expected) = (&case["name"], &case["expect"]);
    let answer = || reply.json();
    assert_eq!(
        reply.status.as_u16(),
        expected["status"],
        "{name}: {}",
        reply.text
    );
    if let Some(reasons) = expected["finish_reason"].as_array() {
        let reason = &answer()["choices"][0]["finish_reason"];
        assert!(reasons.contains(reason), "{name}: {}", reply.text);
    }
    if let Some(arguments) = expected.get("arguments") {
        let message = &answer()["choices"][0]["message"];
        let call = &message["tool_calls"][0]["function"];
        assert_eq!(&call["arguments"], arguments, "{name}: {}", reply.text);
        assert_eq!(message["content"], Value::Null, "{name}: {}", reply.text);
    }
    if let Some(least) = expected["version_at_least"].as_str() {
        let parts = |version: &str| -> Vec<u32> {
            let numbers = version.split('.').map(|part| part.parse().unwrap());
            numbers.collect()
        };
        let version = answer()["version"].as_str().unwrap().to_owned();
        assert!(parts(&version) >= parts(least), "{name}: {version}");
    }
    for word in expected["says"].as_array().into_iter().flatten() {
        let word = word.as_str().unwrap();
        assert!(reply.text.contains(word), "{name}: {word}: {}", reply.text);
    }
    for word in expected["never_says"].as_array().into_iter().flatten() {
        let word = word.as_str().unwrap();
        assert!(!reply.text.contains(word), "{name}: {word}: {}", reply.text);
    }
}

/// Tries all cases of a file; how many there are.
async fn try_all(file: &str) -> usize {
    let path = matou_testkit::fixtures_dir().join("cases").join(file);
    let cases = std::fs::read_to_string(path).unwrap();
    let cases = cases
        .replace("$MODEL", "speller")
        .replace("$CONTEXT", &CONTEXT.to_string());
    for line in cases.lines() {
        let case: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let template = case["template"].as_str().map(template);
        let says = case["model_says"].as_str().unwrap_or("ok");
        let server = saying(says, template.as_deref().unwrap_or(PLAIN));
        let reply = ask(&server, &case).await;
        match (&case["expect"]["instead"]["status"], reply.status.as_u16()) {
            // What is not done yet is refused by its name.
            (Value::Number(status), found) if *status == found.into() => {}
            _ => check(&case, &reply),
        }
    }
    cases.lines().count()
}

#[tokio::test]
async fn what_clients_stumbled_over_has_the_right_outcome() {
    assert_eq!(try_all("requests.jsonl").await, 24);
}

#[tokio::test]
async fn what_is_of_the_same_kind_has_the_right_outcome() {
    assert!(try_all("more.jsonl").await >= 40);
}
