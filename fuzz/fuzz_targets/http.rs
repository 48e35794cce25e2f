//! Whole requests against the router, with a scripted model behind it: nothing panics, no answer is a 500,
//! none takes two seconds.
//!
//! An input is a path, a few bytes that say how, and a body of JSON; besides libFuzzer's own mutations, bodies
//! that are JSON are changed as JSON: fields are dropped, doubled, nested, and given the values of others.
#![no_main]

use std::cell::RefCell;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use matou_server::{AppState, app};
use matou_testkit::speller::{HERMES, speller};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt;

const PATHS: [&str; 22] = [
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/responses/input_tokens",
    "/v1/embeddings", "/v1/messages", "/v1/messages/count_tokens", "/api/chat", "/api/generate",
    "/api/embed", "/api/embeddings", "/api/show", "/tokenize", "/detokenize", "/apply-template",
    "/v1/models", "/v1/models/x", "/metrics", "/openapi.json", "/v1/responses/resp_x",
    "/v1/responses/resp_x/input_items", "/health",
];
/// What no request of a few kilobytes takes, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(10);

struct Served {
    runtime: Runtime,
    app: Router,
}

static SERVED: LazyLock<Served> = LazyLock::new(|| {
    let reply = r#"<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>"#;
    Served {
        runtime: Runtime::new().expect("a runtime"),
        app: app(AppState::new(speller(reply, HERMES))),
    }
});

thread_local! {
    /// The state of the generator of choices.
    static STATE: RefCell<u64> = const { RefCell::new(0) };
}

fuzz_target!(|data: &[u8]| {
    let Some((&[path, how], body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let path = PATHS[usize::from(path) % PATHS.len()];
    let method = ["POST", "POST", "POST", "GET", "DELETE", "PUT"][usize::from(how & 7) % 6];
    let mut request = Request::builder().method(method).uri(path);
    if how & 8 != 0 {
        request = request.header("anthropic-version", "2023-06-01");
    }
    if how & 16 != 0 {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(Body::from(body.to_vec())).expect("a request");
    let begin = Instant::now();
    SERVED.runtime.block_on(async {
        let response = SERVED.app.clone().oneshot(request).await.expect("an answer");
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a body");
        let text = String::from_utf8_lossy(&bytes);
        assert!(!status.is_server_error(), "{status} at {path}: {text}");
    });
    assert!(begin.elapsed() < PATIENCE, "{path} took {:?}", begin.elapsed());
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    STATE.with_borrow_mut(|state| *state = u64::from(seed) << 1 | 1);
    let body = data.get(2..size).and_then(|body| serde_json::from_slice::<Value>(body).ok());
    let (Some(mut body), false) = (body, below(4) == 0) else {
        return fuzzer_mutate(data, size, max_size);
    };
    for _ in 0..1 + below(3) {
        let donor = pick(&body).clone();
        change(&mut body, donor);
    }
    let text = body.to_string();
    if text.len() + 2 > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[2..2 + text.len()].copy_from_slice(text.as_bytes());
    2 + text.len()
});

/// A number below `n` (xorshift64*, Vigna 2016).
fn below(n: usize) -> usize {
    STATE.with_borrow_mut(|state| {
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    })
}

/// A value somewhere in another.
fn pick(value: &Value) -> &Value {
    let inner = match value {
        Value::Array(items) if !items.is_empty() && below(4) > 0 => items.get(below(items.len())),
        Value::Object(fields) if !fields.is_empty() && below(4) > 0 => {
            fields.values().nth(below(fields.len()))
        }
        _ => None,
    };
    inner.map_or(value, pick)
}

/// Changes a value, or one inside of it.
fn change(value: &mut Value, donor: Value) {
    match value {
        Value::Array(items) if !items.is_empty() && below(3) > 0 => {
            let i = below(items.len());
            match below(5) {
                0 => drop(items.remove(i)),
                1 => items.push(items[i].clone()),
                2 => items.push(donor),
                _ => change(&mut items[i], donor),
            }
        }
        Value::Object(fields) if !fields.is_empty() && below(4) > 0 => {
            let name = fields.keys().nth(below(fields.len())).cloned().unwrap_or_default();
            match below(6) {
                0 => drop(fields.remove(&name)),
                1 => drop(fields.insert(name.to_uppercase(), donor)),
                2 => drop(fields.insert(name, donor)),
                _ => change(&mut fields[&name], donor),
            }
        }
        _ => {
            *value = match below(16) {
                0 => json!(null),
                1 => json!(true),
                2 => json!(0),
                3 => json!(-1),
                4 => json!(i64::MAX),
                5 => json!(1e308),
                6 => json!(""),
                7 => json!("\u{0}\u{feff}é🦀"),
                8 => json!([]),
                9 => json!({}),
                10 => json!([donor.clone(), donor]),
                11 => json!({"type": donor}),
                12 => json!(below(300)),
                13 => json!("x".repeat(below(3000))),
                _ => donor,
            }
        }
    }
}
