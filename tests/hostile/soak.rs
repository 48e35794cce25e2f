//! Everything at once: for some seconds, or for as long as `MATOU_SOAK_SECONDS` says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::arena::{Arena, HONEST, HOSTILE};
use crate::raw::{connect, send};

/// splitmix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % n as u64) as usize
    }
}

/// A request of any client.
fn request(random: &mut Random) -> (&'static str, Value) {
    let text = "some words and others ".repeat(1 + random.below(60));
    let messages = json!([{"role": "user", "content": text}]);
    match random.below(12) {
        0 => (
            "/v1/completions",
            json!({"prompt": text, "n": 1 + random.below(16), "max_tokens": 60, "logprobs": 5}),
        ),
        1 => (
            "/v1/completions",
            json!({"prompt": "x", "guided_regex": format!("(a{{1,{}}}){{1,300}}", 1 + random.below(900))}),
        ),
        2 => (
            "/v1/chat/completions",
            json!({"messages": messages, "stop": vec!["x".repeat(900); 60], "n": 8, "max_tokens": 30}),
        ),
        3 => (
            "/v1/responses",
            json!({"input": text, "max_output_tokens": 20}),
        ),
        4 => ("/v1/embeddings", json!({"input": vec![text; 40]})),
        5 => (
            "/v1/completions",
            json!({"prompt": "y".repeat(600_000), "max_tokens": 1}),
        ),
        6 => ("/tokenize", json!({"prompt": "word ".repeat(20_000)})),
        7 => (
            "/v1/completions",
            json!({"prompt": text, "prompt_logprobs": 5, "max_tokens": 1}),
        ),
        8 => (
            "/v1/chat/completions",
            json!({"messages": messages, "guided_json": {"type": "array", "items": {"enum": [1, 2, random.below(99)]}}, "max_tokens": 30}),
        ),
        9 => (
            "/v1/messages",
            json!({"model": "", "messages": messages, "max_tokens": 20, "stream": true}),
        ),
        10 => (
            "/api/chat",
            json!({"messages": messages, "options": {"num_predict": 20}}),
        ),
        _ => (
            "/v1/chat/completions",
            json!({"messages": messages, "stream": true, "max_tokens": 200, "ignore_eos": true, "priority": random.below(100)}),
        ),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak() {
    let seconds = std::env::var("MATOU_SOAK_SECONDS").map_or(6, |text| text.parse().unwrap());
    let arena = Arc::new(Arena::new().await);
    let end = Instant::now() + Duration::from_secs(seconds);
    let counted = Arc::new([const { AtomicUsize::new(0) }; 600]);
    let mut tasks = Vec::new();
    for i in 0..24_u64 {
        let (arena, counted) = (Arc::clone(&arena), Arc::clone(&counted));
        tasks.push(tokio::spawn(async move {
            let mut random = Random(i);
            let key = if i % 3 == 0 { HONEST } else { HOSTILE };
            while Instant::now() < end {
                let (path, body) = request(&mut random);
                match random.below(10) {
                    // Goes away, sooner or later.
                    0 | 1 => {
                        let patience = Duration::from_millis(random.below(400) as u64);
                        let request = arena.request(key, path, &body).timeout(patience);
                        let _ = request.send().await;
                    }
                    // Sends half of a request, or reads nothing of its answer.
                    2 => {
                        let body = body.to_string();
                        let sent = body.len() - random.below(2) * (body.len() / 2);
                        let head = format!(
                            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
                             Content-Length: {}\r\n\r\n",
                            body.len()
                        );
                        let mut stream = connect(&arena.server.url).await;
                        send(&mut stream, head.as_bytes()).await;
                        send(&mut stream, &body.as_bytes()[..sent]).await;
                        sleep(Duration::from_millis(random.below(3000) as u64)).await;
                    }
                    _ => match arena.request(key, path, &body).send().await {
                        Ok(response) => {
                            let status = usize::from(response.status().as_u16());
                            counted[status].fetch_add(1, Ordering::Relaxed);
                            let text = response.text().await.unwrap_or_default();
                            assert!(status < 500, "{status} at {path}: {text:.500}\n{body:.500}");
                        }
                        Err(error) => {
                            counted[0].fetch_add(1, Ordering::Relaxed);
                            eprintln!("{path}: {error}");
                        }
                    },
                }
            }
        }));
    }
    let mut memory = Vec::new();
    while Instant::now() < end {
        sleep(Duration::from_secs(1 + seconds / 60)).await;
        memory.push(arena.taken().memory >> 20);
    }
    for task in tasks {
        task.await.unwrap();
    }
    let begin = Instant::now();
    while arena.metric("matou:kv_blocks_used").await > 0.0 {
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "blocks are not given back"
        );
        sleep(Duration::from_millis(100)).await;
    }
    let statuses: Vec<_> = counted
        .iter()
        .enumerate()
        .filter_map(|(status, count)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then_some((status, count))
        })
        .collect();
    println!("statuses {statuses:?}");
    println!("MB: {memory:?}");
}
