//! Personas in every dialect, what is shown of them, and the label of their answers.

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt;
use matou_persona::Persona;
use matou_provenance::{ProvenanceLog, verify};
use matou_server::AppState;
use matou_testkit::speller::{PLAIN, THINKING, conversing};
use serde_json::{Value, json};

use crate::support::{Reply, TestServer, serve};

const SAID: &str =
    "Aye, we sail for the islands as soon as the tide is with us, and not before noon.";

fn card() -> Value {
    json!({
        "spec": "chara_card_v3", "spec_version": "3.0",
        "data": {
            "name": "Captain Ada", "nickname": "Ada",
            "description": "{{char}} commands a lighthouse tender.",
            "first_mes": "Welcome aboard, {{user}}.",
            "alternate_greetings": ["Ahoy there, {{user}}."],
            "post_history_instructions": "Stay brief.",
            "creator": "tests", "tags": ["sea"], "creator_notes": "<b>A captain.</b>",
            "group_only_greetings": [],
            "extensions": {"matou": {"sampling": {"max_tokens": 400}, "stop": ["###"]}},
        },
    })
}

fn read(card: &Value) -> Arc<Persona> {
    Arc::new(Persona::read(card.to_string().as_bytes(), "card.json").unwrap())
}

/// A model that answers as the captain to whom it is told about her.
fn state(cards: &[Value]) -> AppState {
    let replies = [
        ("Ahoy there, Robin.", "You know my name."),
        ("Call the doctor", "Never###mind"),
        ("Ada commands a lighthouse tender.", SAID),
        ("", "I am a language model."),
    ];
    let state = AppState::new(conversing(&replies, PLAIN, 16 << 10));
    state.models.set_personas(cards.iter().map(read).collect());
    state
}

fn captain() -> TestServer {
    serve(state(&[card()]))
}

fn asks(path: &str, stream: bool) -> Value {
    let messages = json!([{"role": "user", "content": "Where to?"}]);
    let fields = match path {
        "/v1/responses" => json!({"input": "Where to?"}),
        "/v1/messages" => json!({"messages": messages, "max_tokens": 500}),
        "/api/generate" => json!({"prompt": "Where to?"}),
        _ => json!({"messages": messages}),
    };
    let mut request = json!({"model": "captain-ada", "stream": stream});
    request
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    request
}

const CHATS: [&str; 5] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/messages",
    "/api/chat",
    "/api/generate",
];

#[tokio::test]
async fn a_persona_answers_in_every_dialect_and_says_that_it_is_a_machine() {
    let server = captain();
    let label = json!({
        "generator": concat!("matou/", env!("CARGO_PKG_VERSION")),
        "model": "speller", "persona": "captain-ada", "fingerprint": "fp_test",
    });
    for path in CHATS {
        let whole = server.post(path, &asks(path, false)).await;
        assert_eq!(whole.status, 200, "{path}: {}", whole.text);
        assert!(whole.text.contains(SAID), "{path}: {}", whole.text);
        assert_eq!(whole.json()["matou"], label, "{path}");
        assert_eq!(whole.json()["model"], "captain-ada", "{path}");
        let streamed = server.post(path, &asks(path, true)).await;
        assert!(
            streamed.text.contains(&label.to_string()),
            "{path}: {}",
            streamed.text
        );
        for reply in [whole, streamed] {
            let expected = format!(
                "mode=ai-originated, model=\"captain-ada\", provider=\"matou/{}\"",
                env!("CARGO_PKG_VERSION")
            );
            assert_eq!(reply.headers["ai-disclosure"], expected, "{path}");
        }
    }
}

#[tokio::test]
async fn nothing_else_is_labelled_unless_it_is_asked_for() {
    let with_label = |label| {
        let mut state = state(&[card()]);
        state.label = label;
        serve(state)
    };
    let is_labelled = |reply: &Reply| {
        let head = reply.headers.contains_key("ai-disclosure");
        assert_eq!(head, reply.text.contains("\"matou\":{"), "{}", reply.text);
        head
    };
    for all in [false, true] {
        let server = with_label(all);
        for path in CHATS {
            for stream in [false, true] {
                let mut request = asks(path, stream);
                request["model"] = "speller".into();
                let reply = server.post(path, &request).await;
                assert_eq!(reply.status, 200, "{}", reply.text);
                assert_eq!(is_labelled(&reply), all, "{path}");
            }
        }
        let raw = json!({"prompt": "x", "max_tokens": 3});
        assert_eq!(
            is_labelled(&server.post("/v1/completions", &raw).await),
            all
        );
        // Nothing is generated here.
        let texts = [
            ("/v1/embeddings", json!({"input": "x"})),
            ("/tokenize", json!({"prompt": "x"})),
        ];
        for (path, request) in texts {
            assert!(!is_labelled(&server.post(path, &request).await), "{path}");
        }
        assert!(!is_labelled(
            &server.post("/v1/chat/completions", &json!({})).await
        ));
        assert!(!is_labelled(&server.get("/v1/models").await));
    }
}

