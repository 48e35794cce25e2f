//! Where a model comes from that is not in memory, and what is known of it by its header.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use matou_chat::{TextSide, Tokenizer};
use matou_engine::{EngineConfig, EngineStats, EngineThread, Turns};
use matou_hub::ModelFiles;
use matou_model::{BLOCK_SIZE, Checkpoint, DeviceChoice, LoadOptions, ModelSummary, ThreadPool};

use super::shares::{Needs, Share};
use crate::gap::fills_gaps;
use crate::llm::Llm;
use crate::open::{
    Identity, Memory, OpenError, OpenOptions, Place, fingerprint, load_checkpoint, text_side,
    weight_files,
};

/// What clients are told about a model, in memory or not.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFacts {
    /// The names it is served under, one at least; answers carry the first.
    pub names: Vec<String>,
    /// Architecture name as the weights state it.
    pub architecture: String,
    /// What people call the format of its weights.
    pub quantization: String,
    /// Number of weights.
    pub parameters: u64,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of decoder layers.
    pub num_layers: usize,
    /// Memory that its weights take, in bytes.
    pub weight_bytes: u64,
    /// All that it takes in memory, keys and values and the memory to work in included, in bytes.
    pub memory: u64,
    /// Longest context, prompt and answer together, in tokens.
    pub max_model_len: usize,
    /// Where it runs: `CPU`, or the name of a GPU.
    pub device: String,
    /// What that is made of: `cpu`, or the kind of GPU, in a word.
    pub device_kind: &'static str,
    /// Unix time since when it is served, in seconds.
    pub created: u64,
    /// Changes when the model or the build changes.
    pub fingerprint: String,
}

/// What the text side of a model can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextFacts {
    /// The chat template, if there is one that can be used.
    pub template: Option<String>,
    /// Whether it fills gaps in a text.
    pub fills_gaps: bool,
}

impl TextFacts {
    pub(super) fn of(tokenizer: Option<&Tokenizer>, template: Option<&str>) -> Self {
        Self {
            template: template.map(str::to_owned),
            fills_gaps: tokenizer.is_some_and(fills_gaps),
        }
    }
}

/// Bytes of weights that have been loaded, and bytes in all.
#[derive(Debug, Default)]
pub(super) struct LoadProgress {
    done: AtomicU64,
    total: AtomicU64,
}

impl LoadProgress {
    pub(super) fn set(&self, done: u64, total: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> (u64, u64) {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (load(&self.done), load(&self.total))
    }
}

/// What a model is loaded with.
pub(super) struct Loading {
    pub(super) progress: Arc<LoadProgress>,
    /// What was counted when it was in memory before.
    pub(super) counted: Option<EngineStats>,
    pub(super) turns: Turns,
}

/// A model that can be loaded, and loaded again.
pub(super) trait Source: Send + Sync + 'static {
    /// Loads it and starts its engine. Blocks.
    fn load(&self, loading: Loading) -> Result<(Llm, EngineThread), OpenError>;

    /// What its text side can do. Blocks.
    fn text(&self) -> Result<TextFacts, OpenError>;

    /// Whether another would give the same model, served in the same way; its memory aside.
    fn is_same(&self, other: &FileSource) -> bool;
}

/// How a model is to be served.
#[derive(Clone)]
pub struct ModelSpec {
    /// Its files, on disk.
    pub files: ModelFiles,
    /// The names it is served under; its own if there are none.
    pub names: Vec<String>,
    /// How it is opened.
    pub options: OpenOptions,
    /// The limits of its engine; lengths and memory are set when it is loaded.
    pub limits: EngineConfig,
}

/// A model whose header has been read.
pub struct Inspected {
    spec: ModelSpec,
    summary: ModelSummary,
    place: Place,
    memory: Memory,
    needs: Needs,
}

impl Inspected {
    /// Reads the header of a model. Blocks.
    ///
    /// # Errors
    ///
    /// When its files cannot be read, or it cannot be served at all.
    pub fn new(spec: ModelSpec) -> Result<Self, OpenError> {
        let checkpoint = Checkpoint::open(&weight_files(&spec.files))?;
        // What is wrong with it is told at once, not when somebody asks for it.
        let text = text_side(&checkpoint, &spec.options.text_options())?;
        if text.tokenizer.is_none() {
            let name = spec.files.name;
            return Err(OpenError::NoTokenizer { name });
        }
        Self::of(spec, &checkpoint)
    }

    fn of(spec: ModelSpec, checkpoint: &Checkpoint) -> Result<Self, OpenError> {
        let options = &spec.options;
        let summary = checkpoint.summary(&options.load_options())?;
        let made_for = summary.max_position_embeddings;
        let made_for = spec
            .files
            .context_length
            .map_or(made_for, |n| n.min(made_for));
        if let Some(requested) = options.max_model_len.filter(|n| *n > made_for) {
            return Err(OpenError::beyond_model(requested, made_for));
        }
        let dtype = options.kv_cache_dtype;
        let place = Place::for_model(&summary, options)?;
        let memory = Memory::of(&summary, dtype, 0, place.gpu.is_some());
        let block = summary.kv_block_bytes(dtype) as u64;
        // What a GPU holds in one piece bounds contexts that nobody has asked for.
        let most = summary.max_kv_blocks(place.device, dtype);
        let reach = most.map_or(usize::MAX, |blocks| blocks.saturating_mul(BLOCK_SIZE));
        let most = most.map_or(u64::MAX, |blocks| block.saturating_mul(blocks as u64));
        let needs = Needs {
            fixed: memory.total(),
            block,
            context: options.max_model_len.unwrap_or(made_for.min(reach)),
            is_context_fixed: options.max_model_len.is_some(),
            kv_cache: options.kv_cache_memory.map(|bytes| bytes.min(most)),
        };
        Ok(Self {
            spec,
            summary,
            place,
            memory,
            needs,
        })
    }

