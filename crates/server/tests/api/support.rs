//! A server whose model counts: after ` t17` comes ` t18`, after ` t127` the end.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use matou_chat::{ChatTemplate, TemplateSource, Tokenizer};
use matou_engine::{Engine, EngineConfig, SamplingParams};
use matou_history::History;
use matou_llm::{Llm, ModelCard};
use matou_model::{ForwardBatch, KvCacheDtype, LanguageModel, Logits, ModelError, ModelInfo};
use matou_server::{AppState, app};
use serde_json::{Value, json};
use tower::ServiceExt;

/// Tokens of the vocabulary: `<pad>`, `<s>`, `</s>`, then ` t3` to ` t127`.
pub(crate) const VOCAB_SIZE: usize = 128;
/// The token that ends a text.
pub(crate) const END: u32 = 2;
/// A step that reads this token fails.
pub(crate) const FAILING: u32 = 99;
/// Unix time of all answers.
pub(crate) const CREATED: u64 = 1_700_000_000;

struct PanicsAgain;

impl Drop for PanicsAgain {
    fn drop(&mut self) {
        panic!("as the test wants it");
    }
}

/// Prefers the next number, then the one after it. Its row is a function of the last token alone.
struct CountingModel {
    info: ModelInfo,
    /// How long a step takes.
    step: Duration,
    /// Its first step ends the engine: it panics with what panics once more.
    is_fatal: bool,
}

impl CountingModel {
    fn new(step: Duration, is_fatal: bool) -> Self {
        let info = ModelInfo {
            vocab_size: VOCAB_SIZE,
            hidden_size: 2,
            ..ModelInfo::default()
        };
        Self {
            info,
            step,
            is_fatal,
        }
    }
}

impl LanguageModel for CountingModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn kv_block_bytes(&self, _dtype: KvCacheDtype) -> usize {
        0
    }

    fn allocate_kv_cache(
        &mut self,
        _blocks: usize,
        _dtype: KvCacheDtype,
    ) -> Result<(), ModelError> {
        Ok(())
    }

    fn forward(&mut self, batch: &ForwardBatch) -> Result<Logits, ModelError> {
        thread::sleep(self.step);
        if batch.input_ids.contains(&FAILING) {
            return Err(ModelError::Forward("as the test wants it".to_owned()));
        }
        if self.is_fatal {
            std::panic::panic_any(PanicsAgain);
        }
        let mut logits = vec![0.0; batch.logits_indices.len() * VOCAB_SIZE];
        for (row, &index) in logits
            .chunks_exact_mut(VOCAB_SIZE)
            .zip(&batch.logits_indices)
        {
            let token = batch.input_ids[index as usize];
            row[successor(token) as usize] = 8.0;
            row[successor(successor(token)) as usize] = 6.0;
        }
        // A token's hidden state is its id, and one.
        let hidden = batch.hidden_indices.iter();
        let hidden = hidden.flat_map(|&row| [batch.input_ids[row as usize] as f32, 1.0]);
        Ok(Logits::new(logits, VOCAB_SIZE).with_hidden_states(hidden.collect()))
    }
}

fn successor(token: u32) -> u32 {
    if token as usize == VOCAB_SIZE - 1 {
        END
    } else {
        token + 1
    }
}

/// A request with further fields, or others.
pub(crate) fn with(mut request: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else {
        panic!("fields are an object")
    };
    request.as_object_mut().unwrap().extend(fields);
    request
}

/// The schema of the arguments that tools take: the name of one of two cities.
pub(crate) fn city() -> Value {
    json!({
        "type": "object",
        "properties": {"city": {"enum": ["Ulm", "Kiel"]}},
        "required": ["city"],
        "additionalProperties": false,
    })
}

