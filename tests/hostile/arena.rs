//! A server under attack, and the honest client beside it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::harness::{Server, matou};
use crate::model;
use crate::process::{Taken, taken};

/// What everything beyond weights and keys and values may take, the processes of grammars and templates
/// included.
const MEMORY: usize = 256 << 20;
/// What weights and keys and values take: half a megabyte and [`KV_CACHE`].
const MODEL: usize = 17 << 20;
/// What the server may keep when all is over: allocators do not give all back, and caches are for
/// keeping.
const KEPT: usize = 160 << 20;
/// What the cache of keys and values has.
const KV_CACHE: &str = "16MiB";
/// Longest time that a stream of the honest client may stand still, and that it may wait for anything.
const PATIENCE: Duration = Duration::from_secs(1);
/// Nothing takes longer unless it hangs.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// The keys of the two.
pub(crate) const HOSTILE: &str = "hostile";
pub(crate) const HONEST: &str = "honest";

static TURN: Mutex<()> = Mutex::const_new(());

/// A server on a tiny model, with the tests' turn.
pub(crate) struct Arena {
    pub(crate) server: Server,
    pub(crate) client: Client,
    start: Taken,
    _folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Arena {
    /// A server with a key for each of the two.
    pub(crate) async fn new() -> Self {
        Self::with(&["--api-key", "hostile,honest"]).await
    }

    /// A server with further arguments.
    pub(crate) async fn with(arguments: &[&str]) -> Self {
        Self::with_template(model::TEMPLATE, arguments).await
    }

    /// A server of a model with this chat template.
    pub(crate) async fn with_template(template: &str, arguments: &[&str]) -> Self {
        Self::started(template, arguments, |command| command).await
    }

    /// A server whose command line is changed before it runs.
    pub(crate) async fn started(
        template: &str,
        arguments: &[&str],
        change: impl FnOnce(Command) -> Command,
    ) -> Self {
        let turn = TURN.lock().await;
        let folder = TempDir::new().unwrap();
        model::write(folder.path(), template);
        let server = Server::spawn(change(command(folder.path(), arguments)));
        let arena = Self {
            start: Taken::default(),
            client: Client::builder().timeout(HANG).build().unwrap(),
            server,
            _folder: folder,
            _turn: turn,
        };
        // What is made on first use is no leak.
        let body = json!({"prompt": "Hello", "max_tokens": 4, "guided_json": {"type": "integer"}});
        let warm = arena.post(HONEST, "/v1/completions", &body).await;
        assert_eq!(warm.status(), 200, "{}", warm.text().await.unwrap());
        Self {
            start: arena.taken(),
            ..arena
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url)
    }

    /// A request to be sent.
    pub(crate) fn request(&self, key: &str, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(key).json(body)
    }

    /// The response to a request.
    pub(crate) async fn post(&self, key: &str, path: &str, body: &Value) -> Response {
        self.request(key, path, body).send().await.unwrap()
    }

    /// Status and text of the response to a request.
    pub(crate) async fn ask(&self, key: &str, path: &str, body: &Value) -> (u16, String) {
        let response = self.post(key, path, body).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A value of `/metrics`.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let request = self.client.get(self.url("/metrics")).bearer_auth(HONEST);
        let text = request.send().await.unwrap().text().await.unwrap();
        let values = text
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .filter(|(series, _)| series.split('{').next() == Some(name))
            .map(|(_, value)| value.parse::<f64>().unwrap());
        let values: Vec<f64> = values.collect();
        assert!(!values.is_empty(), "no metric {name} in:\n{text}");
        values.iter().sum()
    }

    /// What the server's processes take.
    pub(crate) fn taken(&self) -> Taken {
        taken(self.server.id())
    }

    /// Attacks while the honest client goes on, and checks that it hardly noticed, and that all is given
    /// back.
    pub(crate) async fn attack<T>(&self, hostile: impl Future<Output = T>) -> T {
        let honest = Honest::start(self);
        let watch = Watch::start(self.server.id());
        let result = timeout(HANG, hostile).await.expect("the attack ends");
        self.given_back().await;
        let most = watch.stop().await;
        let waits = honest.stop().await;
        assert!(waits.longest <= PATIENCE, "the honest client: {waits:?}");
        self.is_idle().await;
        assert!(most <= MODEL + MEMORY, "{} MB at the peak", most >> 20);
        let kept = self.taken().memory.saturating_sub(self.start.memory);
        assert!(kept <= KEPT, "{} MB are not given back", kept >> 20);
        eprintln!(
            "{waits:?}, {} MB at the peak, {} MB kept",
            most >> 20,
            kept >> 20
        );
        result
    }

    /// Waits until only the honest client's own requests are at work.
    async fn given_back(&self) {
        let begin = Instant::now();
        loop {
            let (waiting, running) = (
                self.metric("matou:num_requests_waiting").await,
                self.metric("matou:num_requests_running").await,
            );
            let before = self.taken().ticks;
            sleep(Duration::from_millis(300)).await;
            // The honest client takes a part of a core itself; who computes for nobody takes one whole.
            let busy = self.taken().ticks.saturating_sub(before);
            if waiting <= 1.0 && running <= 1.0 && busy <= 24 {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "{running} run, {waiting} wait, {busy} ticks of 30 are used"
            );
        }
    }

    /// Waits until nothing is at work any more, and holds no blocks.
    async fn is_idle(&self) {
        let begin = Instant::now();
        let names = [
            "num_requests_waiting",
            "num_requests_running",
            "kv_blocks_used",
        ];
        loop {
            let mut left = 0.0;
            for name in names {
                left += self.metric(&format!("matou:{name}")).await;
            }
            if left == 0.0 {
                return;
            }
            assert!(
                begin.elapsed() < Duration::from_secs(5),
                "{left} are left of {names:?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Serves a model with small bounds.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let folder = folder.to_str().unwrap();
    let mut all = vec!["serve", folder, "--port", "0"];
    all.extend(["--kv-cache-memory", KV_CACHE, "--threads", "2"]);
    all.extend(arguments);
    matou(&all)
}

/// What the honest client saw.
#[derive(Debug, Default)]
struct Waits {
    longest: Duration,
    /// What it waited for the longest.
    what: &'static str,
    answers: usize,
}

impl Waits {
    fn note(&mut self, what: &'static str, since: &mut Instant) {
        let waited = since.elapsed();
        *since = Instant::now();
        if waited > self.longest {
            (self.longest, self.what) = (waited, what);
        }
    }
}

/// A client that streams one short answer after the other, and asks for the tokens of a text and for the
/// server's health between them. It has a thread of its own: what the hostile ones do in this process does
/// not count.
struct Honest {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Waits>,
}

impl Honest {
    fn start(arena: &Arena) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asks = Self::ask(arena.server.url.clone(), Arc::clone(&stop));
        let thread = std::thread::spawn(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(asks)
        });
        Self { stop, thread }
    }

    async fn ask(url: String, is_over: Arc<AtomicBool>) -> Waits {
        let client = Client::builder().timeout(HANG).build().unwrap();
        let post = async |path: &str, body: &Value| {
            let request = client.post(format!("{url}{path}")).bearer_auth(HONEST);
            again(request.json(body)).await
        };
        let question = json!({
            "messages": [{"role": "user", "content": "Tell me something."}],
            "max_tokens": 48, "stream": true, "ignore_eos": true,
        });
        let mut waits = Waits::default();
        while !is_over.load(Ordering::Relaxed) {
            let mut since = Instant::now();
            let sent = post("/v1/chat/completions", &question).await;
            let mut answer = sent.expect("the honest client is answered");
            assert_eq!(answer.status(), 200);
            waits.note("an answer to begin", &mut since);
            while answer.chunk().await.expect("its stream goes on").is_some() {
                waits.note("a token", &mut since);
            }
            let tokens = post("/tokenize", &json!({"prompt": "Some words."})).await;
            assert_eq!(tokens.expect("texts are tokenised").status(), 200);
            waits.note("/tokenize", &mut since);
            let health = again(client.get(format!("{url}/health"))).await;
            assert_eq!(health.expect("health is told").status(), 200);
            waits.note("/health", &mut since);
            waits.answers += 1;
            sleep(Duration::from_millis(20)).await;
        }
        waits
    }

    /// What it saw until now.
    async fn stop(self) -> Waits {
        self.stop.store(true, Ordering::Relaxed);
        let ended = tokio::task::spawn_blocking(|| self.thread.join());
        ended.await.unwrap().expect("the honest client is well")
    }
}

/// Sends a request, and once more where the connection that it was to go over has just been closed, as clients'
/// libraries do: a server may close one that is idle whenever it likes.
async fn again(request: RequestBuilder) -> reqwest::Result<Response> {
    let second = request.try_clone().unwrap();
    match request.send().await {
        Err(error) if error.is_request() && !error.is_timeout() => second.send().await,
        sent => sent,
    }
}

/// Watches the memory of a server.
struct Watch {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Watch {
    fn start(id: u32) -> Self {
        let (stop, most) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (is_over, highest) = (Arc::clone(&stop), Arc::clone(&most));
        let task = tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                highest.fetch_max(taken(id).memory, Ordering::Relaxed);
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self { stop, most, task }
    }

    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.most.load(Ordering::Relaxed)
    }
}
