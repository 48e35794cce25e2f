//! The processes that grammars and templates run in.

#![cfg(target_os = "linux")]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{PATIENCE, Server, tiny_model};

/// The processes that the process `parent` has started.
fn children(parent: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(|id| id.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn kill(process: u32) {
    let killed = Command::new("kill")
        .args(["-KILL", &process.to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
}

#[tokio::test]
async fn a_worker_that_is_killed_is_replaced_and_none_outlives_the_server() {
    let mut server = Server::start_model(&tiny_model(), &[]);
    let chat = json!({"messages": [{"role": "user", "content": " t5"}], "max_tokens": 2});
    server.chat(&chat).await;
    let before = children(server.id());
    assert!(
        !before.is_empty(),
        "templates run in a process of their own"
    );
    before.iter().for_each(|worker| kill(*worker));
    server.chat(&chat).await;
    let after = children(server.id());
    assert!(
        !after.is_empty() && after != before,
        "{before:?}, then {after:?}"
    );

    server.signal("KILL");
    server.wait();
    let begin = Instant::now();
    let lives = |worker: &u32| {
        let about = fs::read_to_string(format!("/proc/{worker}/cmdline")).unwrap_or_default();
        about.contains("__worker")
    };
    while after.iter().any(lives) {
        assert!(begin.elapsed() < PATIENCE, "{after:?} live on");
        std::thread::sleep(Duration::from_millis(10));
    }
}
