//! `matou bench`, of models alone and of a server.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Server, run, tiny_model};

/// What a command prints as JSON, and the seconds that it took.
fn report(args: &[&str]) -> (Value, f64) {
    let begin = Instant::now();
    let output = run(args);
    let seconds = begin.elapsed().as_secs_f64();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    (serde_json::from_slice(&output.stdout).unwrap(), seconds)
}

fn tiny() -> String {
    tiny_model().to_str().unwrap().to_owned()
}

/// A quick measurement of the tiny model, and what else is asked for.
fn quick<'a>(tiny: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let args = [
        "bench",
        tiny,
        "-p",
        "40",
        "-g",
        "3",
        "-r",
        "2",
        "--max-reps",
        "2",
    ];
    [&args[..], more].concat()
}

#[test]
fn a_model_alone_is_measured_by_llama_benchs_protocol() {
    let tiny = tiny();
    let args = quick(
        &tiny,
        &[
            "-d",
            "0,5",
            "-b",
            "1-2",
            "--kv-cache-dtype",
            "f16,q8",
            "--threads",
            "1,2",
            "--quality",
            "--json",
        ],
    );
    let (report, outside) = report(&args);
    let cells = report["engine"].as_array().unwrap();
    let of = |threads: u64, kv: &str| -> Vec<&str> {
        let cells = cells
            .iter()
            .filter(|cell| cell["threads"] == threads && cell["kv_cache_dtype"] == kv);
        cells.map(|cell| cell["test"].as_str().unwrap()).collect()
    };
    let tests = [
        "pp40",
        "tg3",
        "tg3 batch 2",
        "pp40@d5",
        "tg3@d5",
        "tg3@d5 batch 2",
    ];
    for (threads, kv) in [(1, "f16"), (1, "q8"), (2, "f16"), (2, "q8")] {
        assert_eq!(of(threads, kv), tests);
    }
    let mut measured = 0.0;
    for cell in cells {
        let runs = cell["tokens_per_s"]["runs"].as_array().unwrap();
        assert_eq!(runs.len(), 2);
        let tokens = match cell["prompt"].as_f64().unwrap() {
            0.0 => 3.0 * cell["batch"].as_f64().unwrap(),
            prompt => prompt,
        };
        measured += runs
            .iter()
            .map(|run| tokens / run.as_f64().unwrap())
            .sum::<f64>();
        assert!(cell["roof"]["share"].as_f64().unwrap() > 0.0);
    }
    assert!(measured < outside, "{measured} s of figures in {outside} s");
    // The same computation, whatever the threads.
    let hashes: Vec<&Value> = report["quality"]
        .as_array()
        .unwrap()
        .iter()
        .map(|q| &q["greedy_sha256"])
        .collect();
    assert_eq!(hashes.len(), 4);
    assert_eq!((hashes[0], hashes[1]), (hashes[2], hashes[3]));
    assert_eq!(report["models"][0]["quantization"], "F32");
    assert!(report["models"][0]["sha256"]["model.safetensors"].is_string());
    assert_eq!(report["command"][0], "bench");
    for known in ["architecture", "logical_cores", "memory_bytes"] {
        assert!(!report["machine"][known].is_null(), "{known}");
    }
}

