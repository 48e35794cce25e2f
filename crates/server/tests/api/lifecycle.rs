//! Clients that go away, and servers that stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::to_bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use matou_engine::{EngineConfig, FinishReason};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{TestServer, server_with, serving};

const CHAT: &str = "/v1/chat/completions";

/// A server whose steps are slow enough to be watched.
fn slow_server() -> TestServer {
    let config = EngineConfig {
        max_num_batched_tokens: 64,
        ..EngineConfig::default()
    };
    server_with(config, Duration::from_millis(10), |_| {})
}

fn endless() -> serde_json::Value {
    json!({"messages": [{"role": "user", "content": " t10"}], "stream": true, "ignore_eos": true})
}

#[tokio::test]
async fn disconnect_from_a_stream_frees_its_blocks_and_stops_the_work() {
    let server = slow_server();
    let mut stream = server.open(CHAT, &endless()).await.into_data_stream();
    assert!(stream.next().await.is_some());
    assert!(server.llm().engine().stats().kv_blocks_used > 0);
    drop(stream);
    server.idle().await;
    assert!(server.llm().engine().stats().generation_tokens < 100);
}

#[tokio::test]
async fn disconnect_in_the_prompt_stops_the_work_too() {
    let server = slow_server();
    // Sixty tokens a step: the prompt alone takes half a second.
    let long = json!({"messages": [{"role": "user", "content": " t10".repeat(3000)}]});
    let request = server.post(CHAT, &long);
    assert!(
        tokio::time::timeout(Duration::from_millis(150), request)
            .await
            .is_err()
    );
    server.idle().await;
    let stats = server.llm().engine().stats();
    assert_eq!((stats.generation_tokens, stats.prompt_tokens), (0, 0));
}

#[tokio::test]
async fn a_stop_string_stops_the_engine_too() {
    let server = slow_server();
    let mut request = endless();
    request["stop"] = " t13".into();
    let body = server.open(CHAT, &request).await;
    to_bytes(body, usize::MAX).await.unwrap();
    server.idle().await;
    let stats = server.llm().engine().stats();
    assert!(stats.generation_tokens < 20);
    // It counts as an answer, not as a client that went away.
    assert_eq!(stats.finished[FinishReason::Stop as usize], 1);
    assert_eq!(stats.finished[FinishReason::Aborted as usize], 0);
}

#[tokio::test]
async fn a_slow_prompt_is_bridged_by_comments() {
    let server = server_with(
        EngineConfig::default(),
        Duration::from_millis(100),
        |state| {
            state.limits.keep_alive = Duration::from_millis(20);
        },
    );
    let mut request = endless();
    request["max_tokens"] = 1.into();
    let reply = server.post(CHAT, &request).await;
    assert!(reply.text.starts_with(":\n\n:\n\n"), "{}", reply.text);
    assert!(reply.text.contains(r#""content":" t11""#), "{}", reply.text);
}

/// A server on a real socket, and how to stop it.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    done: JoinHandle<std::io::Result<()>>,
}

pub(crate) async fn serve(server: &TestServer, timeout: Duration) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _ = stopped.await;
    };
    let state = server.state.clone();
    let done = tokio::spawn(matou_server::serve(listener, state, shutdown, timeout));
    Served {
        address,
        stop,
        done,
    }
}

/// Sends a chat request over a connection of its own.
async fn connect(served: &Served, body: &serde_json::Value) -> TcpStream {
    let mut connection = TcpStream::connect(served.address).await.unwrap();
    let body = body.to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    connection
        .write_all((head + &body).as_bytes())
        .await
        .unwrap();
    connection
}

async fn read_to_end(mut connection: TcpStream) -> String {
    let mut text = Vec::new();
    connection.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn disconnect_of_a_socket_frees_its_blocks() {
    let server = slow_server();
    let served = serve(&server, Duration::ZERO).await;
    let mut streaming = connect(&served, &endless()).await;
    let mut start = [0; 15];
    streaming.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    drop(streaming);
    // And one who has not heard anything yet.
    let mut waiting = endless();
    waiting["stream"] = false.into();
    let waiting = connect(&served, &waiting).await;
    while server.llm().engine().stats().running == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(waiting);
    server.idle().await;
}

#[tokio::test]
async fn shutdown_lets_running_answers_finish() {
    let server = slow_server();
    let served = serve(&server, Duration::from_secs(30)).await;
    let mut request = endless();
    request["max_tokens"] = 30.into();
    let connection = connect(&served, &request).await;
    while server.llm().engine().stats().running == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    served.stop.send(()).unwrap();
    let text = read_to_end(connection).await;
    assert!(text.contains(r#""finish_reason":"length""#), "{text}");
    served.done.await.unwrap().unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn shutdown_cuts_what_runs_beyond_its_timeout() {
    let server = slow_server();
    let served = serve(&server, Duration::from_millis(100)).await;
    let connection = connect(&served, &endless()).await;
    while server.llm().engine().stats().running == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let start = Instant::now();
    served.stop.send(()).unwrap();
    let text = read_to_end(connection).await;
    assert!(text.contains(r#""code":"shutting_down""#), "{text}");
    assert!(text.contains("data: [DONE]"), "{text}");
    served.done.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn shutdown_hangs_up_on_those_who_do_not_listen() {
    let server = slow_server();
    let holders = Arc::strong_count(&server.llm());
    let served = serve(&server, Duration::from_millis(10)).await;
    // A request that never comes to its end.
    let mut connection = TcpStream::connect(served.address).await.unwrap();
    let head = format!("POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    served.stop.send(()).unwrap();
    served.done.await.unwrap().unwrap();
    // The model is the caller's again.
    assert_eq!(Arc::strong_count(&server.llm()), holders);
}

#[tokio::test]
async fn five_hundred_at_once_get_an_answer_or_a_429() {
    let config = EngineConfig {
        max_queue_len: 64,
        max_num_seqs: 8,
        ..EngineConfig::default()
    };
    let server = server_with(config, Duration::from_millis(1), |_| {});
    let request = json!({"messages": [{"role": "user", "content": " t10"}], "max_tokens": 5});
    let replies = join_all((0..500).map(|_| server.post(CHAT, &request))).await;
    let answered = replies.iter().filter(|reply| reply.status == 200).count();
    let refused = replies.iter().filter(|reply| reply.status == 429).count();
    assert_eq!(answered + refused, 500);
    assert!(
        answered >= 64 && refused > 0,
        "{answered} answered, {refused} refused"
    );
    server.idle().await;
    assert_eq!(server.post(CHAT, &request).await.status, 200);
}

#[tokio::test]
async fn a_server_whose_engine_has_ended_says_so_and_ends() {
    let server = serving(EngineConfig::default(), |served| served.is_fatal = true);
    let served = serve(&server, Duration::from_secs(5)).await;
    assert_eq!(server.get("/health").await.status, 200);
    let chat = json!({"messages": [{"role": "user", "content": " t10"}]});
    assert_eq!(server.post(CHAT, &chat).await.error().0, 500);
    server.llm().engine().ended().await;
    assert_eq!(server.get("/health").await.error().0, 500);
    assert_eq!(server.post(CHAT, &chat).await.error().0, 500);
    let ended = served.done.await.unwrap();
    assert!(
        ended
            .unwrap_err()
            .to_string()
            .contains("engine has stopped")
    );
}
