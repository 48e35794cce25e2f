//! A model in memory, and how it becomes one that answers.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

use matou_chat::TextSide;
use matou_engine::{Engine, EngineConfig, EngineStats, EngineThread, SamplingParams, Turns};
use matou_model::LanguageModel;
use tracing::warn;

use super::error::OpenError;
use super::kv_plan::{self, KvNeeds};
use super::memory::human_bytes;
use super::options::OpenOptions;
use super::place::Place;
use crate::isolation::Isolation;
use crate::llm::{Llm, ModelCard};

/// A model in memory, without its KV cache, and what belongs to it.
pub struct LoadedModel {
    /// What to call it.
    pub name: String,
    /// Where it runs.
    pub place: Place,
    /// Tokens in, logits out.
    pub model: Box<dyn LanguageModel>,
    /// Text in, tokens out, and back.
    pub text: TextSide,
    /// Where work is done that may never end.
    pub isolation: Option<Isolation>,
    /// Sampling of requests that do not say how.
    pub default_sampling: SamplingParams,
    /// Longest context that the model was made for, if the catalogue says.
    pub(super) context_length: Option<usize>,
}

impl LoadedModel {
    /// The model in one line, for people.
    pub fn describe(&self) -> String {
        let info = self.model.info();
        let device = match self.place.gpu {
            Some(_) => format!(" on {}", self.place),
            None => String::new(),
        };
        format!(
            "{} ({}, {}, {:.1} M parameters, {}){device}",
            self.name,
            info.architecture,
            info.quantization,
            info.parameters as f64 / 1e6,
            human_bytes(info.weight_bytes),
        )
    }

    /// A name for this model in this build: with another, a seed gives other text.
    pub fn fingerprint(&self) -> String {
        let info = self.model.info();
        fingerprint(
            &self.name,
            &info.quantization,
            info.parameters,
            info.weight_bytes,
        )
    }

    /// The limits of an engine for this model: `limits`, with the context and the KV cache that the
    /// options and the memory of this machine allow.
    ///
    /// # Errors
    ///
    /// When the context that was asked for does not fit, or no context at all.
    pub fn engine_config(
        &self,
        options: &OpenOptions,
        limits: EngineConfig,
    ) -> Result<EngineConfig, OpenError> {
        let made_for = self.model.info().max_position_embeddings;
        // The weights are there by now.
        let free_bytes = Place::of(self.place.device, 0)?.free;
        let plan = kv_plan::plan(&KvNeeds {
            block_bytes: self.model.kv_block_bytes(options.kv_cache_dtype),
            model_max_len: self
                .context_length
                .map_or(made_for, |length| length.min(made_for)),
            requested_max_len: options.max_model_len,
            requested_bytes: options.kv_cache_memory,
            free_bytes,
            max_blocks: self.model.max_kv_blocks(options.kv_cache_dtype),
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
            kv_cache_dtype: options.kv_cache_dtype,
            ..limits
        })
    }

    /// Starts the engine, on a thread that ends with the [`Llm`]. The model is called `names`, or by
    /// its own name if there are none.
    ///
    /// # Errors
    ///
    /// When the model has no tokenizer, or the engine does not start.
    pub fn start(
        self,
        config: EngineConfig,
        names: Vec<String>,
    ) -> Result<(Llm, EngineThread), OpenError> {
        let identity = Identity {
            names: match names.is_empty() {
                true => vec![self.name.clone()],
                false => names,
            },
            created: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            fingerprint: self.fingerprint(),
        };
        self.start_sharing(config, identity, &Turns::default(), None)
    }

    /// Starts the engine beside others ([`Engine::start_sharing`]).
    pub(crate) fn start_sharing(
        self,
        config: EngineConfig,
        identity: Identity,
        turns: &Turns,
        counted: Option<EngineStats>,
    ) -> Result<(Llm, EngineThread), OpenError> {
        let Some(tokenizer) = self.text.tokenizer else {
            return Err(OpenError::NoTokenizer { name: self.name });
        };
        let (engine, thread) = Engine::start_sharing(self.model, config, turns, counted)?;
        let card = ModelCard {
            names: identity.names,
            created: identity.created,
            fingerprint: identity.fingerprint,
            default_sampling: self.default_sampling,
            eos_token_ids: self.text.eos_token_ids,
        };
        let reason = self.text.template_error.map(|error| error.to_string());
        let llm = Llm::new(engine, tokenizer, self.text.template, card)
            .with_template_error(reason)
            .with_isolation(self.isolation)
            .with_place(self.place);
        Ok((llm, thread))
    }
}

/// What clients know a model by.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) names: Vec<String>,
    /// Unix time, in seconds.
    pub(crate) created: u64,
    pub(crate) fingerprint: String,
}

/// A name for a model in this build.
pub(crate) fn fingerprint(
    name: &str,
    quantization: &str,
    parameters: u64,
    weight_bytes: u64,
) -> String {
    let mut hasher = DefaultHasher::new();
    (
        env!("CARGO_PKG_VERSION"),
        name,
        quantization,
        parameters,
        weight_bytes,
    )
        .hash(&mut hasher);
    format!("fp_{:010x}", hasher.finish() >> 24)
}