#[tokio::test]
async fn a_persona_is_listed_wherever_models_are() {
    let server = captain();
    let models = server.get("/v1/models").await.json();
    let listed = &models["data"][1];
    assert_eq!(listed["id"], "captain-ada");
    assert_eq!(listed["parent"], "speller");
    assert_eq!(listed["type"], "persona");
    assert_eq!(models["data"][0]["type"], "model");
    let one = server.get("/v1/models/captain-ada").await.json();
    assert_eq!(one, *listed);
    let tags = server.get("/api/tags").await.json();
    assert_eq!(tags["models"][1]["name"], "captain-ada");
    assert_eq!(tags["models"][1]["details"]["parent_model"], "speller");
    let request = Request::get("/v1/models").header("anthropic-version", "2023-06-01");
    let reply = server
        .send(request.body(Body::empty()).unwrap())
        .await
        .json();
    assert_eq!(reply["data"][1]["id"], "captain-ada");
    assert_eq!(reply["data"][1]["display_name"], "Captain Ada");
    let unknown = server
        .post(
            "/v1/chat/completions",
            &json!({"model": "nobody", "messages": []}),
        )
        .await;
    assert!(unknown.text.contains("captain-ada"), "{}", unknown.text);
}

#[tokio::test]
async fn what_is_shown_of_a_persona_is_not_what_it_is_told() {
    let server = captain();
    let list = server.get("/v1/personas").await.json();
    let profile = &list["data"][0];
    assert_eq!(profile["id"], "captain-ada");
    assert_eq!(profile["nickname"], "Ada");
    assert_eq!(
        profile["greetings"],
        json!(["Welcome aboard, User.", "Ahoy there, User."])
    );
    assert_eq!(profile["is_ai"], true);
    assert_eq!(profile["picture"], Value::Null);
    assert_eq!(
        server.get("/v1/personas/captain-ada").await.json(),
        *profile
    );
    for path in ["/v1/personas", "/v1/personas/captain-ada", "/v1/models"] {
        let text = server.get(path).await.text;
        assert!(
            !text.contains("lighthouse") && !text.contains("Stay brief"),
            "{text}"
        );
    }
    let greetings = server
        .get("/v1/personas/captain-ada/greetings?user=Kim")
        .await
        .json();
    assert_eq!(greetings["data"][1], "Ahoy there, Kim.");
    for path in [
        "/v1/personas/speller",
        "/v1/personas/nobody",
        "/v1/personas/captain-ada/picture",
    ] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    for (path, request) in [
        (
            "/apply-template",
            json!({"messages": [{"role": "user", "content": "x"}]}),
        ),
        (
            "/tokenize",
            json!({"messages": [{"role": "user", "content": "x"}]}),
        ),
        ("/v1/completions", json!({"prompt": "x"})),
        ("/v1/embeddings", json!({"input": "x"})),
        (
            "/v1/chat/completions",
            json!({
                "messages": [{"role": "user", "content": "x"}], "prompt_logprobs": 2,
            }),
        ),
    ] {
        let mut request = request;
        request["model"] = "captain-ada".into();
        let (status, _, code, message) = server.post(path, &request).await.error();
        assert_eq!(
            (status, code.as_deref()),
            (400, Some("unsupported_parameter")),
            "{path}"
        );
        assert!(message.contains("persona"), "{path}: {message}");
    }
}

