//! Adapters in folders, as Hugging Face's PEFT saves them.

use std::collections::BTreeMap;
use std::path::Path;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::modules::{Modules, packed_bytes};
use crate::error::{ModelError, Result, invalid_config};
use crate::weights::{FileNames, SafetensorsSource, TensorSource};

const CONFIG_FILE: &str = "adapter_config.json";

/// How the files are called.
const WEIGHTS: FileNames = FileNames {
    single: "adapter_model.safetensors",
    index: "adapter_model.safetensors.index.json",
};

/// More than any config of an adapter has.
const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// Bytes that a compiled pattern may take: module names need a tenth of it.
const MAX_PATTERN_BYTES: usize = 128 << 10;
/// Patterns that are more than a name.
const MAX_REGEXES: usize = 256;

/// Fields that change what is computed in ways that are not supported: anything but nothing is refused.
const REFUSED: [(&str, &str); 7] = [
    ("alora_invocation_tokens", "activated LoRA"),
    ("layer_replication", "layers that are used twice"),
    ("megatron_config", "Megatron's layers"),
    ("target_parameters", "parameters that are no modules"),
    ("trainable_token_indices", "trained rows of the embedding"),
    ("use_bdlora", "block-diagonal LoRA"),
    ("use_qalora", "QALoRA"),
];

/// A folder with an adapter.
#[derive(Debug)]
pub(super) struct PeftAdapter {
    config: Config,
    alphas: Patterns<f64>,
    ranks: Patterns<usize>,
    source: SafetensorsSource,
}

/// What decides about the computation. All else in the config is about training.
#[derive(Debug, Deserialize)]
struct Config {
    peft_type: String,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    init_lora_weights: Value,
    #[serde(default)]
    rank_pattern: Option<BTreeMap<String, usize>>,
    #[serde(default)]
    alpha_pattern: Option<BTreeMap<String, f64>>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Values for the modules whose names end in what a pattern matches.
#[derive(Debug)]
struct Patterns<T>(Vec<(Pattern, T)>);

#[derive(Debug)]
enum Pattern {
    /// The end of a name, from a dot on: nearly all of them.
    Plain(String),
    Regex(Regex),
}

impl Pattern {
    fn matches(&self, module: &str) -> bool {
        match self {
            Self::Plain(end) => module
                .strip_suffix(end.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.')),
            Self::Regex(regex) => regex.is_match(module),
        }
    }
}

impl<T: Copy> Patterns<T> {
    fn new(path: &Path, field: &str, patterns: Option<&BTreeMap<String, T>>) -> Result<Self> {
        let mut regexes = 0;
        let compile = |(pattern, value): (&String, &T)| {
            let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_.".contains(letter);
            if pattern.chars().all(is_plain) {
                return Ok((Pattern::Plain(pattern.clone()), *value));
            }
            regexes += 1;
            if regexes > MAX_REGEXES {
                let message = format!("has more than {MAX_REGEXES} regular expressions");
                return Err(invalid_config(path, field, message));
            }
            // As PEFT matches them.
            RegexBuilder::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
                .size_limit(MAX_PATTERN_BYTES)
                .dfa_size_limit(MAX_PATTERN_BYTES)
                .build()
                .map(|regex| (Pattern::Regex(regex), *value))
                .map_err(|error| {
                    let message = format!("has a pattern {pattern:?} that cannot be used: {error}");
                    invalid_config(path, field, message)
                })
        };
        let patterns = patterns.into_iter().flatten().map(compile);
        Ok(Self(patterns.collect::<Result<_>>()?))
    }

    fn get(&self, module: &str) -> Option<T> {
        let matching = self.0.iter().find(|(pattern, _)| pattern.matches(module));
        matching.map(|(_, value)| *value)
    }
}

impl PeftAdapter {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG_FILE);
        let config = read_config(&path)?;
        check(&path, &config)?;
        let alphas = Patterns::new(&path, "alpha_pattern", config.alpha_pattern.as_ref())?;
        let ranks = Patterns::new(&path, "rank_pattern", config.rank_pattern.as_ref())?;
        if !WEIGHTS.exist_in(folder) && folder.join("adapter_model.bin").exists() {
            return Err(ModelError::InvalidFile {
                path: folder.to_owned(),
                message:
                    "adapter_model.bin is a pickle, which may run any code when it is read; save \
                          the adapter as adapter_model.safetensors"
                        .to_owned(),
            });
        }
        Ok(Self {
            config,
            alphas,
            ranks,
            source: SafetensorsSource::open(folder, WEIGHTS)?,
        })
    }

