//! Who is served when: sequences count, keys take turns, and nobody chooses a place of their own.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use crate::arena::{Arena, HONEST, HOSTILE};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_of_many_answers_lets_others_pass() {
    let arena = Arena::new().await;
    let attack = async {
        // More than any request may ask for is refused; as much as it may is only one among others.
        let too_many = json!({"prompt": vec!["x"; 128], "n": 128, "max_tokens": 200});
        let (status, text) = arena.ask(HOSTILE, "/v1/completions", &too_many).await;
        assert_eq!(status, 400, "{text}");
        let many =
            json!({"prompt": vec!["x"; 16], "n": 128, "max_tokens": 200, "ignore_eos": true});
        let hostile = tokio::spawn(arena.request(HOSTILE, "/v1/completions", &many).send());
        sleep(Duration::from_millis(500)).await;
        for key in [HONEST, HOSTILE] {
            let begin = Instant::now();
            let one = json!({"prompt": "y", "max_tokens": 1});
            let (status, text) = arena.ask(key, "/v1/completions", &one).await;
            // A full queue refuses whoever filled it, and nobody else.
            assert!(
                status == 200 || (status, key) == (429, HOSTILE),
                "{status}: {text}"
            );
            assert!(
                begin.elapsed() < Duration::from_secs(3),
                "{key}: {:?}",
                begin.elapsed()
            );
        }
        hostile.abort();
    };
    arena.attack(attack).await;
}

/// Long prompts and answers of one key that take every block of the cache.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_cache_has_room_for_who_has_nothing_in_it() {
    let arena = Arena::new().await;
    let attack = async {
        let ask = |i: usize| {
            let prompt = format!("{i} ").repeat(4000 / format!("{i} ").len());
            let body = json!({
                "prompt": prompt, "max_tokens": 4000, "ignore_eos": true, "stream": true,
            });
            tokio::spawn(arena.request(HOSTILE, "/v1/completions", &body).send())
        };
        let flood: Vec<_> = (100..124).map(ask).collect();
        let mut streams = Vec::new();
        for sent in flood {
            streams.push(sent.await.unwrap().unwrap());
        }
        let most = arena.metric("matou:kv_blocks_total").await;
        let begin = Instant::now();
        while arena.metric("matou:kv_blocks_used").await < 0.9 * most {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "it is never full"
            );
            sleep(Duration::from_millis(50)).await;
        }
        sleep(Duration::from_secs(5)).await;
    };
    arena.attack(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_priority_starves_others() {
    let arena = Arena::with(&["--api-key", "hostile,honest", "--max-num-seqs", "8"]).await;
    let attack = async {
        let body = json!({
            "prompt": "x", "max_tokens": 100, "ignore_eos": true, "priority": i32::MIN,
        });
        let flood = (0..40).map(|_| {
            let request = arena.request(HOSTILE, "/v1/completions", &body);
            let again = move || request.try_clone().unwrap();
            tokio::spawn(async move {
                for _ in 0..4 {
                    let _ = again().send().await;
                }
            })
        });
        let flood: Vec<_> = flood.collect();
        for task in flood {
            task.await.unwrap();
        }
    };
    arena.attack(attack).await;
}
