//! The chat page as a browser gets it, and how a browser signs in.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use matou_engine::EngineConfig;
use matou_history::History;
use matou_server::{AppState, Reach};
use serde_json::{Value, json};

use crate::support::{Reply, TestServer, server, server_with};

fn changed(change: impl FnOnce(&mut AppState)) -> TestServer {
    server_with(EngineConfig::default(), Duration::ZERO, change)
}

/// A key that nobody guesses, and one that could be.
const LONG: &str = "a-key-of-twenty-four-byte";
const SHORT: &str = "short";

fn locked() -> TestServer {
    changed(|state| state.access.keys = [LONG, SHORT].into_iter().collect())
}

async fn send(
    server: &TestServer,
    (method, path): (Method, &str),
    headers: &[(&str, &str)],
    body: Value,
) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = match body.is_null() {
        true => Body::empty(),
        false => Body::from(body.to_string()),
    };
    server.send(request.body(body).unwrap()).await
}

const HERE: (&str, &str) = ("sec-fetch-site", "same-origin");

/// The cookie of an answer, as it is sent back.
fn cookie(reply: &Reply) -> String {
    let cookie = reply.headers["set-cookie"].to_str().unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    cookie.split(';').next().unwrap().to_owned()
}

async fn sign_in(server: &TestServer, key: &str) -> String {
    let reply = send(
        server,
        (Method::POST, "/session"),
        &[HERE],
        json!({"key": key}),
    )
    .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(reply.json()["signed_in"], true);
    assert!(!reply.text.contains(key));
    cookie(&reply)
}

#[tokio::test]
async fn browsers_get_the_page_and_programs_a_line() {
    let server = locked();
    let html = [
        ("accept", "text/html,application/xhtml+xml"),
        ("accept-encoding", "gzip"),
    ];
    let page = server.send_raw((Method::GET, "/"), &html).await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers["content-encoding"], "gzip");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    for rule in [
        "default-src 'self'",
        "require-trusted-types-for 'script'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let line = server.get("/").await;
    assert!(line.text.starts_with("matou is running"), "{}", line.text);

    for path in matou_page::paths() {
        let reply = server
            .send_raw((Method::GET, &format!("/page/{path}")), &[])
            .await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(
            reply.headers.contains_key("content-security-policy"),
            "{path}"
        );
        let tag = reply.headers["etag"].to_str().unwrap().to_owned();
        let again = [("if-none-match", tag.as_str())];
        let again = server
            .send_raw((Method::GET, &format!("/page/{path}")), &again)
            .await;
        assert_eq!(again.status, 304, "{path}");
    }
    for path in ["/sw.js", "/manifest.webmanifest", "/favicon.ico"] {
        assert_eq!(
            server.send_raw((Method::GET, path), &[]).await.status,
            200,
            "{path}"
        );
    }
    for path in [
        "/page/",
        "/page/none.js",
        "/page/../Cargo.toml",
        "/page/%2e%2e/lib.rs",
        "/ca.pem",
    ] {
        let status = server.send_raw((Method::GET, path), &[]).await.status;
        assert!(status == 404 || status == 401, "{path}: {status}");
    }
}

#[tokio::test]
async fn a_browser_shows_its_key_once_and_stays_the_keys_owner() {
    let server = locked();
    let told = server.get("/session").await.json();
    assert_eq!(
        (told["needs_key"].as_bool(), told["signed_in"].as_bool()),
        (Some(true), Some(false))
    );
    let wrong = send(
        &server,
        (Method::POST, "/session"),
        &[HERE],
        json!({"key": "wrong"}),
    )
    .await;
    assert_eq!(wrong.error().0, 401);
    assert!(!wrong.headers.contains_key("set-cookie"));
    for bad in [json!({}), json!({"key": LONG, "token": "x"})] {
        let reply = send(&server, (Method::POST, "/session"), &[HERE], bad).await;
        assert_eq!(reply.error().0, 400);
    }

    let cookie = sign_in(&server, LONG).await;
    let signed = [("cookie", cookie.as_str()), HERE];
    let models = send(&server, (Method::GET, "/v1/models"), &signed, Value::Null).await;
    assert_eq!(models.status, 200);
    let told = send(&server, (Method::GET, "/session"), &signed, Value::Null)
        .await
        .json();
    assert_eq!(told["signed_in"], true);
    // A page of another origin has the browser send it, and gets nothing.
    for site in ["cross-site", "same-site"] {
        let other = [("cookie", cookie.as_str()), ("sec-fetch-site", site)];
        let reply = send(&server, (Method::GET, "/v1/models"), &other, Value::Null).await;
        assert_eq!(reply.error().0, 403, "{site}");
    }
    let old = [
        ("cookie", cookie.as_str()),
        ("origin", "http://evil.example"),
        ("host", "box.lan"),
    ];
    let reply = send(&server, (Method::GET, "/v1/models"), &old, Value::Null).await;
    assert_eq!(reply.status, 403, "an old browser says the origin only");
    let out = send(&server, (Method::DELETE, "/session"), &signed, Value::Null).await;
    assert!(
        out.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("Max-Age=0")
    );
    let models = send(&server, (Method::GET, "/v1/models"), &signed, Value::Null).await;
    assert_eq!(models.status, 401);
}

