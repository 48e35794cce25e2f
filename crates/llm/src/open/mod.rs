//! From the name of a model to one that is ready to run.
//!
//! The hub finds files, the model crate makes a [`LanguageModel`](matou_model::LanguageModel) of them,
//! the chat crate a tokenizer and a template. None of them knows the others; here they meet.

mod error;
mod fit;
mod kv_plan;
mod loaded;
mod memory;
mod options;
mod place;
mod text;

use matou_chat::GenerationConfig;
use matou_engine::SamplingParams;
use matou_hub::{Catalogue, HubOptions, ModelFiles, SamplingDefaults};
use matou_model::{Checkpoint, LoadOptions, Quantization, WeightFiles};
use tracing::info;

pub use error::OpenError;
pub(crate) use fit::SHORTEST_CONTEXT;
pub use fit::{DoesNotFit, Memory};
pub(crate) use kv_plan::CONTEXTS_BY_DEFAULT;
pub use kv_plan::KvPlanError;
pub use loaded::LoadedModel;
pub(crate) use loaded::{Identity, fingerprint};
pub use memory::{free_memory, human_bytes};
pub use options::OpenOptions;
pub use place::{Place, device_kind};
pub use text::text_side;

/// Finds, fetches, verifies and loads the model that `name` stands for: a name of the catalogue, a
/// path, or `hf:owner/repo[/file][:QUANT][@revision]`; the catalogue's default if `None`.
///
/// # Errors
///
/// When there is no such model, or it cannot be fetched, read or held in memory.
pub async fn open(name: Option<&str>, options: &OpenOptions) -> Result<LoadedModel, OpenError> {
    let files = find(name, options, &HubOptions::from_env()?).await?;
    let options = options.clone();
    let loading = tokio::task::spawn_blocking(move || load(files, &options));
    match loading.await {
        Ok(loaded) => loaded,
        Err(error) => Err(OpenError::Panicked(error.to_string())),
    }
}

/// Finds the files of a model, and fetches them if need be.
///
/// # Errors
///
/// When there is no such model, or its files can be had from none of its sources.
pub async fn find(
    name: Option<&str>,
    options: &OpenOptions,
    hub: &HubOptions,
) -> Result<ModelFiles, OpenError> {
    let catalogue = Catalogue::load(options.catalogue.as_deref())?;
    let model = catalogue.reference(name)?;
    Ok(matou_hub::resolve(&model, &catalogue, hub).await?)
}

/// What the model crate calls these files.
pub fn weight_files(files: &ModelFiles) -> WeightFiles {
    if files.is_gguf {
        WeightFiles::Gguf(files.weights.clone())
    } else {
        WeightFiles::HuggingFace(files.weights.clone())
    }
}

/// Loads a model from its files, if it fits into memory.
///
/// # Errors
///
/// When the files cannot be read, or the model does not fit.
pub fn load(files: ModelFiles, options: &OpenOptions) -> Result<LoadedModel, OpenError> {
    let checkpoint = Checkpoint::open(&weight_files(&files))?;
    load_checkpoint(&checkpoint, files, options)
}

/// Loads a model from files that are open.
pub(crate) fn load_checkpoint(
    checkpoint: &Checkpoint,
    files: ModelFiles,
    options: &OpenOptions,
) -> Result<LoadedModel, OpenError> {
    let text = text_side(checkpoint, &options.text_options())?;
    let place = check_fit(checkpoint, options)?;
    let model = checkpoint.load(&LoadOptions {
        device: place.device,
        ..options.load_options()
    })?;
    let default_sampling = default_sampling(files.defaults.as_ref(), &text.generation);
    Ok(LoadedModel {
        isolation: options.isolation.clone(),
        name: files.name,
        place,
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

/// Says where a model will run and what memory it will take there, and refuses it where that is more
/// than there is.
///
/// # Errors
///
/// When the model does not fit, with what would; when its device is not there.
pub fn check_fit(checkpoint: &Checkpoint, options: &OpenOptions) -> Result<Place, OpenError> {
    let summary = checkpoint.summary(&options.load_options())?;
    let place = Place::for_model(&summary, options)?;
    // Without a length of its own, a context is made as long as memory allows.
    let tokens = options.max_model_len.unwrap_or(SHORTEST_CONTEXT);
    let tokens = tokens.min(summary.max_position_embeddings);
    let quantized = Quantization::names().filter_map(|name| {
        let quantize = name.parse().ok();
        let load = LoadOptions {
            quantize,
            ..options.load_options()
        };
        let summary = checkpoint.summary(&load).ok()?;
        Some((name.to_owned(), summary.weight_bytes))
    });
    // The names begin with the coarsest.
    let needs = fit::check(
        &summary,
        (options.kv_cache_dtype, tokens),
        (place.gpu.is_some(), place.free),
        quantized.rev(),
    )?;
    info!(
        "{}: {} for weights, {} for the keys and values of {tokens} tokens, about {} to work in",
        place.name(),
        human_bytes(needs.weights),
        human_bytes(needs.kv_cache),
        human_bytes(needs.working)
    );
    Ok(place)
}
