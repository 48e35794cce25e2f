//! Keys, origins and clients that dawdle.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request};
use futures_util::{StreamExt, stream};
use matou_engine::EngineConfig;
use matou_server::AppState;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::lifecycle::serve;
use crate::support::{Reply, TestServer, server, server_with};

fn changed(change: impl FnOnce(&mut AppState)) -> TestServer {
    server_with(EngineConfig::default(), Duration::ZERO, change)
}

fn locked() -> TestServer {
    changed(|state| state.access.keys = ["first", "second"].into_iter().collect())
}

async fn models(server: &TestServer, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::get("/v1/models");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn any_of_the_keys_opens_under_both_names() {
    let server = locked();
    for headers in [
        [("authorization", "Bearer first")],
        [("authorization", "bearer second")],
        [("x-api-key", "second")],
    ] {
        assert_eq!(models(&server, &headers).await.status, 200, "{headers:?}");
    }
}

#[tokio::test]
async fn without_a_known_key_the_answer_is_401() {
    let server = locked();
    for headers in [
        vec![],
        vec![("authorization", "Bearer third")],
        vec![("authorization", "Bearer ")],
        vec![("authorization", "first")],
        vec![("authorization", "Basic first")],
        vec![("x-api-key", "First")],
        // A key that is wrong is not made good by another header.
        vec![("authorization", "Bearer third"), ("x-api-key", "first")],
    ] {
        let reply = models(&server, &headers).await;
        let (status, _, code, _) = reply.error();
        assert_eq!(
            (status, code.as_deref()),
            (401, Some("invalid_api_key")),
            "{headers:?}"
        );
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
        assert!(reply.headers.contains_key("x-request-id"));
    }
    assert_eq!(server.get("/metrics").await.status, 401);
    assert_eq!(server.get("/no/such/url").await.status, 401);
    assert_eq!(server.get("/health").await.status, 200);
}

async fn preflight(server: &TestServer, origin: &str) -> HeaderMap {
    let request = Request::options("/v1/chat/completions")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization, content-type",
        );
    server
        .send(request.body(Body::empty()).unwrap())
        .await
        .headers
}

#[tokio::test]
async fn web_pages_are_let_in_by_their_origin() {
    let closed = preflight(&server(), "http://page.example").await;
    assert!(closed.get("access-control-allow-origin").is_none());

    let some =
        changed(|state| state.access.allowed_origins = vec!["http://page.example".to_owned()]);
    let headers = preflight(&some, "http://page.example").await;
    assert_eq!(
        headers["access-control-allow-origin"],
        "http://page.example"
    );
    assert_eq!(
        headers["access-control-allow-headers"],
        "authorization, content-type"
    );
    let other = preflight(&some, "http://other.example").await;
    assert!(other.get("access-control-allow-origin").is_none());

    let all = changed(|state| {
        state.access.allowed_origins = vec!["*".to_owned()];
        // A browser asks first without the key.
        state.access.keys = ["key"].into_iter().collect();
    });
    assert_eq!(
        preflight(&all, "http://x.example").await["access-control-allow-origin"],
        "*"
    );
    let reply = models(&all, &[("origin", "http://x.example")]).await;
    assert_eq!(reply.status, 401);
    assert_eq!(reply.headers["access-control-allow-origin"], "*");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_given_up() {
    let server = server();
    let begun = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(
        b"{\"messages\": [",
    ))]);
    let body = Body::from_stream(begun.chain(stream::pending()));
    let request = Request::post("/v1/chat/completions").body(body).unwrap();
    let (status, _, code, _) = server.send(request).await.error();
    assert_eq!((status, code.as_deref()), (408, Some("request_timeout")));
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = changed(|state| state.limits.header_timeout = Duration::from_millis(50));
    let served = serve(&server, Duration::ZERO).await;
    for sent in [
        "",
        "GET /health HTTP/1.1\r\nHost:",
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut connection = tokio::net::TcpStream::connect(served.address)
            .await
            .unwrap();
        connection.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let closed = tokio::time::timeout(
            Duration::from_secs(60),
            connection.read_to_string(&mut answer),
        );
        closed.await.expect("the server hangs up").unwrap();
    }
}

#[tokio::test]
async fn a_key_is_asked_for_before_the_body_is_read() {
    let request = Request::post("/v1/chat/completions").body(Body::from_stream(stream::pending::<
        Result<Bytes, std::io::Error>,
    >()));
    let reply = locked().send(request.unwrap()).await;
    assert_eq!(reply.error().0, 401);
    assert_eq!(reply.json()["error"]["param"], json!(null));
}

#[tokio::test]
async fn who_takes_nothing_of_what_is_sent_is_hung_up_on() {
    let server = changed(|state| state.limits.read_timeout = Duration::from_millis(100));
    let served = serve(&server, Duration::ZERO).await;
    let socket = TcpSocket::new_v4().unwrap();
    // So that little of the answers is taken by the system.
    socket.set_recv_buffer_size(4096).unwrap();
    let mut connection = socket.connect(served.address).await.unwrap();
    let ask = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(100);
    connection.write_all(ask.as_bytes()).await.unwrap();
    let open = async || {
        let metrics = server.get("/metrics").await.text;
        let lines = metrics
            .lines()
            .filter(|line| line.starts_with("matou:http_connections "));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().1.to_owned())
            .collect::<String>()
    };
    let wait_for = async |number: &str| {
        for _ in 0..1000 {
            if open().await == number {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} connections are open", open().await);
    };
    wait_for("1").await;
    wait_for("0").await;
}
