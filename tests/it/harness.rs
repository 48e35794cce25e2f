//! Starts `matou`, finds out where it listens, and stops it again.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Nothing in these tests takes longer than this unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A command line of the `matou` under test.
pub(crate) fn matou(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_matou"));
    command
        .args(args)
        .env("RUST_LOG", "warn")
        // What belongs to whoever runs the tests is not touched.
        .env("MATOU_DATA_DIR", no_data())
        .env("MATOU_NO_HISTORY", "true")
        .stdin(Stdio::null());
    command
}

/// A folder that is not there.
fn no_data() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-data")
}

/// A command line of `matou serve` that keeps what it keeps in `data`.
pub(crate) fn keeping(data: &Path, model: &Path, extra: &[&str]) -> Command {
    let model = model.to_str().expect("a path in UTF-8");
    let mut command = matou(&["serve", model, "--kv-cache-memory", "256MiB"]);
    if !extra.contains(&"--port") {
        command.args(["--port", "0"]);
    }
    command.args(extra).env("MATOU_DATA_DIR", data);
    command.env_remove("MATOU_NO_HISTORY");
    command
}

/// Runs `matou` to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    matou(args).output().expect("matou starts")
}

/// The file of the default model, fetched on first use.
pub(crate) fn default_model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| {
        let output = run(&["pull"]);
        assert!(
            output.status.success(),
            "the default model cannot be fetched: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let stdout = String::from_utf8(output.stdout).expect("a path in UTF-8");
        PathBuf::from(stdout.lines().last().expect("pull prints the path").trim())
    })
}

/// A tiny checkpoint of random weights, whose token 17 is the text ` t17`.
pub(crate) fn tiny_model() -> PathBuf {
    matou_testkit::fixtures_dir().join("checkpoints/llama3.2")
}

/// A running `matou serve`, killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens, without a slash at the end.
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
}

impl Server {
    /// Serves the default model.
    pub(crate) fn start(extra: &[&str]) -> Self {
        Self::start_model(default_model(), extra)
    }

    /// Serves the model at `path` on a free port, and waits until it answers.
    pub(crate) fn start_model(path: &Path, extra: &[&str]) -> Self {
        let mut args = vec!["--kv-cache-memory", "256MiB"];
        args.extend(extra);
        Self::launch(path, &args)
    }

    /// The same, with all of its arguments.
    pub(crate) fn launch(path: &Path, extra: &[&str]) -> Self {
        let path = path.to_str().expect("a path in UTF-8");
        let mut args = vec!["serve", path, "--port", "0"];
        args.extend(extra);
        Self::spawn(matou(&args))
    }

    /// Runs a command line of `matou serve`, and waits until it answers.
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("matou starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let url = loop {
            let line = lines
                .next()
                .expect("the server says where it listens before it ends")
                .expect("stdout is UTF-8");
            if let Some((_, url)) = line.split_once("listening on ") {
                let url = url.split_whitespace().next().unwrap_or_default();
                break url
                    .trim_end_matches(|c: char| !c.is_ascii_digit())
                    .to_owned();
            }
        };
        // Keep reading, so that the server never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            url,
            client: reqwest::Client::new(),
        }
    }

    /// Posts JSON and returns status and parsed body.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self
            .client
            .post(format!("{}{path}", self.url))
            .json(body)
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.expect("a JSON body"))
    }

    /// Asks a question and returns the answer's text, which must come with status 200.
    pub(crate) async fn chat(&self, body: &Value) -> String {
        let (status, answer) = self.post("/v1/chat/completions", body).await;
        assert_eq!(status, 200, "{answer}");
        answer["choices"][0]["message"]["content"]
            .as_str()
            .expect("content")
            .to_owned()
    }

    /// Streams an answer and returns the data lines before `[DONE]`, parsed.
    pub(crate) async fn stream(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut body = body.clone();
        body["stream"] = json!(true);
        self.stream_of(path, &body).await
    }

    /// The same of an endpoint whose answers are streams.
    pub(crate) async fn stream_of(&self, path: &str, body: &Value) -> Vec<Value> {
        let response = self
            .client
            .post(format!("{}{path}", self.url))
            .json(body)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 200);
        let content_type = response.headers()["content-type"].to_str().expect("ASCII");
        assert!(
            content_type.starts_with("text/event-stream"),
            "{content_type}"
        );
        let text = response.text().await.unwrap();
        let mut events: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect();
        assert_eq!(events.pop(), Some("[DONE]"), "{text}");
        events
            .into_iter()
            .map(|event| serde_json::from_str(event).expect("JSON"))
            .collect()
    }

    /// The value of a gauge or counter of `/metrics`, all its labels summed.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self
            .client
            .get(format!("{}/metrics", self.url))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let values: Vec<f64> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .map(|(_, value)| value.parse().expect("a number"))
            .collect();
        assert!(!values.is_empty(), "no metric {name} in:\n{text}");
        values.iter().sum()
    }

    /// Waits until a metric fulfils a condition.
    pub(crate) async fn wait_for(&self, name: &str, condition: impl Fn(f64) -> bool) -> f64 {
        let start = Instant::now();
        loop {
            let value = self.metric(name).await;
            if condition(value) {
                return value;
            }
            assert!(start.elapsed() < PATIENCE, "{name} stays at {value}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name, as `kill` does.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the process to end by itself.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child can be waited for") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is fine: some tests stop it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command with an endless-loop guard and returns (success, stdout, stderr).
pub(crate) fn finish(mut command: Command) -> (bool, String, String) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdout = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let mut errors = String::new();
    child
        .stderr
        .take()
        .expect("piped")
        .read_to_string(&mut errors)
        .expect("UTF-8");
    let status = child.wait().expect("the child ends");
    (
        status.success(),
        reader.join().expect("no panic").expect("UTF-8"),
        errors,
    )
}
