//! What a run of the benchmark leaves behind: one schema for everything that is measured, in which a
//! figure never stands without what it was measured on, how, and how often.
//!
//! `docs/benchmarking.md` describes each field for readers of the JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::{Conditions, Machine, Used};
use crate::stats::{Comparison, Distribution, Summary};

/// Name and version of the schema; a new one where a field changes its meaning.
pub const SCHEMA: &str = "matou-bench/1";

/// A run of the benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// When it began, in RFC 3339, UTC.
    pub created: String,
    /// Name and version of the program that measured.
    pub program: String,
    /// Its command line, without the program's own name and without keys.
    pub command: Vec<String>,
    /// The seed of everything that was drawn.
    pub seed: u64,
    /// The machine on which the program ran.
    pub machine: Machine,
    /// What it did before.
    pub before: Conditions,
    /// What it did afterwards.
    pub after: Conditions,
    /// Models that ran in this process.
    pub models: Vec<Model>,
    /// Tokens per second of the models alone.
    pub engine: Vec<EngineCell>,
    /// The server that was measured.
    pub server: Option<Server>,
    /// What its clients saw.
    pub serve: Vec<ServeCell>,
    /// Where a sweep found that more clients bring no more tokens.
    pub knee: Option<Knee>,
    /// Streams that run while a long prompt arrives.
    pub intrusion: Option<Intrusion>,
    /// Whether those that are compared compute the same.
    pub quality: Vec<Quality>,
    /// The other server, turn and turn about.
    pub versus: Option<Versus>,
    /// What a reader has to know before believing any of it.
    pub findings: Vec<Finding>,
    /// The order in which everything was measured.
    pub order: Vec<Step>,
    /// Whether it was ended before its time.
    pub interrupted: bool,
}

impl Report {
    /// A report of nothing yet.
    pub fn new(program: &str, command: Vec<String>, seed: u64, before: Conditions) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            created: chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            program: program.to_owned(),
            command,
            seed,
            machine: Machine::read(),
            before,
            after: Conditions::default(),
            models: Vec::new(),
            engine: Vec::new(),
            server: None,
            serve: Vec::new(),
            knee: None,
            intrusion: None,
            quality: Vec::new(),
            versus: None,
            findings: Vec::new(),
            order: Vec::new(),
            interrupted: false,
        }
    }

    /// Reads a report.
    ///
    /// # Errors
    ///
    /// When it is none, or one of another version.
    pub fn parse(json: &str) -> Result<Self, ReportError> {
        let value: Value = serde_json::from_str(json)?;
        match value.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) => Ok(serde_json::from_value(value)?),
            Some(other) => Err(ReportError::Version(other.to_owned())),
            None => Err(ReportError::NoReport),
        }
    }

    /// The findings in words, each once, with the cells that it is about.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<(&str, Vec<&str>)> = Vec::new();
        for finding in &self.findings {
            let cell = finding.cell.as_deref();
            match notes
                .iter_mut()
                .find(|(message, _)| *message == finding.message)
            {
                Some((_, cells)) => cells.extend(cell),
                None => notes.push((&finding.message, cell.into_iter().collect())),
            }
        }
        let words = |(message, cells): (&str, Vec<&str>)| match cells.as_slice() {
            [] => message.to_owned(),
            [cell] => format!("{cell}: {message}"),
            [first, others @ ..] => format!("{first} and {} more: {message}", others.len()),
        };
        notes.into_iter().map(words).collect()
    }

    /// Takes note of something to be known, once.
    pub fn find(&mut self, kind: FindingKind, cell: Option<&str>, message: impl Into<String>) {
        let finding = Finding {
            kind,
            cell: cell.map(str::to_owned),
            message: message.into(),
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }
}

/// Why something is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It is not JSON, or fields are missing.
    #[error("not a report of `matou bench --json`: {0}")]
    Json(#[from] serde_json::Error),
    /// It is JSON of something else.
    #[error("not a report of `matou bench --json`: it has no \"schema\"")]
    NoReport,
    /// It is of another time.
    #[error(
        "a report of schema {0:?}, and this program reads {SCHEMA:?}: measure again, or use the matou that wrote it"
    )]
    Version(String),
}

/// A model that was measured in this process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// As the command line names it.
    pub name: String,
    /// SHA-256 of its weights' files, by their names; empty for weights that were made up.
    pub sha256: BTreeMap<String, String>,
    /// Architecture name.
    pub architecture: String,
    /// What people call its format.
    pub quantization: String,
    /// Number of weights.
    pub parameters: u64,
    /// Memory that the weights take.
    pub weight_bytes: u64,
    /// Weights of each format, by the name of the format.
    pub formats: BTreeMap<String, u64>,
    /// Seconds from files to a model that can run.
    pub load_s: f64,
    /// Most memory that the process has had when it was loaded.
    pub peak_load_bytes: Option<u64>,
    /// The instruction set of the kernels on the CPU.
    pub isa: String,
    /// Where it ran: `CPU`, or the name of a GPU and its driver. Reports from before GPUs do not say.
    #[serde(default)]
    pub device: String,
}