#[tokio::test]
async fn a_picture_is_served_without_what_is_written_in_it() {
    let png = read(&card()).to_png(None).unwrap();
    assert!(png.windows(5).any(|bytes| bytes == b"chara"));
    let persona = Persona::read(&png, "card.png").unwrap();
    let state = state(&[]);
    state.models.set_personas(vec![Arc::new(persona)]);
    let request = Request::get("/v1/personas/captain-ada/picture");
    let response = tower::ServiceExt::oneshot(
        matou_server::app(state),
        request.body(Body::empty()).unwrap(),
    )
    .await
    .unwrap();
    assert_eq!(response.headers()["content-type"], "image/png");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    assert!(bytes.starts_with(b"\x89PNG"));
    for secret in [&b"chara"[..], b"ccv3", b"tEXt"] {
        assert!(!bytes.windows(secret.len()).any(|bytes| bytes == secret));
    }
}

#[tokio::test]
async fn a_client_chooses_the_greeting_and_says_who_it_is() {
    let server = captain();
    let messages = json!([{"role": "user", "content": "Hello."}]);
    let mut request = json!({
        "model": "captain-ada", "messages": messages, "persona": {"greeting": 1, "user": "Robin"},
    });
    let reply = server.post("/v1/chat/completions", &request).await;
    assert!(reply.text.contains("You know my name."), "{}", reply.text);
    // The name of a message will do.
    request["persona"] = json!({"greeting": 1});
    request["messages"][0]["name"] = "Robin".into();
    let reply = server.post("/v1/chat/completions", &request).await;
    assert!(reply.text.contains("You know my name."), "{}", reply.text);
    request["persona"] = json!({"greeting": 2});
    let (status, param, _, message) = server.post("/v1/chat/completions", &request).await.error();
    assert_eq!((status, param.as_deref()), (400, Some("persona.greeting")));
    assert!(message.contains("has 2"), "{message}");
    request["model"] = "speller".into();
    for path in ["/v1/chat/completions", "/apply-template", "/tokenize"] {
        let (status, param, _, _) = server.post(path, &request).await.error();
        assert_eq!((status, param.as_deref()), (400, Some("persona")), "{path}");
    }
}

#[tokio::test]
async fn system_messages_are_added_or_refused_as_the_card_says() {
    let mut strict = card();
    strict["data"]["name"] = "Strict Ada".into();
    strict["data"]["extensions"]["matou"]["system_messages"] = "refuse".into();
    let server = serve(state(&[card(), strict]));
    let request = |model: &str| {
        json!({"model": model, "messages": [
            {"role": "system", "content": "Speak in rhymes."}, {"role": "user", "content": "Hello."},
        ]})
    };
    let added = server
        .post("/v1/chat/completions", &request("captain-ada"))
        .await;
    assert!(added.text.contains(SAID), "{}", added.text);
    let refused = server
        .post("/v1/chat/completions", &request("strict-ada"))
        .await;
    let (status, param, _, message) = refused.error();
    assert_eq!((status, param.as_deref()), (400, Some("messages[0]")));
    assert!(message.contains("system_messages"), "{message}");
}

#[tokio::test]
async fn the_cards_sampling_and_stop_strings_hold_where_a_request_says_nothing() {
    let mut short = card();
    short["data"]["name"] = "Short".into();
    short["data"]["extensions"]["matou"]["sampling"]["max_tokens"] = 3.into();
    let server = serve(state(&[card(), short]));
    let request = |fields: Value| {
        let mut request = json!({"messages": [{"role": "user", "content": "Call the doctor"}]});
        request
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        request
    };
    let reply = server
        .post(
            "/v1/chat/completions",
            &request(json!({"model": "captain-ada"})),
        )
        .await;
    let choice = &reply.json()["choices"][0];
    assert_eq!(choice["message"]["content"], "Never");
    assert_eq!(choice["finish_reason"], "stop");
    let reply = server
        .post("/v1/chat/completions", &request(json!({"model": "short"})))
        .await;
    assert_eq!(reply.json()["usage"]["completion_tokens"], 3);
    let more = request(json!({"model": "short", "max_tokens": 4}));
    let reply = server.post("/v1/chat/completions", &more).await;
    assert_eq!(reply.json()["usage"]["completion_tokens"], 4);
}

