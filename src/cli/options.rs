//! The options that commands share: which model, and how it runs.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::{Args, ValueEnum};
use matou_chat::{TextOptions, UnknownPreTokenizer};
use matou_llm::open::OpenOptions;
use matou_model::{DeviceChoice, KvCacheDtype, Quantization};

use super::{chat_template, isolation, progress};

/// Which model, and how it runs.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// Catalogue name, path, or `hf:owner/repo[/file][:QUANT][@revision]`.
    #[arg(value_name = "MODEL", env = "MATOU_MODEL")]
    pub model: Option<String>,

    /// How it runs.
    #[command(flatten)]
    pub options: ModelOptions,
}

/// Where weights are found, and what becomes of them.
#[derive(Debug, Clone, Args)]
pub struct WeightOptions {
    /// A catalogue of your own, in the format of models.toml, added to the built-in one.
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub models: Option<PathBuf>,

    /// Where to compute: auto, cpu, gpu or gpu:N (`matou devices` shows their numbers). Auto takes a
    /// graphics card with room for the model, if there is one.
    #[arg(long, default_value_t = DeviceChoice::Auto, help_heading = "Model")]
    pub device: DeviceChoice,

    /// Type of unquantised weights; auto keeps the file's own.
    #[arg(long, value_enum, default_value_t = Dtype::Auto, help_heading = "Model")]
    pub dtype: Dtype,

    /// Pack unquantised weights as they load: q8_0, q6_k, q5_k_m, q4_k_m, q4_0 and others.
    #[arg(long, value_name = "FORMAT", help_heading = "Model")]
    pub quantize: Option<Quantization>,
}

/// How a model is found and run. Shared by every command that loads one.
#[derive(Debug, Clone, Args)]
pub struct ModelOptions {
    /// Which weights.
    #[command(flatten)]
    pub weights: WeightOptions,

    /// Threads that compute [default: physical cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), help_heading = "Model")]
    pub threads: Option<u16>,

    /// Longest context, prompt and answer together [default: the model's own].
    #[arg(long, value_name = "TOKENS", value_parser = positive, help_heading = "Model")]
    pub max_model_len: Option<usize>,

    /// Another chat template than the model's own: a Jinja file, or one of alpaca, chatml, gemma, llama2,
    /// llama3, mistral, phi3, vicuna, zephyr, or mistral-v1 to -v13 for those of Mistral's tokenizers.
    #[arg(long, value_name = "FILE|NAME", help_heading = "Model")]
    pub chat_template: Option<String>,

    /// What to do about a GGUF file whose way to cut text (tokenizer.ggml.pre) is not known: refuse it, or
    /// cut as llama.cpp does by default, which may spoil answers.
    #[arg(long, value_enum, default_value_t = UnknownPretokenizer::Refuse, help_heading = "Model")]
    pub unknown_pretokenizer: UnknownPretokenizer,

    /// Type of the KV cache: f32 is exact, f16 half of that, q8 a quarter.
    #[arg(long, value_enum, default_value_t = KvDtype::F16, help_heading = "Model")]
    pub kv_cache_dtype: KvDtype,

    /// Memory for the KV cache, such as 512MiB or 4GiB [default: chosen from what is free].
    #[arg(long, value_name = "SIZE", value_parser = byte_size, help_heading = "Model")]
    pub kv_cache_memory: Option<u64>,
}

impl ModelOptions {
    /// The same in the words of the library, with a progress bar for those who watch.
    ///
    /// # Errors
    ///
    /// If there is no such chat template.
    pub fn to_open(&self) -> Result<OpenOptions> {
        let template = self.chat_template.as_deref().map(chat_template::read);
        let template = template
            .transpose()
            .map_err(|reason| anyhow!("--chat-template: {reason}"))?;
        Ok(OpenOptions {
            threads: self.threads.map(usize::from),
            max_model_len: self.max_model_len,
            kv_cache_dtype: self.kv_cache_dtype.into(),
            kv_cache_memory: self.kv_cache_memory,
            isolation: isolation::of_this_program(),
            text: TextOptions {
                unknown_pre_tokenizer: self.unknown_pretokenizer.into(),
                chat_template: template,
                compiler: None,
            },
            ..self.weights.to_open()
        })
    }
}

impl WeightOptions {
    /// The same in the words of the library, with a progress bar for those who watch.
    pub fn to_open(&self) -> OpenOptions {
        OpenOptions {
            catalogue: self.models.clone(),
            device: self.device,
            dtype: self.dtype.into(),
            quantize: self.quantize,
            progress: progress::bar(),
            ..OpenOptions::default()
        }
    }
}

/// What to do about a vocabulary whose pre-tokenizer is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnknownPretokenizer {
    /// Not to load the model.
    Refuse,
    /// To cut text by default.
    Default,
}

impl From<UnknownPretokenizer> for UnknownPreTokenizer {
    fn from(choice: UnknownPretokenizer) -> Self {
        match choice {
            UnknownPretokenizer::Refuse => Self::Refuse,
            UnknownPretokenizer::Default => Self::Default,
        }
    }
}

/// Type of unquantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Dtype {
    Auto,
    F32,
    F16,
    Bf16,
}

impl From<Dtype> for matou_model::Dtype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::Auto => Self::Auto,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
        }
    }
}

/// Type of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KvDtype {
    F32,
    F16,
    Q8,
}

impl From<KvDtype> for KvCacheDtype {
    fn from(dtype: KvDtype) -> Self {
        match dtype {
            KvDtype::F32 => Self::F32,
            KvDtype::F16 => Self::F16,
            KvDtype::Q8 => Self::Q8,
        }
    }
}

/// A whole number of at least 1.
pub(super) fn positive(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(n) => Ok(n),
        Err(error) => Err(error.to_string()),
    }
}

/// A size in bytes, with an optional unit: `512MiB`, `4GiB`, `2G`, `1000000`.
pub(super) fn byte_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1_u64 << 30,
        "t" | "tib" => 1_u64 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        other => return Err(format!("unknown unit {other:?}: use KiB, MiB, GiB or TiB")),
    };
    let value: f64 = digits
        .trim()
        .parse()
        .map_err(|_| format!("{digits:?} is not a number"))?;
    let bytes = value * unit as f64;
    if !(1.0..=(1_u64 << 50) as f64).contains(&bytes) {
        return Err("must be between 1 byte and 1 PiB".to_owned());
    }
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(byte_size("512MiB"), Ok(512 << 20));
        assert_eq!(byte_size("1.5g"), Ok(3 << 29));
        assert_eq!(byte_size("4096"), Ok(4096));
        assert!(byte_size("4 parsecs").is_err());
        assert!(byte_size("-1G").is_err());
        assert!(byte_size("").is_err());
        assert!(byte_size("999999T").is_err());
    }
}