#[tokio::test]
async fn a_cookie_shows_what_its_key_has() {
    let server = changed(|state| {
        *state = state.clone().with_history(History::in_memory().unwrap());
        state.access.keys = [LONG, SHORT].into_iter().collect();
    });
    let cookie = sign_in(&server, LONG).await;
    let other = sign_in(&server, SHORT).await;
    let signed = [("cookie", cookie.as_str()), HERE];
    send(
        &server,
        (Method::POST, "/v1/history"),
        &signed,
        json!({"title": "Mine"}),
    )
    .await;
    let bearer = format!("Bearer {LONG}");
    let by_key = [("authorization", bearer.as_str())];
    let listed = send(&server, (Method::GET, "/v1/history"), &by_key, Value::Null)
        .await
        .json();
    assert_eq!(listed["data"][0]["title"], "Mine");
    let others = [("cookie", other.as_str()), HERE];
    let listed = send(&server, (Method::GET, "/v1/history"), &others, Value::Null)
        .await
        .json();
    assert_eq!(listed["data"], json!([]));
}

#[tokio::test]
async fn sign_ins_outlive_the_server_and_not_their_key() {
    let history = History::in_memory().unwrap();
    let start = |keys: &[&str]| {
        let (history, keys) = (history.clone(), keys.iter().copied().collect());
        changed(|state| {
            *state = state.clone().with_history(history);
            state.access.keys = keys;
        })
    };
    let cookie = sign_in(&start(&[LONG]), LONG).await;
    let signed = [("cookie", cookie.as_str()), HERE];
    let again = start(&[SHORT, LONG]);
    let models = send(&again, (Method::GET, "/v1/models"), &signed, Value::Null).await;
    assert_eq!(models.status, 200);
    let without = start(&[SHORT]);
    let models = send(&without, (Method::GET, "/v1/models"), &signed, Value::Null).await;
    assert_eq!(models.status, 401);
}

#[tokio::test]
async fn wrong_keys_can_be_tried_so_often_and_no_more() {
    let server = locked();
    let mut refused = 0;
    for number in 0..40 {
        let key = format!("guess {number}");
        let bearer = format!("Bearer {key}");
        // Both doors count together.
        let reply = match number % 2 {
            0 => {
                send(
                    &server,
                    (Method::POST, "/session"),
                    &[HERE],
                    json!({"key": key}),
                )
                .await
            }
            _ => {
                let shown = [("authorization", bearer.as_str())];
                send(&server, (Method::GET, "/v1/models"), &shown, Value::Null).await
            }
        };
        match reply.status.as_u16() {
            401 => assert_eq!(refused, 0, "{number}"),
            429 => {
                assert!(reply.headers.contains_key("retry-after"));
                refused += 1;
            }
            other => panic!("{other}: {}", reply.text),
        }
    }
    assert!(refused >= 15, "{refused}");
    // Whether a key that could be guessed is right is not told either; others are let in.
    let short = send(
        &server,
        (Method::POST, "/session"),
        &[HERE],
        json!({"key": SHORT}),
    )
    .await;
    assert_eq!(short.status, 429);
    sign_in(&server, LONG).await;
}

#[tokio::test]
async fn a_link_signs_a_telephone_in_once() {
    let server = changed(|state| {
        *state = state.clone().with_reach(Reach {
            is_secure: true,
            elsewhere: Some("https://192.168.1.5:8080".to_owned()),
            authority: Some("PEM".to_owned()),
        });
        state.access.keys = [LONG].into_iter().collect();
    });
    let post = (Method::POST, "/session/links");
    assert_eq!(
        send(&server, post.clone(), &[HERE], json!({})).await.status,
        401
    );
    let reply = send(
        &server,
        (Method::POST, "/session"),
        &[HERE],
        json!({"key": LONG}),
    )
    .await;
    assert!(
        reply.headers["set-cookie"]
            .to_str()
            .unwrap()
            .contains("; Secure")
    );
    let cookie = cookie(&reply);
    let link = send(
        &server,
        post,
        &[("cookie", cookie.as_str()), HERE],
        json!({}),
    )
    .await
    .json();
    let (base, token) = link["url"].as_str().unwrap().split_once("#login=").unwrap();
    assert_eq!(base, "https://192.168.1.5:8080/");
    assert!(link["qr"].as_str().unwrap().starts_with("<svg"));
    let token = json!({"token": token});
    let first = send(&server, (Method::POST, "/session"), &[HERE], token.clone()).await;
    assert_eq!(first.status, 200);
    let second = send(&server, (Method::POST, "/session"), &[HERE], token).await;
    assert_eq!(second.error().0, 401);
    assert_eq!(server.get("/ca.pem").await.text, "PEM");
}

#[tokio::test]
async fn reports_of_browsers_are_counted_and_nothing_else() {
    let server = server();
    let report = "x".repeat(100_000);
    for _ in 0..3 {
        let reply = server.post_text("/csp-report", &report).await;
        assert_eq!(reply.status, 204);
    }
    let metrics = server.get("/metrics").await.text;
    assert!(
        metrics.contains("page_policy_violations_total 3"),
        "{metrics}"
    );
}
