//! Several models in one server, and its configuration.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};

use crate::commands::stdout;
use crate::harness::{PATIENCE, Server, matou, run};

/// Checkpoints that all speak the same vocabulary, each with other weights.
const NAMES: [&str; 5] = [
    "llama2",
    "llama3",
    "llama3.2",
    "mistral-v0.1",
    "mistral-nemo",
];
/// So that each takes some 70 MiB.
const SMALL: [&str; 4] = ["--max-model-len", "256", "--kv-cache-memory", "2MiB"];

fn path(name: &str) -> String {
    let folder = matou_testkit::fixtures_dir().join("checkpoints").join(name);
    folder.to_str().unwrap().to_owned()
}

/// A server of these models.
fn serving(names: &[&str], extra: &[&str]) -> Server {
    let paths: Vec<String> = names.iter().map(|name| path(name)).collect();
    let mut args = vec!["serve"];
    args.extend(paths.iter().map(String::as_str));
    args.extend(["--port", "0"].iter().chain(&SMALL).chain(extra));
    Server::spawn(matou(&args))
}

async fn get(server: &Server, path: &str) -> Value {
    let response = server
        .client
        .get(format!("{}{path}", server.url))
        .send()
        .await
        .unwrap();
    response.json().await.unwrap()
}

/// What a model answers in one of four dialects, and the status that it came with.
async fn ask(server: &Server, model: &str, dialect: usize, n: usize) -> (u16, String) {
    let messages = json!([{"role": "user", "content": format!(" t{n}")}]);
    let body = |more: Value| {
        let mut body = json!({"model": model, "temperature": 0});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let (path, body, pointer) = match dialect {
        0 => (
            "/v1/chat/completions",
            body(json!({"messages": messages, "max_tokens": 8})),
            "/choices/0/message/content",
        ),
        1 => (
            "/v1/responses",
            body(json!({"input": messages, "max_output_tokens": 16})),
            "/output/0/content/0/text",
        ),
        2 => (
            "/v1/messages",
            body(json!({"messages": messages, "max_tokens": 8})),
            "/content/0/text",
        ),
        _ => (
            "/api/chat",
            json!({"model": model, "messages": messages, "stream": false,
                   "options": {"temperature": 0, "num_predict": 8}}),
            "/message/content",
        ),
    };
    let (status, answer) = server.post(path, &body).await;
    let text = answer.pointer(pointer).and_then(Value::as_str);
    (
        status,
        text.map_or_else(|| answer.to_string(), str::to_owned),
    )
}

/// The state of each model by name.
async fn states(server: &Server) -> HashMap<String, String> {
    let models = get(server, "/status").await["models"].clone();
    let states = models.as_array().unwrap().iter().map(|model| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&model["name"]), text(&model["status"]["value"]))
    });
    states.collect()
}

