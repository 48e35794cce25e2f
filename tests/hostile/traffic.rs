//! Connections and bodies, before anything of them is a request.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::arena::{Arena, HOSTILE};
use crate::model::TEMPLATE;
use crate::raw::{connect, connect_with_little_room, exchange, read_all, send, status};

fn head(fields: &str) -> String {
    format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {HOSTILE}\r\n{fields}\r\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_bodies_take_no_memory_and_end() {
    let arena = Arena::with(&["--api-key", "hostile,honest", "--body-timeout", "3"]).await;
    let attack = async {
        let mut streams: Vec<TcpStream> = Vec::new();
        let chunk = vec![b' '; 1 << 20];
        for length in [32_000_000; 10].into_iter().chain([15_000_000; 10]) {
            let mut stream = connect(&arena.server.url).await;
            send(
                &mut stream,
                head(&format!("Content-Length: {length}\r\n")).as_bytes(),
            )
            .await;
            for _ in 0..14 {
                if !send(&mut stream, &chunk).await {
                    break;
                }
            }
            streams.push(stream);
        }
        let begin = Instant::now();
        for mut stream in streams {
            // Refused at once, or when the time for the body is up; never waited for.
            let (text, is_closed) = read_all(&mut stream, Duration::from_secs(10)).await;
            assert!(is_closed, "{text}");
            if !text.is_empty() {
                assert!([408, 413, 429].contains(&status(&text)), "{text}");
            }
        }
        assert!(
            begin.elapsed() < Duration::from_secs(8),
            "{:?}",
            begin.elapsed()
        );
    };
    arena.attack(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stated_is_refused_before_it_is_sent() {
    let arena = Arena::new().await;
    let (text, is_closed) =
        exchange(&arena.server.url, &head("Content-Length: 10000000000\r\n")).await;
    assert_eq!((status(&text), is_closed), (413, true), "{text}");
    let twice = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    let smuggled = "0\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for fields in [twice, "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"] {
        let (text, is_closed) = exchange(&arena.server.url, &(head(fields) + smuggled)).await;
        assert_eq!((status(&text), is_closed), (400, true), "{text}");
        assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    }
    let packed = "Content-Encoding: gzip\r\nContent-Length: 2\r\nConnection: close\r\n";
    let (text, _) = exchange(&arena.server.url, &(head(packed) + "{}")).await;
    assert_eq!(status(&text), 415, "{text}");
    // In pieces without a length, as some clients send it, a body is fine.
    let chunked = "Transfer-Encoding: chunked\r\n";
    let body = r#"{"prompt": "x", "max_tokens": 1}"#;
    let body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let (text, is_closed) = exchange(&arena.server.url, &(head(chunked) + &body)).await;
    assert_eq!((status(&text), is_closed), (200, true), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_make_room() {
    let arena = Arena::with(&["--api-key", "hostile,honest", "--max-connections", "40"]).await;
    let attack = async {
        let mut streams = Vec::new();
        for i in 0..200 {
            let mut stream = connect(&arena.server.url).await;
            if i % 2 == 0 {
                send(&mut stream, b"POST / HTTP/1.1\r\nHost: localhost\r\n").await;
            }
            streams.push(stream);
        }
        sleep(Duration::from_secs(2)).await;
        let open = arena.metric("matou:http_connections").await;
        assert!(open <= 40.0, "{open} connections are open");
        assert!(arena.metric("matou:http_connections_evicted_total").await >= 150.0);
    };
    arena.attack(attack).await;
}

/// Who sends a byte now and then is never idle, and never done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_trickles_is_ended_by_a_deadline() {
    let arena = Arena::with(&[
        "--api-key",
        "hostile,honest",
        "--body-timeout",
        "2",
        "--idle-timeout",
        "2",
    ]);
    let arena = arena.await;
    let trickle = async |begin: String, piece: &str| {
        let mut stream = connect(&arena.server.url).await;
        send(&mut stream, begin.as_bytes()).await;
        let (mut reads, mut writes) = stream.split();
        let begun = Instant::now();
        let sends = async {
            while writes.write_all(piece.as_bytes()).await.is_ok() {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let mut answer = Vec::new();
        tokio::select! {
            () = sends => {}
            _ = reads.read_to_end(&mut answer) => {}
            () = sleep(Duration::from_secs(8)) => {}
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{piece:?} goes on: {answer:?}"
        );
        assert!(answer.is_empty() || status(&answer) == 408, "{answer}");
    };
    let attack = async {
        tokio::join!(
            trickle(head("Content-Length: 100000\r\n"), " "),
            trickle(head("Transfer-Encoding: chunked\r\n"), "1\r\n \r\n"),
            trickle(
                "POST / HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
                "A: b\r\n"
            ),
            trickle(String::new(), "\r\n"),
        )
    };
    arena.attack(attack).await;
}

/// Answers that nobody reads, of a page that is open to all and larger than most, are no reason to keep
/// connections from others, or to compute for whoever asks for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_takes_no_connection_from_others() {
    let arena = Arena::with(&["--api-key", "hostile,honest", "--max-connections", "40"]).await;
    let attack = async {
        let mut streams = Vec::new();
        for _ in 0..60 {
            // More than the system's buffers take.
            let ask = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(60);
            let mut stream = connect_with_little_room(&arena.server.url).await;
            send(&mut stream, ask.as_bytes()).await;
            streams.push(stream);
        }
        for _ in 0..4 {
            sleep(Duration::from_millis(500)).await;
            let ask = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let (text, _) = exchange(&arena.server.url, ask).await;
            assert!(
                text.starts_with("HTTP/1.1 200"),
                "no room for another: {text:?}"
            );
        }
    };
    arena.attack(attack).await;
}

/// The system gives a process so many descriptors, and connections may not take the last of them.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_leave_descriptors() {
    let keys = ["--api-key", "hostile,honest"];
    let arena = Arena::started(TEMPLATE, &keys, |command| {
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -n 160; exec \"$0\" \"$@\""]);
        limited.arg(command.get_program()).args(command.get_args());
        limited.env("RUST_LOG", "error").stdin(Stdio::null());
        limited
    });
    let arena = arena.await;
    let attack = async {
        let mut streams = Vec::new();
        for _ in 0..400 {
            streams.push(connect(&arena.server.url).await);
        }
        sleep(Duration::from_secs(2)).await;
        // What needs descriptors beside its connection.
        let body = json!({"prompt": "x", "max_tokens": 4, "guided_json": {"type": "boolean"}});
        let (status, text) = arena.ask(HOSTILE, "/v1/completions", &body).await;
        assert_eq!(status, 200, "{text}");
    };
    arena.attack(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_holds_nobody_up() {
    let arena = Arena::new().await;
    let attack = async {
        let body = json!({
            "prompt": "x", "max_tokens": 2000, "n": 4, "stream": true, "ignore_eos": true,
            "logprobs": 20,
        })
        .to_string();
        let mut streams = Vec::new();
        for _ in 0..8 {
            let mut stream = connect(&arena.server.url).await;
            let request = head(&format!("Content-Length: {}\r\n", body.len())) + &body;
            send(&mut stream, request.as_bytes()).await;
            streams.push(stream);
        }
        sleep(Duration::from_secs(4)).await;
        drop(streams);
    };
    arena.attack(attack).await;
}