    pub(super) fn base(&self) -> Option<&str> {
        self.config.base_model_name_or_path.as_deref()
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        let tensors = self.source.tensors().unwrap_or_default();
        let bytes = tensors.iter().map(|tensor| {
            let bytes = tensor.format.block_bytes() as u64;
            let sizes = tensor.shape.iter().map(|&size| size as u64);
            packed_bytes(&tensor.shape, sizes.fold(bytes, u64::saturating_mul))
        });
        bytes.fold(0, u64::saturating_add)
    }

    /// What is there for each module.
    pub(super) fn modules(&self) -> Result<Modules<'_>> {
        let mut modules = Modules::new();
        // Patterns are for the names that they have where the text model is a part of another.
        let mut own_names = BTreeMap::new();
        for tensor in self.source.tensors()? {
            let (own_name, kind) =
                parsed(&tensor.name).ok_or_else(|| self.unknown(&tensor.name))?;
            let module = text_module(own_name);
            own_names.insert(module.clone(), own_name.to_owned());
            let view = self.source.get(&tensor.name)?;
            let entry = modules.entry(module).or_default();
            let place = match kind {
                TensorKind::A => &mut entry.a,
                TensorKind::B => &mut entry.b,
                TensorKind::BBias => &mut entry.b_bias,
                TensorKind::Bias => &mut entry.bias,
                TensorKind::Magnitude => &mut entry.magnitude,
                TensorKind::Weight => &mut entry.weight,
            };
            if place.is_some() {
                let message = format!("tensor {} is there under two names", tensor.name);
                return Err(self.invalid(message));
            }
            *place = view;
        }
        for (module, tensors) in &mut modules {
            let rank = tensors.a.as_ref().and_then(|a| a.shape.first().copied());
            let own_name = &own_names[module];
            let stated = self.ranks.get(own_name).unwrap_or(self.config.r);
            match rank {
                Some(rank) if rank != stated => {
                    return Err(self.invalid(format!(
                        "{module} has rank {rank}, but {CONFIG_FILE} says {stated}"
                    )));
                }
                Some(_) => tensors.scale = self.scale(own_name, stated),
                None => {}
            }
            if tensors.magnitude.is_some() != (self.config.use_dora && rank.is_some()) {
                return Err(self.invalid(format!(
                    "{module} and `use_dora` of {CONFIG_FILE} contradict each other"
                )));
            }
        }
        Ok(modules)
    }

    fn scale(&self, module: &str, rank: usize) -> f32 {
        let alpha = self.alphas.get(module).unwrap_or(self.config.lora_alpha);
        let rank = rank as f64;
        let divisor = match self.config.use_rslora {
            true => rank.sqrt(),
            false => rank,
        };
        (alpha / divisor) as f32
    }

    fn unknown(&self, name: &str) -> ModelError {
        let what = match name.contains("lora_embedding_") {
            true => "adapts the embedding, which is not supported",
            false => "is none that an adapter of linear layers has",
        };
        self.invalid(format!("tensor {name} {what}"))
    }

    fn invalid(&self, message: String) -> ModelError {
        ModelError::InvalidFile {
            path: self.source.path().to_owned(),
            message,
        }
    }
}

fn read_config(path: &Path) -> Result<Config> {
    let io = |source| ModelError::Io {
        path: path.to_owned(),
        source,
    };
    let len = std::fs::metadata(path).map_err(io)?.len();
    let invalid = |message: String| ModelError::InvalidFile {
        path: path.to_owned(),
        message,
    };
    if len > MAX_CONFIG_BYTES {
        return Err(invalid(format!("has {len} bytes: that is no config")));
    }
    let text = std::fs::read(path).map_err(io)?;
    serde_json::from_slice(&text).map_err(|error| invalid(error.to_string()))
}