async fn until(server: &Server, model: &str, state: &str) {
    let start = Instant::now();
    while states(server).await[model] != state {
        assert!(start.elapsed() < PATIENCE, "{model} does not get {state}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_share_a_budget_and_answer_as_each_does_alone() {
    let mut alone = HashMap::new();
    for name in &NAMES[..3] {
        let server = serving(&[name], &[]);
        for dialect in 0..4 {
            for n in 10..14 {
                let (status, text) = ask(&server, name, dialect, n).await;
                assert_eq!(status, 200, "{text}");
                alone.insert((*name, dialect, n), text);
            }
        }
    }
    let server = serving(&NAMES[..3], &["--memory", "150MiB"]);
    let all: Vec<_> = (0..120)
        .map(|i| (NAMES[i * 7 % 3], i * 5 % 4, 10 + i * 3 % 4))
        .collect();
    let mut waiting = all.iter();
    let answered = |job: (&'static str, usize, usize)| {
        let server = &server;
        async move { (job, ask(server, job.0, job.1, job.2).await) }
    };
    let mut running: FuturesUnordered<_> =
        waiting.by_ref().take(8).map(|job| answered(*job)).collect();
    while let Some((job, (status, text))) = running.next().await {
        assert_eq!((status, &text), (200, &alone[&job]), "{job:?}");
        running.extend(waiting.next().map(|job| answered(*job)));
        let memory = get(&server, "/status").await["memory"].clone();
        assert!(
            memory["used"].as_u64() <= memory["budget"].as_u64(),
            "{memory}"
        );
    }
    let loads = get(&server, "/status").await;
    let loads = loads["models"].as_array().unwrap().iter();
    assert!(
        loads
            .map(|model| model["loads"].as_u64().unwrap())
            .sum::<u64>()
            > 3
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_and_models_under_a_budget_for_one_do_not_thrash() {
    let server = serving(&NAMES, &["--memory", "80MiB"]);
    let clients = (0..50).map(|i| {
        let server = &server;
        async move {
            for round in 0..4 {
                let (status, text) = ask(server, NAMES[(i + round) % 5], 0, 10).await;
                assert_eq!(status, 200, "{text}");
            }
        }
    });
    futures_util::future::join_all(clients).await;
    let status = get(&server, "/status").await;
    let models = status["models"].as_array().unwrap().iter();
    let loads: u64 = models.map(|model| model["loads"].as_u64().unwrap()).sum();
    assert!((5..60).contains(&loads), "{loads} loads for 200 requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_see_what_is_in_memory_and_have_it_loaded_and_unloaded() {
    let server = serving(&NAMES[..2], &["--keep-alive", "1h"]);
    assert!(
        states(&server)
            .await
            .values()
            .all(|state| state == "unloaded")
    );
    let (status, _) = server
        .post("/models/load", &json!({"model": "llama3"}))
        .await;
    assert_eq!(status, 200);
    until(&server, "llama3", "loaded").await;
    let listed = get(&server, "/v1/models").await;
    let told = |i: usize| listed["data"][i]["status"]["value"].as_str().unwrap();
    assert_eq!((told(0), told(1)), ("unloaded", "loaded"));
    assert!(listed["data"][1]["status"]["expires_in"].as_u64().unwrap() <= 3600);
    let tags = get(&server, "/api/tags").await;
    assert_eq!(tags["models"].as_array().unwrap().len(), 2);
    let ps = get(&server, "/api/ps").await;
    assert_eq!(ps["models"].as_array().unwrap().len(), 1);
    assert_eq!(ps["models"][0]["name"], "llama3");

    // A model is described without being loaded.
    let (status, shown) = server
        .post("/api/show", &json!({"model": "llama2:latest"}))
        .await;
    assert_eq!(status, 200, "{shown}");
    assert!(!shown["template"].as_str().unwrap().is_empty());
    assert_eq!(states(&server).await["llama2"], "unloaded");

    // Ollama's clients load and unload by asking for nothing.
    let nothing = |keep: Value| json!({"model": "llama2", "keep_alive": keep});
    let (_, loaded) = server.post("/api/generate", &nothing(json!("5m"))).await;
    assert_eq!(
        (&loaded["done_reason"], &loaded["model"]),
        (&"load".into(), &"llama2".into())
    );
    let until_when = get(&server, "/status").await["models"][0]["status"]["expires_in"].clone();
    assert!(until_when.as_u64().unwrap() <= 300, "{until_when}");
    let (_, gone) = server.post("/api/generate", &nothing(json!(0))).await;
    assert_eq!(gone["done_reason"], "unload");
    until(&server, "llama2", "unloaded").await;
    let (status, wrong) = server.post("/api/generate", &nothing(json!("soon"))).await;
    assert_eq!(status, 400, "{wrong}");

    let (status, _) = server
        .post("/models/unload", &json!({"model": "llama3"}))
        .await;
    assert_eq!(status, 200);
    until(&server, "llama3", "unloaded").await;
    for (body, expected) in [
        (json!({"model": "llama3"}), 400),
        (json!({"model": "none"}), 404),
        (json!({}), 400),
    ] {
        assert_eq!(
            server.post("/models/unload", &body).await.0,
            expected,
            "{body}"
        );
    }
    let (status, refused) = server.post("/api/pull", &json!({"model": "smollm2"})).await;
    assert_eq!(status, 403, "{refused}");
    // Counters carry the model's name and outlive its stay in memory.
    let metrics = server
        .client
        .get(format!("{}/metrics", server.url))
        .send()
        .await
        .unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("matou:model_loads_total{model_name=\"llama3\",engine=\"0\"} 1"));
    let families = metrics.lines().filter(|line| line.starts_with("# TYPE"));
    let families: Vec<&str> = families.collect();
    let different: BTreeSet<&&str> = families.iter().collect();
    assert_eq!(
        families.len(),
        different.len(),
        "a family stands in one place"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unload_waits_for_the_stream_that_runs() {
    let server = serving(&NAMES[..1], &[]);
    let body = json!({"model": "llama2", "prompt": " t10", "max_tokens": 200, "ignore_eos": true,
                      "stream": true});
    let response = server
        .client
        .post(format!("{}/v1/completions", server.url))
        .json(&body);
    let mut stream = response.send().await.unwrap().bytes_stream();
    let mut text = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
    let (status, _) = server
        .post("/models/unload", &json!({"model": "llama2"}))
        .await;
    assert_eq!(status, 200);
    while let Some(part) = stream.next().await {
        text.push_str(std::str::from_utf8(&part.unwrap()).unwrap());
    }
    assert!(text.ends_with("data: [DONE]\n\n"));
    assert!(text.contains("\"finish_reason\":\"length\""), "{text}");
    until(&server, "llama2", "unloaded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_with_numbers_and_the_rest_is_served() {
    let huge = ["--memory", "80MiB", "--kv-cache-memory", "1GiB"];
    let output = run(&[&["serve", &path("llama2"), "--port", "0"], &huge[..]].concat());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(message.contains("the budget is 80.0 MiB"), "{message}");
    let pinned = serving(&NAMES[..2], &["--memory", "80MiB", "--pin", "llama2"]);
    let (status, answer) = ask(&pinned, "llama3", 0, 10).await;
    assert_eq!(status, 503, "{answer}");
    assert!(
        answer.contains("MiB") && answer.contains("pinned"),
        "{answer}"
    );
    assert_eq!(ask(&pinned, "llama2", 0, 10).await.0, 200);
    let (status, _) = pinned
        .post("/models/unload", &json!({"model": "llama2"}))
        .await;
    assert_eq!(status, 400, "it is pinned");
}

/// A configuration in a folder of its own.
fn configuration(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("matou.toml");
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_changes_over_and_loses_nothing() {
    let model = |name: &str, path: &str| format!("[[model]]\nname = {name:?}\nmodel = {path:?}\n");
    let base = "port = 0\nmax-model-len = 256\nkv-cache-memory = \"2MiB\"\n";
    let first = format!(
        "{base}api-key = [\"old\", \"both\"]\n{}",
        model("one", &path("llama2"))
    );
    let (_folder, file) = configuration(&first);
    let server = Server::spawn(matou(&["serve", "--config", file.to_str().unwrap()]));
    let chat = async |key: &str, model: &str| {
        let body = json!({"model": model, "prompt": " t10", "max_tokens": 20, "ignore_eos": true});
        let url = format!("{}/v1/completions", server.url);
        let request = server.client.post(url).bearer_auth(key).json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(
        (chat("old", "one").await, chat("new", "one").await),
        (200, 401)
    );
    let load = async {
        let mut statuses = BTreeSet::new();
        for _ in 0..60 {
            let all = (0..8).map(|_| chat("both", "one"));
            statuses.extend(futures_util::future::join_all(all).await);
        }
        statuses
    };
    let change = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let second = format!(
            "{base}api-key = [\"both\", \"new\"]\n{}{}",
            model("one", &path("llama2")),
            model("two", &path("llama3"))
        );
        std::fs::write(&file, second).unwrap();
        server.signal("HUP");
        let start = Instant::now();
        while chat("new", "two").await != 200 {
            assert!(start.elapsed() < PATIENCE, "the change is not taken over");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(chat("old", "one").await, 401);
        // A file that is wrong changes nothing.
        std::fs::write(&file, "prot = 1\n").unwrap();
        server.signal("HUP");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(chat("new", "two").await, 200);
    };
    let (statuses, ()) = tokio::join!(load, change);
    assert_eq!(statuses, BTreeSet::from([200]));
}

#[test]
fn a_configuration_is_checked_and_shown_with_where_it_comes_from() {
    let text = format!(
        "port = 1234\n[[model]]\nname = \"x\"\nmodel = {:?}\n",
        path("llama2")
    );
    let (_folder, file) = configuration(&text);
    let file = file.to_str().unwrap();
    assert!(stdout(&["config", "check", "--config", file]).contains("1 settings and 1 models"));
    let shown = matou(&["config", "show", "--config", file])
        .env("MATOU_API_KEY", "secret-one,secret-two")
        .env("MATOU_MAX_QUEUE_LEN", "7")
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let line = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("{name}: {shown}")).to_owned()
    };
    assert!(line("port").contains("1234") && line("port").ends_with("matou.toml:1"));
    assert!(line("max-queue-len").ends_with("MATOU_MAX_QUEUE_LEN"));
    assert!(line("host").ends_with("default"));
    assert!(line("api-key").contains("2 keys") && !shown.contains("secret"));
    for (text, expected) in [
        ("prot = 1", "did you mean `port`?"),
        ("[[model]]\nmodel = \"no-such-model\"", ":1: "),
        (
            "[[model]]\nname = \"x\"\nmodel = \"smollm2\"\n[[model]]\nname = \"x\"\nmodel = \"llama3.2\"",
            "already",
        ),
    ] {
        let (_folder, file) = configuration(text);
        let output = run(&["config", "check", "--config", file.to_str().unwrap()]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && message.contains(expected),
            "{message}"
        );
    }
    let twice = run(&["serve", &path("llama2"), &path("llama2"), "--port", "0"]);
    let message = String::from_utf8_lossy(&twice.stderr).into_owned();
    assert!(
        message.contains("two models are called `llama2`"),
        "{message}"
    );
}

#[test]
fn a_server_is_watched_from_the_terminal() {
    let server = serving(&NAMES[..2], &[]);
    let seen = stdout(&["status", &server.url]);
    assert!(
        seen.contains("llama2") && seen.contains("unloaded"),
        "{seen}"
    );
    let json: Value = serde_json::from_str(&stdout(&["status", &server.url, "--json"])).unwrap();
    assert_eq!(json["models"][1]["name"], "llama3");
    let nobody = run(&["status", "http://127.0.0.1:1"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("no server answers"));
}
