//! From the MODEL of a command line to a model that is ready to run.
//!
//! The hub finds files, the model crate makes a [`LanguageModel`] of them, the chat crate a tokenizer
//! and a template. None of them knows the others; here they meet.

mod text;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use matou_chat::GenerationConfig;
use matou_engine::{EngineConfig, SamplingParams};
use matou_hub::{Catalogue, HubOptions, ModelFiles, SamplingDefaults};
use matou_model::{Checkpoint, LanguageModel, LoadOptions, Quantization, WeightFiles};
use tracing::{info, warn};

pub use text::TextSide;

use crate::cli::{Device, ModelOptions};
use crate::fit;
use crate::kv_plan::{self, KvNeeds, human_bytes};

/// Weights of less than this load before a progress bar could be read.
const PROGRESS_FROM_BYTES: u64 = 1 << 30;

/// Tokens that there must be room for, where nobody says how long contexts are to be.
const SHORTEST_CONTEXT: usize = 512;

/// A model in memory, without its KV cache, and what belongs to it.
pub struct LoadedModel {
    /// What to call it.
    pub name: String,
    /// Tokens in, logits out.
    pub model: Box<dyn LanguageModel>,
    /// Text in, tokens out, and back.
    pub text: TextSide,
    /// Sampling of requests that do not say how.
    pub default_sampling: SamplingParams,
    context_length: Option<usize>,
}

/// Finds, fetches, verifies and loads the model that `name` (as on the command line) stands for.
pub async fn open(name: Option<&str>, options: &ModelOptions) -> Result<LoadedModel> {
    let files = find(name, options, &HubOptions::from_env()?).await?;
    let options = options.clone();
    tokio::task::spawn_blocking(move || load(files, &options)).await?
}

/// Finds the files of a model, and fetches them if need be.
pub async fn find(
    name: Option<&str>,
    options: &ModelOptions,
    hub: &HubOptions,
) -> Result<ModelFiles> {
    let catalogue = catalogue(options)?;
    let model = catalogue.reference(name)?;
    Ok(matou_hub::resolve(&model, &catalogue, hub).await?)
}

/// The built-in catalogue and the user's own.
pub fn catalogue(options: &ModelOptions) -> Result<Catalogue> {
    Ok(Catalogue::load(options.models.as_deref())?)
}

/// What the model crate calls these files.
pub fn weight_files(files: &ModelFiles) -> WeightFiles {
    if files.is_gguf {
        WeightFiles::Gguf(files.weights.clone())
    } else {
        WeightFiles::HuggingFace(files.weights.clone())
    }
}

/// The tokenizer and the template of a model.
pub fn text_side(checkpoint: &Checkpoint) -> Result<TextSide> {
    text::read(checkpoint).with_context(|| {
        let (WeightFiles::Gguf(path) | WeightFiles::HuggingFace(path)) = checkpoint.files();
        format!("cannot use the tokenizer of {}", path.display())
    })
}

/// How the weights are loaded.
pub fn load_options(options: &ModelOptions) -> LoadOptions {
    LoadOptions {
        device: options.device.into(),
        dtype: options.dtype.into(),
        quantize: options.quantize,
        context_length: options.max_model_len,
        threads: options.threads.map(usize::from).or_else(physical_cores),
        ..LoadOptions::default()
    }
}

/// Loads a model from its files, if it fits into memory.
pub fn load(files: ModelFiles, options: &ModelOptions) -> Result<LoadedModel> {
    let checkpoint = Checkpoint::open(&weight_files(&files))?;
    let text = text_side(&checkpoint)?;
    let load_options = LoadOptions {
        progress: progress(),
        ..load_options(options)
    };
    check_fit(&checkpoint, &load_options, options)?;
    let model = checkpoint.load(&load_options)?;
    let default_sampling = default_sampling(files.defaults.as_ref(), &text.generation);
    Ok(LoadedModel {
        name: files.name,
        model,
        text,
        default_sampling,
        context_length: files.context_length,
    })
}

/// Sampling of requests that do not say how: as the catalogue has it, or else as the model's makers.
fn default_sampling(
    catalogue: Option<&SamplingDefaults>,
    makers: &GenerationConfig,
) -> SamplingParams {
    let (temperature, top_p, top_k, min_p, repetition_penalty) = match catalogue {
        Some(entry) => (
            entry.temperature,
            entry.top_p,
            entry.top_k,
            entry.min_p,
            entry.repetition_penalty,
        ),
        None => (
            makers.temperature,
            makers.top_p,
            makers.top_k,
            makers.min_p,
            makers.repetition_penalty,
        ),
    };
    SamplingParams {
        temperature: temperature.unwrap_or(1.0),
        top_p: top_p.unwrap_or(1.0),
        top_k,
        min_p: min_p.unwrap_or(0.0),
        repetition_penalty: repetition_penalty.unwrap_or(1.0),
        ..SamplingParams::default()
    }
}