/// One test of a model alone, llama-bench's protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EngineCell {
    /// The model's name.
    pub model: String,
    /// The test by llama-bench's name, as in `pp512` and `tg64@d4096 batch 8`.
    pub test: String,
    /// Tokens of the prompt, of a test that reads one.
    pub prompt: usize,
    /// Tokens generated in each sequence, of a test that generates.
    pub generate: usize,
    /// Tokens in the context before.
    pub depth: usize,
    /// Sequences side by side.
    pub batch: usize,
    /// Threads that compute.
    pub threads: usize,
    /// Type of keys and values.
    pub kv_cache_dtype: String,
    /// All sequences together.
    pub tokens_per_s: Summary,
    /// How it compares with what the machine can do at most.
    pub roof: Option<Roof>,
    /// Energy of the packages for a token, in joules.
    pub joules_per_token: Option<f64>,
    /// Who used the processor meanwhile.
    pub used: Option<Used>,
    /// Others that were measured turn and turn about, by their names.
    pub peers: BTreeMap<String, PeerFigure>,
}

impl EngineCell {
    /// What tells this cell from all others, for comparisons between reports.
    pub fn key(&self) -> String {
        format!(
            "{} {} {} threads kv {}",
            self.model, self.test, self.threads, self.kv_cache_dtype
        )
    }
}

/// How a figure compares with what the machine can do at most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Roof {
    /// What the machine is short of in this test.
    pub bound: Bound,
    /// What a unit of work takes of it: bytes of a step, or multiply-adds of a token.
    pub per_unit: u64,
    /// What was used, a second.
    pub used_per_s: f64,
    /// What the machine gives at most, measured in the same run.
    pub peak_per_s: f64,
    /// The quotient of the two.
    pub share: f64,
    /// Multiply-adds a second, for the roofline.
    pub macs_per_s: f64,
    /// Bytes a second, for the roofline.
    pub bytes_per_s: f64,
    /// Most bytes a second.
    pub peak_bytes_per_s: f64,
    /// Most multiply-adds a second.
    pub peak_macs_per_s: f64,
}

/// What a test is bound by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The memory's bandwidth.
    Memory,
    /// The processor's arithmetic.
    Arithmetic,
}

/// What another program did in the same test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerFigure {
    /// Its figure.
    pub tokens_per_s: Summary,
    /// Ours to its, round by round.
    pub comparison: Comparison,
}

/// The server that was measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// Where it listens.
    pub url: String,
    /// The model that was asked for.
    pub model: String,
    /// What it calls itself in its headers, if it does.
    pub software: Option<String>,
    /// Whether this program started it, on this machine.
    pub started_here: bool,
}

/// How requests were sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Load {
    /// So many clients, each of which sends its next request once it has its answer.
    Closed {
        /// Clients.
        concurrency: usize,
    },
    /// Requests come when they come, whatever the server does.
    Open {
        /// Requests a second.
        rate: f64,
    },
    /// Requests come as they once did.
    Trace {
        /// The file.
        file: String,
    },
}

impl Load {
    /// A name for tables.
    pub fn name(&self) -> String {
        match self {
            Self::Closed { concurrency: 1 } => "1 client".to_owned(),
            Self::Closed { concurrency } => format!("{concurrency} clients"),
            Self::Open { rate } => format!("{rate} requests/s"),
            Self::Trace { file } => format!("trace {file}"),
        }
    }
}

