//! Work without a bound: what is computed for a request before its first token.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::arena::{Arena, HONEST, HOSTILE};

/// Grammars that would take for ever, or all memory.
fn endless_grammars() -> Vec<Value> {
    let nested =
        |depth: usize| (0..depth).fold("a".to_owned(), |inner, _| format!("({inner}){{1,999}}"));
    let either: Vec<Value> = (0..18)
        .map(|i| json!({"properties": {format!("p{i}"): {"type": "integer"}}}))
        .collect();
    vec![
        json!({"guided_json": {"type": "integer", "multipleOf": 429_496_729}}),
        json!({"guided_json": {"type": "number", "multipleOf": 0.000_429_1}}),
        json!({"guided_json": {"type": "integer", "allOf": [
            {"multipleOf": 99_991}, {"multipleOf": 99_989}, {"multipleOf": 99_971}]}}),
        json!({"guided_json": {"type": "string", "minLength": 400_000, "maxLength": 900_000}}),
        json!({"guided_json": {"allOf": either}}),
        json!({"guided_regex": nested(3)}),
        json!({"guided_regex": "(a|b)*a(a|b){24}c(a|b)*b(a|b){24}"}),
        json!({"guided_grammar": "start: /(.*a.{18})&(.*b.{17})/"}),
        json!({"guided_grammar": "root ::= a{1,9999}\na ::= b{1,9999}\nb ::= \"x\"{1,9999}"}),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grammar_that_never_ends_is_stopped_and_its_place_comes_back() {
    let arena = Arena::new().await;
    let attack = async {
        let ask = async |fields: Value| {
            let mut body = json!({"prompt": "x", "max_tokens": 4});
            body.as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            let begin = Instant::now();
            let (status, text) = arena.ask(HOSTILE, "/v1/completions", &body).await;
            eprintln!(
                "{status} after {:?}: {fields:.60} {text:.200}",
                begin.elapsed()
            );
            assert!([200, 400, 429].contains(&status), "{status}: {text}");
            assert!(text.len() < 3000, "{} bytes for {fields}", text.len());
        };
        join_all(endless_grammars().into_iter().map(ask)).await;
        let body = json!({"prompt": "x", "max_tokens": 40, "guided_json": {"type": "boolean"}});
        let begin = Instant::now();
        let (status, text) = arena.ask(HONEST, "/v1/completions", &body).await;
        assert_eq!(status, 200, "{text}");
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            begin.elapsed()
        );
    };
    arena.attack(attack).await;
}

/// Grammars that are only stopped by their process's limits, on memory or time, one after the other: other
/// clients' texts and grammars do not wait for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grammars_that_are_stopped_leave_places_to_others() {
    let arena = Arena::new().await;
    let attack = async {
        let ask = async |i: usize| {
            let multiple = 429_496_729 - 2 * i;
            let grammar =
                format!(r#"start: %json {{"type": "integer", "multipleOf": {multiple}}}"#);
            let names = (0..5000).map(|j| (format!("k{i}_{j}"), json!({"type": "string"})));
            let object = json!({"properties": names.collect::<serde_json::Map<_, _>>()});
            for fields in [
                json!({"guided_grammar": grammar}),
                json!({"guided_json": object}),
            ] {
                let mut body = json!({"prompt": "x", "max_tokens": 4});
                body.as_object_mut()
                    .unwrap()
                    .extend(fields.as_object().unwrap().clone());
                // How far they get depends on the machine.
                let (status, text) = arena.ask(HOSTILE, "/v1/completions", &body).await;
                assert!([200, 400, 429].contains(&status), "{status}: {text:.300}");
            }
        };
        let usual = async {
            for i in 0..6 {
                let name = format!("name{i}");
                let schema = json!({"properties": {name: {"type": "integer"}}});
                let body = json!({"prompt": "x", "max_tokens": 4, "guided_json": schema});
                let begin = Instant::now();
                let (status, text) = arena.ask(HONEST, "/v1/completions", &body).await;
                let waited = begin.elapsed();
                assert_eq!(status, 200, "{text}");
                assert!(
                    waited < Duration::from_secs(3),
                    "its grammar took {waited:?}"
                );
                sleep(Duration::from_millis(300)).await;
            }
        };
        tokio::join!(join_all((0..6).map(ask)), usual);
    };
    arena.attack(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_are_refused_and_hold_nobody_up() {
    let arena = Arena::new().await;
    let words: Vec<String> = (0..30_000).map(|i| format!("w{i}")).collect();
    let ids: Vec<usize> = (0..1_000_000).map(|i| i % 250).collect();
    let long = "s".repeat(100_000);
    let bodies = [
        json!({"dry_multiplier": 1.0, "dry_sequence_breakers": words}),
        json!({"bad_words": words}),
        json!({"bad_words": vec![&long; 20]}),
        json!({"stop": vec![&long; 64], "n": 128}),
        json!({"stop_token_ids": ids}),
        json!({"guided_choice": words}),
        json!({"logit_bias": words.iter().map(|w| (w.clone(), json!(1))).collect::<serde_json::Map<_, _>>()}),
        json!({"cache_salt": long}),
        json!({"unknown": vec![json!([]); 1_000_000]}),
        json!({"chat_template_kwargs": {"a": vec![json!({}); 500_000]}}),
    ];
    let attack = async {
        let ask = async |fields: &Value| {
            let mut body = json!({"messages": [{"role": "user", "content": "x"}], "max_tokens": 4});
            body.as_object_mut()
                .unwrap()
                .extend(fields.as_object().unwrap().clone());
            let (status, text) = arena.ask(HOSTILE, "/v1/chat/completions", &body).await;
            assert!(
                [200, 400, 413, 429].contains(&status),
                "{status}: {text:.300}"
            );
            assert!(text.len() < 3000 || status == 200, "{} bytes", text.len());
        };
        join_all(bodies.iter().chain(&bodies).map(ask)).await;
    };
    arena.attack(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_cannot_fit_are_refused_before_they_are_tokenised() {
    let arena = Arena::new().await;
    let attack = async {
        for text in [
            "x".repeat(1_300_000),
            "word ".repeat(260_000),
            " ".repeat(1_300_000),
            "\n1".repeat(600_000),
        ] {
            let chat = json!({"messages": [{"role": "user", "content": &text}], "max_tokens": 1});
            let raw = json!({"prompt": vec![&text; 8], "max_tokens": 1});
            let embed = json!({"input": vec![&text; 8]});
            let count = json!({"prompt": &text});
            let asked = join_all([
                arena.ask(HOSTILE, "/v1/chat/completions", &chat),
                arena.ask(HOSTILE, "/v1/completions", &raw),
                arena.ask(HOSTILE, "/v1/embeddings", &embed),
                arena.ask(HOSTILE, "/tokenize", &count),
            ]);
            for (status, text) in asked.await.into_iter().take(3) {
                assert!([400, 429].contains(&status), "{status}: {text:.300}");
                assert!(
                    status != 400 || text.contains("context_length_exceeded"),
                    "{text:.300}"
                );
            }
        }
    };
    arena.attack(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_is_not_computed() {
    let arena = Arena::new().await;
    let text = "some words, and more of them ".repeat(200);
    let attack = async {
        let body = json!({"input": vec![&text; 2000]});
        for _ in 0..6 {
            let request = arena.request(HOSTILE, "/v1/embeddings", &body);
            let sent = request.timeout(Duration::from_millis(150)).send().await;
            assert!(sent.is_err(), "it takes longer");
        }
    };
    arena.attack(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_keeps_its_word_whatever_is_computed() {
    let mut arena = Arena::with(&["--api-key", "hostile,honest", "--shutdown-timeout", "2"]).await;
    let text = "some words, and more of them ".repeat(200);
    let embed = json!({"input": vec![&text; 2000]});
    // Its process takes some seconds to come to its bound on memory.
    let grammar = r#"start: %json {"type": "integer", "multipleOf": 429496727}"#;
    let body = json!({"prompt": "x", "guided_grammar": grammar});
    for (path, body) in [("/v1/embeddings", &embed), ("/v1/completions", &body)] {
        for _ in 0..3 {
            tokio::spawn(arena.request(HOSTILE, path, body).send());
        }
    }
    sleep(Duration::from_millis(300)).await;
    let begin = Instant::now();
    arena.server.signal("TERM");
    let status = tokio::task::spawn_blocking(move || arena.server.wait())
        .await
        .unwrap();
    assert!(status.success(), "{status}");
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "{:?}",
        begin.elapsed()
    );
}
