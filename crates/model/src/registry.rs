//! Which family builds which architecture.

use crate::config::ModelConfig;
use crate::error::{ModelError, Result};
use crate::families::{Architecture, gemma3, granite, llama, mixtral, phi3, qwen};

/// A family under the names that files know it by.
struct Family {
    /// Entries of `architectures` in `config.json`.
    huggingface: &'static [&'static str],
    /// Values of `general.architecture` in GGUF files.
    gguf: &'static [&'static str],
    architecture: fn(&ModelConfig) -> Result<Architecture>,
}

#[rustfmt::skip]
const FAMILIES: &[Family] = &[
    Family { huggingface: &["LlamaForCausalLM", "LLaMAForCausalLM", "YiForCausalLM"], gguf: &["llama"], architecture: llama_or_mixtral },
    Family { huggingface: &["MistralForCausalLM", "MinistralForCausalLM", "Ministral3ForCausalLM"], gguf: &["mistral3"], architecture: llama_or_mixtral },
    Family { huggingface: &["SmolLM3ForCausalLM"], gguf: &["smollm3"], architecture: llama::architecture },
    Family { huggingface: &["MixtralForCausalLM"], gguf: &[], architecture: mixtral::architecture },
    Family { huggingface: &["GraniteForCausalLM"], gguf: &["granite"], architecture: granite::architecture },
    Family { huggingface: &["Qwen2ForCausalLM"], gguf: &["qwen2"], architecture: qwen::qwen2 },
    Family { huggingface: &["Qwen3ForCausalLM"], gguf: &["qwen3"], architecture: qwen::qwen3 },
    Family { huggingface: &["Phi3ForCausalLM"], gguf: &["phi3"], architecture: phi3::architecture },
    Family { huggingface: &["Gemma3ForCausalLM"], gguf: &["gemma3"], architecture: gemma3::architecture },
];

/// GGUF files of Llama, Mistral and Mixtral are all of the architecture `llama`.
fn llama_or_mixtral(config: &ModelConfig) -> Result<Architecture> {
    match config.num_local_experts {
        0 => llama::architecture(config),
        _ => mixtral::architecture(config),
    }
}

/// The particulars of the architecture that the config names.
pub(crate) fn architecture(config: &ModelConfig) -> Result<Architecture> {
    (family(&config.architecture)?.architecture)(config)
}

/// Refuses a name that no family has. Configs are not read before that: those of other
/// architectures lack fields, and to name one of these would mislead.
pub(crate) fn check(name: &str) -> Result<()> {
    family(name).map(|_| ())
}

fn family(name: &str) -> Result<&'static Family> {
    FAMILIES
        .iter()
        .find(|family| family.huggingface.contains(&name) || family.gguf.contains(&name))
        .ok_or_else(|| ModelError::UnsupportedArchitecture {
            architecture: name.to_owned(),
            supported: supported(),
        })
}

fn supported() -> String {
    let names: Vec<&str> = FAMILIES
        .iter()
        .flat_map(|family| family.huggingface.iter().chain(family.gguf))
        .copied()
        .collect();
    names.join(", ")
}