/// Refuses what would be applied by half.
fn check(path: &Path, config: &Config) -> Result<()> {
    let refuse = |field: &str, message: String| Err(invalid_config(path, field, message));
    if config.peft_type != "LORA" {
        let message = format!("is {:?}; only \"LORA\" is supported", config.peft_type);
        return refuse("peft_type", message);
    }
    if config.r == 0 {
        return refuse("r", "must be at least 1".to_owned());
    }
    if !config.lora_alpha.is_finite() {
        return refuse("lora_alpha", "must be a number".to_owned());
    }
    if config.fan_in_fan_out {
        let message = "is true: the weights are stored the other way round, which is not supported";
        return refuse("fan_in_fan_out", message.to_owned());
    }
    let is_set = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    for (field, what) in REFUSED {
        if config.others.get(field).is_some_and(is_set) {
            return refuse(field, format!("asks for {what}, which is not supported"));
        }
    }
    // These begin by changing the base's weights, which are not in the adapter's files.
    let changes_base = ["pissa", "olora", "corda", "loftq", "lora_ga"];
    if let Some(how) = config.init_lora_weights.as_str()
        && changes_base
            .iter()
            .any(|name| how.to_lowercase().starts_with(name))
    {
        let message = format!(
            "is {how:?}: such an adapter fits a changed base only; convert it with PEFT's \
             `path_initial_model_for_weight_conversion`"
        );
        return refuse("init_lora_weights", message);
    }
    Ok(())
}

/// What a tensor is of its module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TensorKind {
    A,
    B,
    BBias,
    Bias,
    Magnitude,
    Weight,
}

/// The module that a tensor is for, as the adapter calls it, and what it is there.
fn parsed(name: &str) -> Option<(&str, TensorKind)> {
    const SUFFIXES: [(&str, TensorKind); 12] = [
        (".lora_A.weight", TensorKind::A),
        (".lora_B.weight", TensorKind::B),
        (".lora_B.bias", TensorKind::BBias),
        // With the name of the adapter, as it is called in training.
        (".lora_A.default.weight", TensorKind::A),
        (".lora_B.default.weight", TensorKind::B),
        (".lora_magnitude_vector", TensorKind::Magnitude),
        (".lora_magnitude_vector.weight", TensorKind::Magnitude),
        (".base_layer.bias", TensorKind::Bias),
        (".modules_to_save.default.weight", TensorKind::Weight),
        (".modules_to_save.weight", TensorKind::Weight),
        (".bias", TensorKind::Bias),
        (".weight", TensorKind::Weight),
    ];
    let (suffix, kind) = SUFFIXES
        .into_iter()
        .filter(|(suffix, _)| name.ends_with(suffix))
        .max_by_key(|(suffix, _)| suffix.len())?;
    let module = &name[..name.len() - suffix.len()];
    if module.contains("lora_") {
        return None;
    }
    let module = module.strip_prefix("base_model.model.").unwrap_or(module);
    Some((module, kind))
}

/// The name of a module in the text model alone, where that is a part of one that reads images too.
fn text_module(module: &str) -> String {
    let module = module.replace("language_model.model.", "model.");
    module.replace("model.language_model.", "model.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensor_names_are_taken_apart() {
        let q = "model.layers.0.self_attn.q_proj";
        let name = |rest: &str| {
            let (module, kind) = parsed(&format!("base_model.model.{q}{rest}"))
                .map(|(module, kind)| (module.to_owned(), kind))?;
            (module == q).then_some(kind)
        };
        assert_eq!(name(".lora_A.weight"), Some(TensorKind::A));
        assert_eq!(name(".lora_B.default.weight"), Some(TensorKind::B));
        assert_eq!(name(".lora_B.bias"), Some(TensorKind::BBias));
        assert_eq!(name(".base_layer.bias"), Some(TensorKind::Bias));
        assert_eq!(name(".lora_C.weight"), None);
        assert_eq!(name(".lora_embedding_A"), None);
        let head = parsed("base_model.model.lm_head.weight");
        assert_eq!(head, Some(("lm_head", TensorKind::Weight)));
        let nested =
            parsed("base_model.model.model.language_model.layers.1.mlp.up_proj.lora_A.weight");
        let own_name = nested.unwrap().0;
        assert_eq!(own_name, "model.language_model.layers.1.mlp.up_proj");
        assert_eq!(text_module(own_name), "model.layers.1.mlp.up_proj");
    }

    #[test]
    fn patterns_match_the_end_of_a_name() {
        let patterns = BTreeMap::from([
            ("q_proj".to_owned(), 8),
            (r"layers\.1\.mlp\..*".to_owned(), 2),
        ]);
        let patterns = Patterns::new(Path::new("x"), "rank_pattern", Some(&patterns)).unwrap();
        assert_eq!(patterns.get("model.layers.0.self_attn.q_proj"), Some(8));
        assert_eq!(patterns.get("model.layers.1.mlp.up_proj"), Some(2));
        assert_eq!(patterns.get("model.layers.0.mlp.up_proj"), None);
        assert_eq!(patterns.get("model.layers.0.self_attn.qq_proj"), None);
    }
}
