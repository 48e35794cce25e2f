//! Every field of every type that `/openapi.json` describes, at every endpoint: it is obeyed there or
//! refused by its name, and what has to be an object is no list.

use std::collections::BTreeMap;

use matou_engine::EngineConfig;
use matou_server::known_fields;
use serde_json::{Value, json};

use crate::support::{Reply, TestServer, server, serving_with_history};
use crate::sweep::smallest;

/// Fields that hint at something or give leave.
const HINTS: [&str; 4] = [
    "keep_alive",
    "verbosity",
    "context_management",
    "truncation",
];
/// How often a type may lie inside of itself.
const MAX_DEPTH: usize = 6;

/// The endpoints that take JSON, with the schema of what they take.
fn endpoints(document: &Value) -> Vec<(&str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let body = |methods: &'_ Value| {
        methods
            .pointer("/post/requestBody/content/application~1json/schema")
            .is_some()
    };
    paths
        // What is of one conversation is tried in `history`.
        .filter(|(path, methods)| body(methods) && !path.contains('{'))
        .map(|(path, methods)| {
            let content = &methods["post"]["requestBody"]["content"];
            (path.as_str(), &content["application/json"]["schema"])
        })
        .collect()
}

/// The schema that `schema` stands for.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(name) => {
            let name = name.rsplit('/').next().unwrap();
            resolve(document, &document["components"]["schemas"][name])
        }
        None => schema,
    }
}

/// What a schema may be: itself, or one of several.
fn variants<'a>(document: &'a Value, schema: &'a Value) -> Vec<&'a Value> {
    let schema = resolve(document, schema);
    match schema["oneOf"].as_array() {
        Some(several) => several
            .iter()
            .flat_map(|one| variants(document, one))
            .collect(),
        None => vec![schema],
    }
}

/// The fields of an object, those of its parts too.
fn properties<'a>(document: &'a Value, schema: &'a Value) -> BTreeMap<&'a str, &'a Value> {
    let schema = resolve(document, schema);
    let parts = schema["allOf"].as_array().into_iter().flatten();
    let mut found: BTreeMap<_, _> = parts.flat_map(|part| properties(document, part)).collect();
    let own = schema["properties"].as_object().into_iter().flatten();
    found.extend(own.map(|(name, schema)| (name.as_str(), schema)));
    found
}

fn is_object(schema: &Value) -> bool {
    schema["type"] == "object"
        || schema["type"]
            .as_array()
            .is_some_and(|types| types.contains(&json!("object")))
        || schema["allOf"].is_array()
}

/// Whether JSON of any kind may be there.
fn is_free(document: &Value, schema: &Value) -> bool {
    variants(document, schema)
        .iter()
        .any(|schema| schema.get("type").is_none() && schema.get("allOf").is_none())
}

/// The paths of all objects inside of an object, and of those inside of them.
fn objects(document: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
    for (name, schema) in properties(document, schema) {
        let path = match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        for schema in variants(document, schema) {
            value(document, schema, &path, found);
        }
    }
}

fn value(document: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
    if path.split('.').count() > MAX_DEPTH {
        return;
    }
    if is_object(schema) {
        found.push(path.to_owned());
        objects(document, schema, path, found);
    }
    if schema.get("items").is_some() {
        for schema in variants(document, &schema["items"]) {
            value(document, schema, &format!("{path}[0]"), found);
        }
    }
}

/// A request with `leaf` at `path`, and nothing else.
fn request_with(path: &str, leaf: Value) -> Value {
    path.rsplit('.').fold(leaf, |inner, step| {
        let name = step.trim_end_matches("[0]");
        let lists = (step.len() - name.len()) / "[0]".len();
        let inner = (0..lists).fold(inner, |inner, _| json!([inner]));
        json!({name: inner})
    })
}

/// What an error of any dialect says.
fn message(reply: &Reply) -> String {
    let error = &reply.json()["error"];
    let message = error["message"].as_str().or(error.as_str());
    message.unwrap().to_owned()
}

async fn refuses(server: &TestServer, path: &str, request: &Value, name: &str) -> bool {
    let reply = server.post(path, request).await;
    reply.status == 400 && message(&reply).contains(&format!("`{name}"))
}

#[tokio::test]
async fn each_known_field_is_obeyed_or_refused_by_name_at_every_endpoint() {
    let server = server();
    let document = server.get("/openapi.json").await.json();
    let known = known_fields();
    assert!(known.len() > 120, "{}", known.len());
    let (mut obeyed, mut refused) = (0, 0);
    // What is kept and who signs in is no request for an answer: none of its fields is looked for there.
    let is_request =
        |(path, _): &(&str, _)| !path.starts_with("/v1/history") && *path != "/session";
    for (path, schema) in endpoints(&document).into_iter().filter(is_request) {
        let declared = properties(&document, schema);
        for name in declared.keys() {
            assert!(
                known.contains(name),
                "{path} has {name}, which nobody knows"
            );
        }
        for name in &known {
            let mut refusals = 0;
            for value in [json!({"asked": "for"}), json!("asked for")] {
                let mut request = smallest(path);
                request[*name] = value;
                refusals += usize::from(refuses(&server, path, &request, name).await);
            }
            match declared.get(name) {
                Some(schema) if is_free(&document, schema) => {}
                // It is read: it has a type, and one of the two is another.
                Some(_) => {
                    assert!(refusals > 0, "{path} skips {name}");
                    obeyed += 1;
                }
                // No answer depends on it.
                None if HINTS.contains(name) => {}
                None => {
                    assert_eq!(refusals, 2, "{path} skips {name}");
                    refused += 1;
                }
            }
        }
    }
    assert!(
        obeyed > 200 && refused > 1000,
        "{obeyed} obeyed, {refused} refused"
    );
}

#[tokio::test]
async fn a_list_is_not_an_object_anywhere() {
    let server = serving_with_history(EngineConfig::default(), |_| {});
    let document = server.get("/openapi.json").await.json();
    let mut tried = 0;
    for (path, schema) in endpoints(&document) {
        let mut found = Vec::new();
        objects(&document, schema, "", &mut found);
        for place in found {
            for list in [json!([]), json!([null]), json!([null, null, null])] {
                let request = request_with(&place, list);
                let reply = server.post(path, &request).await;
                assert_eq!(reply.status, 400, "{path} {request}: {}", reply.text);
                let message = message(&reply);
                assert!(
                    message.contains(&format!("`{place}`")),
                    "{request}: {message}"
                );
                tried += 1;
            }
        }
        let reply = server.post(path, &json!([null])).await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text);
    }
    assert!(tried > 150, "{tried} places");
}

#[tokio::test]
async fn a_default_of_other_servers_is_not_refused() {
    let server = server();
    let request = json!({
        "prompt": " t125", "top_a": 0.0, "tfs_z": 1, "top_logprobs": 0, "n_probs": 0, "min_keep": 0,
        "repeat_last_n": -1, "t_max_predict_ms": -1,
    });
    let reply = server.post("/v1/completions", &request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // Without a limit the answer would be longer than it is here.
    for (name, value) in [("top_a", 0.1), ("n_probs", 3.0), ("n_predict", -1.0)] {
        let request = json!({"prompt": " t125", name: value});
        assert!(refuses(&server, "/v1/completions", &request, name).await);
    }
}