impl LoadedModel {
    /// The model in one line, for people.
    pub fn describe(&self) -> String {
        let info = self.model.info();
        format!(
            "{} ({}, {}, {:.1} M parameters, {})",
            self.name,
            info.architecture,
            info.quantization,
            info.parameters as f64 / 1e6,
            human_bytes(info.weight_bytes),
        )
    }

    /// A name for this model in this build: with another, a seed gives other text.
    pub fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        let info = self.model.info();
        (
            env!("CARGO_PKG_VERSION"),
            &self.name,
            &info.quantization,
            info.parameters,
            info.weight_bytes,
        )
            .hash(&mut hasher);
        format!("fp_{:010x}", hasher.finish() >> 24)
    }

    /// The limits of an engine for this model: `limits`, with the context and the KV cache that the
    /// options and the memory of this machine allow.
    pub fn engine_config(
        &self,
        options: &ModelOptions,
        limits: EngineConfig,
    ) -> Result<EngineConfig> {
        let kv_cache_dtype = options.kv_cache_dtype.into();
        let made_for = self.model.info().max_position_embeddings;
        let plan = kv_plan::plan(&KvNeeds {
            block_bytes: self.model.kv_block_bytes(kv_cache_dtype),
            model_max_len: self
                .context_length
                .map_or(made_for, |length| length.min(made_for)),
            requested_max_len: options.max_model_len,
            requested_bytes: options.kv_cache_memory,
            free_bytes: free_memory(),
        })?;
        if plan.shortened {
            warn!(
                "contexts are limited to {} of the model's {made_for} tokens, which is what memory has room for; \
                 --max-model-len and --kv-cache-memory decide otherwise",
                plan.max_model_len
            );
        }
        Ok(EngineConfig {
            max_model_len: plan.max_model_len,
            num_kv_blocks: plan.num_blocks,
            kv_cache_dtype,
            ..limits
        })
    }
}

/// Says what memory a model will take, and refuses it where that is more than there is. On a GPU, the
/// memory is another.
fn check_fit(checkpoint: &Checkpoint, load: &LoadOptions, options: &ModelOptions) -> Result<()> {
    if !matches!(options.device, Device::Auto | Device::Cpu) {
        return Ok(());
    }
    let summary = checkpoint.summary(load)?;
    // Without a length of its own, a context is made as long as memory allows.
    let tokens = options.max_model_len.unwrap_or(SHORTEST_CONTEXT);
    let tokens = tokens.min(summary.max_position_embeddings);
    let quantized = Quantization::names().filter_map(|name| {
        let quantize = name.parse().ok();
        let load = LoadOptions {
            quantize,
            ..load_options(options)
        };
        let summary = checkpoint.summary(&load).ok()?;
        Some((name.to_owned(), summary.weight_bytes))
    });
    let dtype = options.kv_cache_dtype.into();
    // The names begin with the coarsest.
    let needs = fit::check(&summary, dtype, tokens, free_memory(), quantized.rev())?;
    info!(
        "memory: {} for weights, {} for the keys and values of {tokens} tokens, about {} to work in",
        human_bytes(needs.weights),
        human_bytes(needs.kv_cache),
        human_bytes(needs.working)
    );
    Ok(())
}

/// Cores that this process may use, hardware threads of one core counted once: kernels keep a core's
/// arithmetic busy with one.
fn physical_cores() -> Option<usize> {
    let usable = std::thread::available_parallelism().ok()?.get();
    Some(sysinfo::System::physical_core_count().map_or(usable, |cores| cores.clamp(1, usable)))
}

/// Memory that can be had without swapping, in bytes: what a container's limit leaves beside its
/// processes, since files that it has read give way.
fn free_memory() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| {
        limits.total_memory.saturating_sub(limits.rss)
    });
    system.available_memory().min(limit)
}

/// Shows how far loading is, where somebody watches and there is something to wait for.
fn progress() -> Option<Box<matou_model::Progress>> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template("loading {bar:40} {bytes}/{total_bytes} {eta}")
        .expect("the template is well-formed");
    let bar = Arc::new(ProgressBar::hidden());
    Some(Box::new(move |done, total| {
        if total < PROGRESS_FROM_BYTES {
            return;
        }
        if bar.is_hidden() && done < total {
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
            bar.set_style(style.clone());
            bar.set_length(total);
        }
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    }))
}