    /// The name that its answers carry.
    pub fn name(&self) -> &str {
        self.spec.names.first().unwrap_or(&self.spec.files.name)
    }

    /// The names that it is served under.
    pub fn names(&self) -> &[String] {
        match self.spec.names.is_empty() {
            true => std::slice::from_ref(&self.spec.files.name),
            false => &self.spec.names,
        }
    }

    /// The header.
    pub fn summary(&self) -> &ModelSummary {
        &self.summary
    }

    /// Where it will run, and what is free there.
    pub fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn needs(&self) -> Needs {
        self.needs
    }

    pub(super) fn options(&self) -> &OpenOptions {
        &self.spec.options
    }

    /// Has the model compute on threads that others use too.
    pub(super) fn share_threads(&mut self, pool: Arc<ThreadPool>) {
        self.spec.options.pool = Some(pool);
    }

    /// The model as it will be with such a share of the memory.
    pub(super) fn with_share(self, share: Share) -> (ModelFacts, FileSource) {
        let Self {
            spec,
            summary,
            place,
            ..
        } = self;
        let facts = ModelFacts {
            names: match spec.names.is_empty() {
                true => vec![spec.files.name.clone()],
                false => spec.names.clone(),
            },
            fingerprint: fingerprint(
                &spec.files.name,
                &summary.quantization,
                summary.parameters,
                summary.weight_bytes,
            ),
            architecture: summary.architecture,
            quantization: summary.quantization,
            parameters: summary.parameters,
            vocab_size: summary.vocab_size,
            hidden_size: summary.hidden_size,
            num_layers: summary.num_layers,
            weight_bytes: summary.weight_bytes,
            memory: share.total,
            max_model_len: share.max_model_len,
            device: place.name().to_owned(),
            device_kind: place.kind(),
            created: unix_now(),
        };
        let source = FileSource {
            identity: Identity {
                names: facts.names.clone(),
                created: facts.created,
                fingerprint: facts.fingerprint.clone(),
            },
            spec,
            device: place.device,
            share,
            fixed: self.memory.total(),
        };
        (facts, source)
    }
}

/// A model in files.
pub(super) struct FileSource {
    spec: ModelSpec,
    identity: Identity,
    /// Where it was planned to run: what is free may have changed since.
    device: DeviceChoice,
    share: Share,
    /// Bytes that it was planned to take beside keys and values.
    fixed: u64,
}

impl Source for FileSource {
    fn load(&self, loading: Loading) -> Result<(Llm, EngineThread), OpenError> {
        let Loading {
            progress,
            counted,
            turns,
        } = loading;
        let mut options = self.spec.options.clone();
        options.device = self.device;
        let shown = options.progress.take();
        options.progress = Some(Arc::new(move |done, total| {
            progress.set(done, total);
            shown.iter().for_each(|show| show(done, total));
        }));
        let checkpoint = Checkpoint::open(&weight_files(&self.spec.files))?;
        let planned = ModelSpec {
            options: options.clone(),
            ..self.spec.clone()
        };
        let now = Inspected::of(planned, &checkpoint)?;
        if now.needs.fixed > self.fixed {
            return Err(OpenError::Changed {
                path: self.spec.files.weights.clone(),
                planned: self.fixed,
                needed: now.needs.fixed,
            });
        }
        let loaded = load_checkpoint(&checkpoint, self.spec.files.clone(), &options)?;
        // The mapped file is not needed any more.
        drop(checkpoint);
        let planned = OpenOptions {
            max_model_len: Some(self.share.max_model_len),
            kv_cache_memory: Some(self.share.kv_cache),
            ..options
        };
        let config = loaded.engine_config(&planned, self.spec.limits.clone())?;
        loaded.start_sharing(config, self.identity.clone(), &turns, counted)
    }

    fn text(&self) -> Result<TextFacts, OpenError> {
        let checkpoint = Checkpoint::open(&weight_files(&self.spec.files))?;
        let TextSide {
            tokenizer,
            template,
            ..
        } = text_side(&checkpoint, &self.spec.options.text_options())?;
        let template = template.as_ref().map(|template| template.source());
        Ok(TextFacts::of(tokenizer.as_deref(), template))
    }

    fn is_same(&self, other: &FileSource) -> bool {
        let how = |source: &Self| {
            let OpenOptions {
                dtype,
                quantize,
                max_model_len,
                kv_cache_dtype,
                kv_cache_memory,
                text,
                ..
            } = source.spec.options.clone();
            let text = (text.unknown_pre_tokenizer, text.chat_template);
            let memory = (max_model_len, kv_cache_dtype, kv_cache_memory);
            // However the device was chosen.
            ((source.device, dtype, quantize), memory, text)
        };
        let (own, others) = (&self.spec, &other.spec);
        let is_file = own.files == others.files && self.identity.names == other.identity.names;
        is_file && own.limits == others.limits && how(self) == how(other)
    }
}

/// Unix time, in seconds.
pub(super) fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Makes models share threads: those that `options` ask for.
pub(super) fn share_threads(options: &OpenOptions) -> Arc<ThreadPool> {
    let LoadOptions { threads, .. } = options.load_options();
    Arc::new(ThreadPool::new(threads.unwrap_or(1)))
}