#[test]
fn a_report_is_checked_compared_and_reproduced() {
    let (tiny, folder) = (tiny(), tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (saved, page, better) = (path("saved.json"), path("page.html"), path("better.json"));
    let output = run(&quick(
        &tiny,
        &["--quality", "--save", &saved, "--html", &page, "--markdown"],
    ));
    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.contains("| llama3.2 | pp40 |"), "{table}");
    let page = fs::read_to_string(&page).unwrap();
    assert!(page.contains("<svg") && page.contains("tg3"));

    // An earlier report that was a thousand times as fast is not kept up with.
    let mut faster: Value = serde_json::from_str(&fs::read_to_string(&saved).unwrap()).unwrap();
    for cell in faster["engine"].as_array_mut().unwrap() {
        for figure in ["median", "low", "high"] {
            let value = cell["tokens_per_s"][figure].as_f64().unwrap();
            cell["tokens_per_s"][figure] = json!(1000.0 * value);
        }
    }
    fs::write(&better, faster.to_string()).unwrap();
    let output = run(&quick(&tiny, &["--check", &better]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        stderr.contains("2 figures are worse by more than 5.0 %"),
        "{stderr}"
    );
    assert!(
        run(&quick(&tiny, &["--check", &saved, "--tolerance", "100%"]))
            .status
            .success()
    );

    let output = run(&["bench", "compare", &saved, &better]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1000.000"),
        "{text}"
    );

    let output = run(&["bench", "--reproduce", &saved, "--csv"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        text.contains("times as good") && text.contains("llama3.2 tg3 "),
        "{text}"
    );
    assert!(!text.contains("computes otherwise"), "{text}");

    for (args, reason) in [
        (
            vec!["bench", "compare", &saved, "none.json"],
            "cannot read none.json",
        ),
        (
            vec!["bench", &tiny, "-p", "0", "-g", "0"],
            "nothing to measure",
        ),
        (
            vec!["bench", "--synthetic", "llama-9"],
            "use one of llama-3.2-1b",
        ),
        (vec!["bench", &tiny, "-p", "8-1"], "ends before it begins"),
        (
            vec!["bench", &tiny, "--html", "/no/such/folder/x.html"],
            "cannot write",
        ),
    ] {
        let output = run(&args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && stderr.contains(reason),
            "{args:?}: {stderr}"
        );
    }
}

#[test]
fn another_build_of_this_program_is_a_peer() {
    let model = matou_testkit::fixtures_dir().join("gguf/llama3.2-q8_0.gguf");
    let peer = format!("{} bench --json --max-reps 1", env!("CARGO_BIN_EXE_matou"));
    let (report, _) = report(&quick(
        model.to_str().unwrap(),
        &["--versus", &peer, "--json"],
    ));
    for cell in report["engine"].as_array().unwrap() {
        let peer = &cell["peers"][&peer];
        assert_eq!(peer["tokens_per_s"]["runs"].as_array().unwrap().len(), 2);
        assert_eq!(peer["comparison"]["verdict"], "open");
    }
    let output = run(&quick(
        model.to_str().unwrap(),
        &["--versus", "no-such-program"],
    ));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("cannot start no-such-program"), "{stderr}");
    // What was measured before somebody failed is kept.
    let folder = tempfile::tempdir().unwrap();
    let (script, saved) = (
        folder.path().join("peer.sh"),
        folder.path().join("saved.json"),
    );
    let figure = r#"{"test": "pp40", "tokens_per_s": 5.0}"#;
    fs::write(
        &script,
        format!(
            "case \"$*\" in *'--prompt 40'*) echo '{figure}';; *) echo broken >&2; exit 1;; esac"
        ),
    )
    .unwrap();
    let command = format!("sh {}", script.display());
    let args = ["--versus", &command, "--save", saved.to_str().unwrap()];
    let output = run(&quick(model.to_str().unwrap(), &args));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && stderr.contains("has failed: broken"),
        "{stderr}"
    );
    let kept: Value = serde_json::from_str(&fs::read_to_string(&saved).unwrap()).unwrap();
    assert_eq!(kept["engine"].as_array().unwrap().len(), 1);
    assert_eq!(kept["interrupted"], true);

    let output = run(&quick(&tiny(), &["--versus", &peer]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("is not a GGUF file"), "{stderr}");
}

/// Conversations that the tiny vocabulary can tell apart.
fn conversations(path: &Path, count: usize) {
    let text = |i: usize| {
        (0..40)
            .map(|j| format!(" t{}", (i * 37 + j * 11) % 200 + 20))
            .collect::<String>()
    };
    let lines = (0..count).map(|i| json!({"prompt": text(i)}).to_string() + "\n");
    fs::write(path, lines.collect::<String>()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_measured_and_its_own_counters_agree() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("conversations.jsonl");
    conversations(&file, 60);
    let server = Server::start_model(&tiny_model(), &[]);
    let args = [
        "bench",
        "serve",
        "--url",
        &server.url,
        "--completions",
        "--conversations",
        file.to_str().unwrap(),
        "--allow-repeats",
        "--concurrency",
        "1,4,4",
        "--rate",
        "200",
        "--requests",
        "12",
        "--answer-tokens",
        "7",
        "--goal",
        "ttft:60000",
        "--json",
    ];
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let measuring = tokio::task::spawn_blocking(move || {
        report(&args.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let (report, outside) = measuring.await.unwrap();
    let cells = report["serve"].as_array().unwrap();
    let names: Vec<&str> = cells
        .iter()
        .map(|cell| cell["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["1 client", "4 clients", "4 clients (2)", "200 requests/s"]
    );
    let sum = |field: &str| {
        cells
            .iter()
            .map(|cell| cell[field].as_f64().unwrap())
            .sum::<f64>()
    };
    assert_eq!(
        (sum("completed"), sum("completion_tokens")),
        (48.0, 48.0 * 7.0)
    );
    assert!(sum("seconds") < outside);
    for cell in cells {
        assert_eq!(cell["errors"], json!({}));
        assert_eq!(cell["records"].as_array().unwrap().len(), 12);
        assert_eq!(
            cell["goodput_per_s"], cell["requests_per_s"],
            "all keep so easy a goal"
        );
        // One less for each token that came in its answer's first chunk with others.
        let gaps = cell["itl_ms"]["count"].as_u64().unwrap();
        assert!((60..=72).contains(&gaps), "{gaps}");
        assert_eq!(
            cell["cached_tokens"], 0,
            "each was asked once: {:?}",
            report["findings"]
        );
    }
    // Two questions to see how it counts, with two tokens each, came before.
    let generated = server.metric("matou:generation_tokens_total").await;
    assert_eq!(generated, 48.0 * 7.0 + 4.0);
    let read = server.metric("matou:prompt_tokens_total").await;
    assert!(
        read >= sum("prompt_tokens") && read < sum("prompt_tokens") + 800.0,
        "{read}"
    );
}

#[test]
fn a_server_is_started_and_two_are_measured_turn_and_turn_about() {
    let tiny = tiny();
    let server = Server::start_model(&tiny_model(), &[]);
    let args = [
        "bench",
        "serve",
        &tiny,
        "--versus",
        &server.url,
        "--rounds",
        "2",
        "--concurrency",
        "2",
        "--requests",
        "4",
        "--answer-tokens",
        "5",
        "--quality",
        "--json",
        "--",
        "--kv-cache-memory",
        "64MiB",
    ];
    let (report, _) = report(&args);
    assert_eq!(report["server"]["started_here"], true);
    let versus = &report["versus"];
    assert_eq!(
        (
            report["serve"].as_array().unwrap().len(),
            versus["serve"].as_array().unwrap().len()
        ),
        (2, 2)
    );
    let speed = &versus["comparisons"]["2 clients: tokens/s"];
    assert_eq!(speed["ratio"]["runs"].as_array().unwrap().len(), 2);
    assert_eq!(speed["verdict"], "open", "two rounds prove nothing");
    let quality = report["quality"].as_array().unwrap();
    assert_eq!(quality[0]["greedy_sha256"], quality[1]["greedy_sha256"]);
    assert_eq!(quality[0]["kl_from_reference"], 0.0);
    let order: Vec<&str> = report["order"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["what"].as_str().unwrap())
        .collect();
    let ours = |what: &str| !what.ends_with(&server.url);
    assert_eq!(
        order[1..].iter().map(|what| ours(what)).collect::<Vec<_>>(),
        [true, false, false, true]
    );
}

#[test]
fn a_server_that_cannot_be_measured_is_named() {
    let output = run(&["bench", "serve", "--url", "http://127.0.0.1:9"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && stderr.contains("cannot reach http://127.0.0.1:9"),
        "{stderr}"
    );
    let server = Server::start_model(&tiny_model(), &["--api-key", "secret"]);
    let output = run(&["bench", "serve", "--url", &server.url, "--api-key", "wrong"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("refuses the key (status 401)"), "{stderr}");
    let output = run(&["bench", "serve"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && stderr.contains("--url"),
        "{stderr}"
    );
}

/// Ctrl-C keeps what was measured.
#[cfg(unix)]
#[test]
fn who_has_had_enough_gets_what_there_is() {
    use std::process::Stdio;

    let (tiny, folder) = (tiny(), tempfile::tempdir().unwrap());
    let saved = folder.path().join("saved.json");
    let args = [
        "bench",
        &tiny,
        "-p",
        "16",
        "-g",
        "0",
        "-r",
        "1000000",
        "--max-time",
        "1000",
        "--save",
        saved.to_str().unwrap(),
    ];
    let mut command = crate::harness::matou(&args);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The head of the table says that it has begun.
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert!(line.contains("tokens/s"), "{line}");
    let id = child.id().to_string();
    let told = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status()
        .unwrap();
    assert!(told.success());
    assert!(child.wait().unwrap().success());
    let report: Value = serde_json::from_str(&fs::read_to_string(&saved).unwrap()).unwrap();
    assert_eq!(report["interrupted"], true);
    assert_eq!(
        report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|f| f["kind"] == "interrupted")
            .count(),
        1
    );
    let cells = report["engine"].as_array().unwrap();
    assert!(cells.len() <= 1);
}
