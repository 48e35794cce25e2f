//! `matou status`: a running server at a glance, live in the terminal.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use matou_llm::open::human_bytes;
use serde_json::Value;

use super::terminal::print_all;

/// How often a live view is drawn.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Options of `matou status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The server.
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,

    /// Key of the server, where it wants one.
    #[arg(long, value_name = "KEY", hide_env_values = true)]
    api_key: Option<String>,

    /// Print once, as JSON.
    #[arg(long)]
    json: bool,

    /// Print once, for people; as is done where standard output is no terminal.
    #[arg(long)]
    once: bool,
}

/// Runs the command: until it is interrupted, if it is to be live.
pub(super) async fn run(args: StatusArgs) -> Result<()> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let first = fetch(&client, &args).await?;
    if args.json {
        return print_all(&format!("{}\n", serde_json::to_string_pretty(&first)?));
    }
    if args.once || !std::io::stdout().is_terminal() {
        return print_all(&draw(&first, None));
    }
    let (mut before, mut at) = (first, Instant::now());
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = fetch(&client, &args).await?;
        let seconds = at.elapsed().as_secs_f64();
        at = Instant::now();
        // From the upper left corner, over what was there.
        let text = draw(&now, Some((&before, seconds))).replace('\n', "\x1b[K\n");
        print!("\x1b[H{text}\x1b[J");
        std::io::stdout().flush()?;
        before = now;
    }
}

async fn fetch(client: &reqwest::Client, args: &StatusArgs) -> Result<Value> {
    let url = format!("{}/status", args.server.trim_end_matches('/'));
    let mut request = client.get(&url);
    if let Some(key) = &args.api_key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await;
    let response = response.with_context(|| format!("no server answers at {url}"))?;
    let status = response.status();
    ensure!(
        status != reqwest::StatusCode::UNAUTHORIZED,
        "the server wants a key: give it with --api-key or MATOU_API_KEY"
    );
    ensure!(status.is_success(), "{url} answers {status}: is it matou?");
    response
        .json()
        .await
        .with_context(|| format!("{url} does not answer as matou does"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The state of a server in words. With one from some seconds before, what happened since.
fn draw(status: &Value, before: Option<(&Value, f64)>) -> String {
    let mut text = String::new();
    let memory = &status["memory"];
    let budget = memory["budget"].as_u64();
    let budget = budget.map_or(String::new(), |bytes| format!(" of {}", human_bytes(bytes)));
    let version = status["version"].as_str().unwrap_or("?");
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "matou {version} · {} connections · memory {}{budget}\n",
        number(&status["connections"]),
        human_bytes(number(&memory["used"])),
    );
    let _ = writeln!(
        text,
        "{:28} {:14} {:>10} {:>8} {:>8} {:>9} {:>12} {:>8}",
        "MODEL", "STATE", "MEMORY", "RUNNING", "WAITING", "KV CACHE", "TOKENS/S", "CACHED"
    );
    let models = status["models"].as_array().map_or(&[][..], Vec::as_slice);
    for (i, model) in models.iter().enumerate() {
        let earlier = before.map(|(status, seconds)| (&status["models"][i], seconds));
        line(&mut text, model, earlier);
    }
    for adapter in status["adapters"].as_array().into_iter().flatten() {
        let of = |key: &str| adapter[key].as_str().unwrap_or("?");
        let _ = writeln!(
            text,
            "{:28} {:14} {:>10}  adapter of {}",
            of("name"),
            if adapter["loaded"] == true {
                "loaded"
            } else {
                "unloaded"
            },
            human_bytes(number(&adapter["bytes"])),
            of("model"),
        );
    }
    match number(&status["personas"]) {
        0 => {}
        n => {
            let _ = writeln!(text, "\n{n} personas");
        }
    }
    text
}

fn line(text: &mut String, model: &Value, before: Option<(&Value, f64)>) {
    let (told, engine) = (&model["status"], &model["engine"]);
    let state = told["value"].as_str().unwrap_or("?");
    let state = match (told["progress"].as_f64(), told["expires_in"].as_u64()) {
        (Some(progress), _) => format!("{state} {:.0} %", 100.0 * progress),
        (None, Some(seconds)) => format!("{state}, {seconds} s"),
        (None, None) if model["pinned"] == true => format!("{state}, pinned"),
        (None, None) => state.to_owned(),
    };
    let tokens = |model: &Value| number(&model["engine"]["generation_tokens"]);
    let speed = before.map(|(earlier, seconds)| {
        tokens(model).saturating_sub(tokens(earlier)) as f64 / seconds.max(0.001)
    });
    let (blocks, used) = (
        number(&engine["kv_blocks"]),
        number(&engine["kv_blocks_used"]),
    );
    let (prompt, cached) = (
        number(&engine["prompt_tokens"]),
        number(&engine["cached_tokens"]),
    );
    let share = |part: u64, all: u64| match all {
        0 => "-".to_owned(),
        _ => format!("{:.0} %", 100.0 * part as f64 / all as f64),
    };
    let waiting = number(&engine["waiting"]) + number(&model["requests"]["waiting"]);
    let _ = writeln!(
        text,
        "{:28} {state:14} {:>10} {:>8} {waiting:>8} {:>9} {:>12} {:>8}",
        model["name"].as_str().unwrap_or("?"),
        human_bytes(number(&told["bytes"])),
        number(&engine["running"]),
        share(used, blocks),
        speed.map_or("-".to_owned(), |speed| format!("{speed:.1}")),
        share(cached, prompt),
    );
    if let Some(gpu) = model["device"].as_str().filter(|device| *device != "CPU") {
        let _ = writeln!(text, "    on {gpu}");
    }
    if let Some(error) = told["error"].as_str() {
        let _ = writeln!(text, "    {error}");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(tokens: u64) -> Value {
        json!({
            "version": "1.2.3", "connections": 4,
            "memory": {"used": 3 << 29, "budget": 1_u64 << 31},
            "models": [
                {"name": "quick", "pinned": false, "requests": {"let_in": 1, "waiting": 2},
                 "device": "a card",
                 "status": {"value": "loaded", "bytes": 3 << 29, "expires_in": 60},
                 "engine": {"running": 1, "waiting": 3, "kv_blocks": 10, "kv_blocks_used": 5,
                            "prompt_tokens": 100, "cached_tokens": 25, "generation_tokens": tokens}},
                {"name": "big", "pinned": true, "requests": {"let_in": 0, "waiting": 0},
                 "status": {"value": "failed", "bytes": 7, "error": "no such file"}, "engine": null},
            ],
        })
    }

    #[test]
    fn a_server_is_seen_at_a_glance() {
        let text = draw(&status(150), Some((&status(100), 2.0)));
        for part in [
            "matou 1.2.3",
            "4 connections",
            "1.5 GiB of 2.0 GiB",
            "loaded, 60 s",
            "50 %",
            "25.0",
            "25 %",
            "    on a card\n",
            "no such file",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let quick = text.lines().find(|line| line.starts_with("quick")).unwrap();
        assert!(
            quick.split_whitespace().any(|word| word == "5"),
            "all that wait: {quick}"
        );
        assert!(draw(&status(1), None).contains("loaded"));
        assert!(draw(&json!({}), None).contains("matou ?"));
    }
}