/// What clients saw of a server under one load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServeCell {
    /// A name that no other cell of the report has.
    pub name: String,
    /// How requests were sent.
    pub load: Load,
    /// Whether prompts were sent that the server had seen before, on purpose.
    pub cached: bool,
    /// Part of a prompt that it shares with the others, on purpose.
    pub shared_prefix: f64,
    /// Seconds from the first intended request to the last answer.
    pub seconds: f64,
    /// Requests that were to be sent.
    pub requests: usize,
    /// Requests that were answered in full.
    pub completed: usize,
    /// Requests that were not, by what went wrong.
    pub errors: BTreeMap<String, usize>,
    /// Tokens of prompts that were answered.
    pub prompt_tokens: u64,
    /// Of these, tokens that the server says it had cached; `None` where it does not say.
    pub cached_tokens: Option<u64>,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// Tokens of answers a second.
    pub tokens_per_s: f64,
    /// Tokens of prompts and answers a second.
    pub total_tokens_per_s: f64,
    /// Answers a second.
    pub requests_per_s: f64,
    /// Requests a second as they were really sent.
    pub sent_per_s: f64,
    /// Milliseconds from the moment a request was to be sent to its first token with content.
    pub ttft_ms: Distribution,
    /// Milliseconds between tokens: each token of a chunk with several counts its part of the gap.
    pub itl_ms: Distribution,
    /// Milliseconds a token after the first, one value an answer.
    pub tpot_ms: Distribution,
    /// Milliseconds from the moment a request was to be sent to the end of its answer.
    pub e2e_ms: Distribution,
    /// Milliseconds from the moment a request was to be sent until it was: the queue on this side.
    pub send_delay_ms: Distribution,
    /// Part of the chunks that held several tokens.
    pub multi_token_chunks: f64,
    /// Answers a second within the target; `None` without one.
    pub goodput_per_s: Option<f64>,
    /// How busy the measuring program was itself.
    pub client: ClientLoad,
    /// Each request, in the order in which they were to be sent.
    pub records: Vec<Record>,
}

/// How busy the measuring program was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientLoad {
    /// Cores that it kept busy.
    pub cores: Option<f64>,
    /// Milliseconds by which its own clock ticks came late, 99th percentile.
    pub lag_p99_ms: f64,
    /// Part of this machine's cores that its host took away meanwhile.
    pub steal_share: Option<f64>,
}

/// One request, times in seconds from the beginning of its cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When it was to be sent.
    pub intended_s: f64,
    /// When it was.
    pub sent_s: f64,
    /// When its first token with content came.
    pub first_token_s: Option<f64>,
    /// When its answer ended.
    pub end_s: f64,
    /// Tokens of its prompt.
    pub prompt_tokens: u64,
    /// Of these, tokens that were cached; `None` where the server does not say.
    pub cached_tokens: Option<u64>,
    /// Tokens of its answer.
    pub completion_tokens: u64,
    /// Seconds between chunks with content and the tokens of the second, after the first.
    pub gaps: Vec<(f64, f64)>,
    /// Why it ended, as the server says.
    pub finish_reason: Option<String>,
    /// What went wrong.
    pub error: Option<RequestError>,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestError {
    /// The kind, as in `http 429`.
    pub kind: String,
    /// In the words of whoever noticed.
    pub message: String,
}

/// Where more clients bring no more tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// Clients.
    pub concurrency: usize,
    /// Tokens a second there.
    pub tokens_per_s: f64,
    /// How it was decided.
    pub rule: String,
}

/// Streams that run while a long prompt arrives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intrusion {
    /// Streams that run.
    pub streams: usize,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// When it was sent, in seconds from the beginning.
    pub sent_s: f64,
    /// When its first token came.
    pub first_token_s: f64,
    /// Tokens that the streams had got, all together: (seconds, tokens).
    pub tokens: Vec<(f64, f64)>,
    /// Milliseconds between tokens of a stream before and after.
    pub itl_alone_ms: Distribution,
    /// Milliseconds between tokens of a stream while the prompt was read.
    pub itl_beside_ms: Distribution,
}

/// Whether the same is computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// What was asked: a model or a server.
    pub subject: String,
    /// SHA-256 of the greedy tokens on the fixed set of prompts.
    pub greedy_sha256: String,
    /// Tokens that it was made from.
    pub tokens: u64,
    /// The answers, for whoever wants to see where they part.
    pub texts: Vec<String>,
    /// Mean Kullback-Leibler divergence a token from the reference, in nats, over the tokens that both list.
    pub kl_from_reference: Option<f64>,
    /// What the divergence is from.
    pub reference: Option<String>,
}

/// Two servers, turn and turn about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Versus {
    /// The other.
    pub server: Server,
    /// What its clients saw, round by round.
    pub serve: Vec<ServeCell>,
    /// Ours to theirs, by load and figure.
    pub comparisons: BTreeMap<String, Comparison>,
}

/// Something to be known before believing a figure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its kind.
    pub kind: FindingKind,
    /// The cell it is about; all of them if there is none.
    pub cell: Option<String>,
    /// In words.
    pub message: String,
}

/// What may be wrong with figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Prompts were cached that should not have been.
    Polluted,
    /// The measuring program was the limit.
    ClientLimit,
    /// Other programs, or the host, took a part of the machine.
    Noise,
    /// Runs differ more than the interval that was asked for allows.
    Unsteady,
    /// Something that the figures rest on cannot be proven.
    Unproven,
    /// Requests failed.
    Errors,
    /// It was ended before its time.
    Interrupted,
}

/// A part of the run, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Seconds since the beginning.
    pub at_s: f64,
    /// What was measured.
    pub what: String,
}