#[tokio::test]
async fn a_persona_whose_model_is_not_there_says_so() {
    let mut lost = card();
    lost["data"]["extensions"]["matou"]["model"] = "elsewhere".into();
    let server = serve(state(&[lost]));
    let reply = server
        .post("/v1/chat/completions", &asks("/v1/chat/completions", false))
        .await;
    let (status, _, _, message) = reply.error();
    assert_eq!(status, 503);
    assert!(message.contains("elsewhere"), "{message}");
    assert_eq!(server.get("/v1/personas").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_long_persona_is_computed_once() {
    let mut long = card();
    long["data"]["description"] = "{{char}} commands a lighthouse tender. ".repeat(40).into();
    let server = serve(state(&[long]));
    let lease = server
        .state
        .models
        .acquire(Some("captain-ada"), matou_engine::ClientId::ANYBODY, None)
        .await
        .unwrap();
    let warm = lease.warm().await.unwrap();
    assert!(warm > 1000, "{warm} tokens");
    let reply = server
        .post("/v1/chat/completions", &asks("/v1/chat/completions", false))
        .await;
    let cached = reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        .as_u64()
        .unwrap();
    assert!(
        cached as usize > warm - 32,
        "{cached} of {warm} tokens were cached"
    );
}

/// Keys share what the persona is told, and nothing of what they say to it.
#[tokio::test]
async fn a_persona_is_warm_for_every_key_and_conversations_stay_apart() {
    let mut long = card();
    long["data"]["description"] = "{{char}} commands a lighthouse tender. ".repeat(40).into();
    let mut state = state(&[long]);
    state.access.keys = ["first", "second"].into_iter().collect();
    let server = serve(state);
    let anybody = matou_engine::ClientId::ANYBODY;
    let models = &server.state.models;
    let lease = models
        .acquire(Some("captain-ada"), anybody, None)
        .await
        .unwrap();
    let warm = lease.warm().await.unwrap();
    drop(lease);
    let cached = async |key: &str, said: &str| {
        let body = json!({
            "model": "captain-ada", "messages": [{"role": "user", "content": said}],
        });
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .header("x-api-key", key);
        let reply = server
            .send(request.body(Body::from(body.to_string())).unwrap())
            .await;
        let usage = &reply.json()["usage"];
        let of = |value: &Value| value.as_u64().unwrap() as usize;
        (
            of(&usage["prompt_tokens_details"]["cached_tokens"]),
            of(&usage["prompt_tokens"]),
        )
    };
    let secret = "What did I say about my neighbour? ".repeat(10);
    for key in ["first", "second"] {
        let (first, all) = cached(key, &secret).await;
        assert!(
            first <= warm && first + 16 > warm,
            "{key}: {first} of {warm}"
        );
        let (again, _) = cached(key, &secret).await;
        assert!(again + 16 >= all && again > warm, "{key}: {again} of {all}");
    }
}

#[tokio::test]
async fn answers_are_kept_as_hashes_streamed_or_not_and_as_far_as_they_came() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = |path: &Path| Some(Arc::new(ProvenanceLog::open(path).unwrap()));
    let server = serve(state(&[card()]).with_provenance(log(&path)));
    let chat = "/v1/chat/completions";
    server.post(chat, &asks(chat, false)).await;
    server
        .post("/v1/messages", &asks("/v1/messages", true))
        .await;
    // One goes away in the middle.
    let body = server.open(chat, &asks(chat, true)).await;
    let mut frames = body.into_data_stream();
    for _ in 0..40 {
        frames.next().await;
    }
    drop(frames);
    server.idle().await;
    server.post("/v1/embeddings", &json!({"input": SAID})).await;
    drop(server);
    // The log is written when its last holder has gone.
    let mut found = verify(&path, SAID).unwrap();
    for _ in 0..100 {
        if found.records == 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        found = verify(&path, SAID).unwrap();
    }
    assert_eq!(found.records, 3);
    assert!((2..=3).contains(&found.whole.len()), "{found:?}");
    assert_eq!(found.whole[0].persona.as_deref(), Some("captain-ada"));
    assert_eq!(found.whole[0].request, "test");
    assert!(!std::fs::read_to_string(&path).unwrap().contains("tide"));
}

/// What is kept is what is said: a short answer is recognised though it was thought about.
#[tokio::test]
async fn thoughts_are_not_among_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let said = "I weigh the tides, the wind and the moon at some length here.</think>Paris.";
    let state = AppState::new(conversing(&[("", said)], THINKING, 4096));
    let log = Arc::new(ProvenanceLog::open(&path).unwrap());
    let server = serve(state.with_provenance(Some(Arc::clone(&log))));
    let body = json!({"messages": [{"role": "user", "content": "Where?"}]});
    let reply = server.post("/v1/chat/completions", &body).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "Paris.");
    drop(server);
    for _ in 0..500 {
        if verify(&path, "Paris").unwrap().records == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(verify(&path, "Paris").unwrap().whole.len(), 1);
}