/// A server to be asked.
pub(crate) struct TestServer {
    pub(crate) state: AppState,
    app: Router,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// A server with room for everything.
pub(crate) fn server() -> TestServer {
    server_with(EngineConfig::default(), Duration::ZERO, |_| {})
}

/// A server under `config` whose steps take `step`, changed by `change`.
pub(crate) fn server_with(
    config: EngineConfig,
    step: Duration,
    change: impl FnOnce(&mut AppState),
) -> TestServer {
    let mut state = Served::default().start(config, step);
    change(&mut state);
    serve(state)
}

/// A server with room for everything, whose model is served otherwise.
pub(crate) fn serving(config: EngineConfig, change: impl FnOnce(&mut Served)) -> TestServer {
    let mut served = Served::default();
    change(&mut served);
    serve(served.start(config, Duration::ZERO))
}

/// The same, which keeps conversations.
pub(crate) fn serving_with_history(
    config: EngineConfig,
    change: impl FnOnce(&mut Served),
) -> TestServer {
    let mut served = Served::default();
    change(&mut served);
    let state = served.start(config, Duration::ZERO);
    serve(state.with_history(History::in_memory().unwrap()))
}

/// The text side of the counting model, and what is told about it.
pub(crate) struct Served {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: Option<ChatTemplate>,
    pub(crate) card: ModelCard,
    /// The engine ends with its first step.
    pub(crate) is_fatal: bool,
}

impl Default for Served {
    fn default() -> Self {
        let folder = checkpoint();
        let tokenizer = Tokenizer::from_folder(&folder).unwrap();
        let source = TemplateSource::from_folder(&folder).unwrap().unwrap();
        let template = ChatTemplate::new(source, tokenizer.template_tokens()).unwrap();
        Self {
            tokenizer,
            template: Some(template),
            card: ModelCard {
                names: vec!["counter".to_owned(), "org/alias".to_owned()],
                created: 1_600_000_000,
                fingerprint: "fp_test".to_owned(),
                default_sampling: SamplingParams::greedy(),
                eos_token_ids: vec![END],
            },
            is_fatal: false,
        }
    }
}

impl Served {
    fn start(self, config: EngineConfig, step: Duration) -> AppState {
        let (engine, _thread) =
            Engine::start(Box::new(CountingModel::new(step, self.is_fatal)), config).unwrap();
        let template = self.template.map(Arc::new);
        let llm = Llm::new(engine, Arc::new(self.tokenizer), template, self.card);
        let mut state = AppState::new(llm);
        state.clock = || UNIX_EPOCH + Duration::from_secs(CREATED);
        state
    }
}

/// A server of `state`.
pub(crate) fn serve(state: AppState) -> TestServer {
    TestServer {
        app: app(state.clone()),
        state,
    }
}

fn checkpoint() -> PathBuf {
    matou_testkit::fixtures_dir().join("checkpoints/llama2")
}

impl TestServer {
    /// The model.
    pub(crate) fn llm(&self) -> Arc<Llm> {
        let resident = self.state.models.resident(None).unwrap();
        resident.expect("it was brought along")
    }

    /// Sends a request; returns when its response has ended.
    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    /// Sends a request whose answer need not be text: of its body, no more than that is told.
    pub(crate) async fn send_raw(&self, to: (Method, &str), headers: &[(&str, &str)]) -> Reply {
        let request = Request::builder().method(to.0).uri(to.1);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let response = self
            .app
            .clone()
            .oneshot(request.body(Body::empty()).unwrap());
        let (parts, body) = response.await.unwrap().into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        Reply {
            status: parts.status,
            headers: parts.headers,
            text: format!("{} bytes", bytes.len()),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_text(path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Reply {
        self.send(post(path, body)).await
    }

    /// Sends a request and leaves the response's body unread.
    pub(crate) async fn open(&self, path: &str, body: &Value) -> Body {
        let response = self
            .app
            .clone()
            .oneshot(post(path, &body.to_string()))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.into_body()
    }

    /// Waits until the engine has nothing left to do.
    pub(crate) async fn idle(&self) {
        for _ in 0..500 {
            let stats = self.llm().engine().stats();
            if stats.running == 0 && stats.waiting == 0 && stats.kv_blocks_used == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "the engine is still at work: {:?}",
            self.llm().engine().stats()
        );
    }
}

/// A request under a fixed name.
fn post(path: &str, body: &str) -> Request<Body> {
    let request = Request::post(path).header("x-request-id", "test");
    request
        .header("content-type", "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

impl Reply {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The messages of a stream, which must be framed as OpenAI frames it.
    #[track_caller]
    pub(crate) fn chunks(&self) -> Vec<Value> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        let mut frames: Vec<&str> = self.text.split_terminator("\n\n").collect();
        assert_eq!(frames.pop(), Some("data: [DONE]"));
        let message = |frame: &&str| frame.strip_prefix("data: ").map(serde_json::from_str);
        frames
            .iter()
            .map(|frame| message(frame).unwrap().unwrap())
            .collect()
    }

    /// Status, parameter, code and message of an error in OpenAI's shape.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, Option<String>, Option<String>, String) {
        let json = self.json();
        let error = json["error"].as_object().expect("an error object");
        assert_eq!(
            error.keys().collect::<Vec<_>>(),
            ["message", "type", "param", "code"]
        );
        let text = |key: &str| error[key].as_str().map(str::to_owned);
        assert!(text("type").is_some());
        (
            self.status.as_u16(),
            text("param"),
            text("code"),
            text("message").unwrap(),
        )
    }
}
