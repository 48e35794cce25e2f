//! A server under attack, and the honest client beside it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::harness::Server;
use crate::model;
use crate::process::{Taken, taken};

/// What everything beyond weights and keys and values may take.
const MEMORY: usize = 256 << 20;
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
        let turn = TURN.lock().await;
        let folder = TempDir::new().unwrap();
        model::write(folder.path(), template);
        let server = start(folder.path(), arguments);
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
            .filter(|line| line.split('{').next() == Some(name))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
        values.sum()
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
        let most = watch.stop().await.saturating_sub(self.start.memory);
        let (longest, answers) = honest.stop().await;
        assert!(
            longest <= PATIENCE,
            "the honest client waited for {longest:?} (it had {answers} answers)"
        );
        assert!(
            most <= MEMORY + (16 << 20),
            "{} MB more at the peak",
            most >> 20
        );
        let kept = self.taken().memory.saturating_sub(self.start.memory);
        assert!(kept <= KEPT, "{} MB are not given back", kept >> 20);
        eprintln!(
            "longest wait {longest:?}, {answers} honest answers, {} MB at the peak, {} MB kept",
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
}

/// Serves a model with small bounds.
fn start(folder: &Path, arguments: &[&str]) -> Server {
    let mut all = vec!["--kv-cache-memory", KV_CACHE, "--threads", "2"];
    all.extend(arguments);
    Server::launch(folder, &all)
}

/// A client that streams one short answer after the other, and asks for the server's health between them.
struct Honest {
    stop: Arc<AtomicBool>,
    task: JoinHandle<(Duration, usize)>,
}

impl Honest {
    fn start(arena: &Arena) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let client = Client::builder().timeout(HANG).build().unwrap();
        let (stream, health) = (arena.url("/v1/chat/completions"), arena.url("/health"));
        let task = tokio::spawn(async move {
            let (mut longest, mut answers) = (Duration::ZERO, 0);
            let body = json!({
                "messages": [{"role": "user", "content": "Tell me something."}],
                "max_tokens": 48, "stream": true, "ignore_eos": true,
            });
            while !is_over.load(Ordering::Relaxed) {
                let mut last = Instant::now();
                let mut note = |longest: &mut Duration| {
                    *longest = (*longest).max(last.elapsed());
                    last = Instant::now();
                };
                let request = client.post(&stream).bearer_auth(HONEST).json(&body);
                let mut response = request.send().await.expect("the honest client is answered");
                assert_eq!(response.status(), 200);
                note(&mut longest);
                while response
                    .chunk()
                    .await
                    .expect("its stream goes on")
                    .is_some()
                {
                    note(&mut longest);
                }
                let health = client.get(&health).send().await.expect("health is told");
                assert_eq!(health.status(), 200);
                note(&mut longest);
                answers += 1;
                sleep(Duration::from_millis(20)).await;
            }
            (longest, answers)
        });
        Self { stop, task }
    }

    /// The longest that it waited for anything, and how many answers it got.
    async fn stop(self) -> (Duration, usize) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the honest client is well")
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
