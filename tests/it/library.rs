//! Personas that clients add, change and delete while the server runs.

use std::path::Path;

use matou_persona::Persona;
use serde_json::{Value, json};

use crate::harness::{Server, keeping, tiny_model};

fn card(name: &str, description: &str) -> Value {
    json!({
        "spec": "chara_card_v2", "spec_version": "2.0",
        "data": {
            "name": name, "description": description, "personality": "", "scenario": "",
            "first_mes": " t40", "mes_example": "", "creator_notes": "", "system_prompt": "",
            "post_history_instructions": "", "alternate_greetings": [], "tags": [], "creator": "",
            "character_version": "", "extensions": {},
        },
    })
}

async fn call(
    server: &Server,
    method: &str,
    path: &str,
    body: impl Into<reqwest::Body>,
) -> (u16, Value) {
    let method = method.parse().unwrap();
    let request = server
        .client
        .request(method, format!("{}{path}", server.url));
    let response = request.body(body).send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (
        status,
        serde_json::from_str(&text).unwrap_or(Value::String(text)),
    )
}

fn serve(data: &Path, extra: &[&str]) -> Server {
    Server::spawn(keeping(data, &tiny_model(), extra))
}

#[tokio::test]
async fn a_persona_is_added_changed_and_deleted() {
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &[]);
    let first = card("Ada", " t30").to_string();
    let (status, added) = call(
        &server,
        "POST",
        "/v1/personas?filename=ada.json",
        first.clone(),
    )
    .await;
    assert_eq!(status, 200, "{added}");
    assert_eq!(
        (added["id"].as_str(), added["editable"].as_bool()),
        (Some("ada"), Some(true))
    );
    let ask =
        json!({"model": "ada", "messages": [{"role": "user", "content": " t5"}], "max_tokens": 2});
    server.chat(&ask).await;

    let (status, again) = call(&server, "POST", "/v1/personas", first).await;
    assert_eq!(status, 400, "there is one of this name: {again}");
    let (_, told) = call(&server, "GET", "/v1/personas/ada/card", "").await;
    assert_eq!(told["card"]["data"]["description"], " t30");
    let other = card("Ada", " t31").to_string();
    let (status, changed) = call(&server, "PUT", "/v1/personas/ada", other).await;
    assert_eq!(status, 200, "{changed}");
    let (_, told) = call(&server, "GET", "/v1/personas/ada/card", "").await;
    assert_eq!(told["card"]["data"]["description"], " t31");
    // Under another name it is another model.
    let renamed = card("Grace", " t32").to_string();
    let (_, changed) = call(&server, "PUT", "/v1/personas/ada", renamed).await;
    assert_eq!(changed["id"], "grace");
    assert_eq!(call(&server, "GET", "/v1/personas/ada", "").await.0, 404);

    for bad in ["", "no card", "{}", "{\"spec\": \"chara_card_v2\"}"] {
        let (status, error) = call(&server, "POST", "/v1/personas", bad).await;
        assert_eq!(status, 400, "{bad}: {error}");
    }
    // It speaks with a model that is not here: it is not served, and nothing of it stays.
    let mut lost = card("Lost", "");
    lost["data"]["extensions"] = json!({"matou": {"model": "nobody"}});
    let (status, error) = call(&server, "POST", "/v1/personas", lost.to_string()).await;
    assert_eq!(status, 400, "{error}");
    let folder = data.path().join("personas");
    let files = || std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files(), 1);

    drop(server);
    let server = serve(data.path(), &[]);
    let (_, kept) = call(&server, "GET", "/v1/personas/grace", "").await;
    assert_eq!(kept["editable"], true);
    let (status, _) = call(&server, "DELETE", "/v1/personas/grace", "").await;
    assert_eq!((status, files()), (200, 0));
    assert_eq!(call(&server, "GET", "/v1/personas/grace", "").await.0, 404);
}

#[tokio::test]
async fn a_picture_stays_when_the_words_change() {
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &[]);
    let old = Persona::read(card("Ada", " t30").to_string().as_bytes(), "ada.json").unwrap();
    let png = old.to_png(None).unwrap();
    let (status, added) = call(&server, "POST", "/v1/personas?filename=ada.png", png).await;
    assert_eq!(status, 200, "{added}");
    let picture = async || {
        let url = format!("{}/v1/personas/ada/picture", server.url);
        let response = server.client.get(url).send().await.unwrap();
        response.bytes().await.unwrap()
    };
    let before = picture().await;
    let other = card("Ada", " t31").to_string();
    assert_eq!(call(&server, "PUT", "/v1/personas/ada", other).await.0, 200);
    assert_eq!(picture().await, before);
    let (_, told) = call(&server, "GET", "/v1/personas/ada/card", "").await;
    assert_eq!(told["card"]["data"]["description"], " t31");
}

#[tokio::test]
async fn what_is_its_owners_is_not_changed() {
    let data = tempfile::tempdir().unwrap();
    let cards = tempfile::tempdir().unwrap();
    let path = cards.path().join("ada.json");
    std::fs::write(&path, card("Ada", " t30").to_string()).unwrap();
    let server = serve(data.path(), &["--personas", cards.path().to_str().unwrap()]);
    let (_, told) = call(&server, "GET", "/v1/personas/ada", "").await;
    assert_eq!(told["editable"], false);
    for (method, path) in [
        ("DELETE", "/v1/personas/ada"),
        ("PUT", "/v1/personas/ada"),
        ("GET", "/v1/personas/ada/card"),
    ] {
        let (status, error) = call(&server, method, path, card("Ada", "").to_string()).await;
        assert_eq!(status, 403, "{method} {path}: {error}");
    }
    assert!(path.exists());

    // With keys, only where the owner says so.
    let locked = |extra: &[&str]| {
        let mut command = keeping(data.path(), &tiny_model(), extra);
        command.env("MATOU_API_KEY", "a key that is long enough");
        Server::spawn(command)
    };
    let lent = locked(&["--allow-persona-editing"]);
    let url = format!("{}/v1/personas", lent.url);
    let post = lent.client.post(url);
    let post = post.bearer_auth("a key that is long enough");
    let added = post.body(card("Eve", "").to_string()).send().await.unwrap();
    assert_eq!(added.status(), 200);
    let locked = locked(&[]);
    let url = format!("{}/v1/personas", locked.url);
    let post = locked
        .client
        .post(url)
        .bearer_auth("a key that is long enough");
    let refused = post.body(card("Eve", "").to_string()).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let text = refused.text().await.unwrap();
    assert!(text.contains("--allow-persona-editing"), "{text}");
}
