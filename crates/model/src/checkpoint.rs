//! The files of a model, opened and parsed once: what they are, what they will take, and the model.
//!
//! ```text
//! WeightFiles ──open──▶ Checkpoint ──summary(options)──▶ ModelSummary, as often as wanted
//!                        │      └──load(options)──────▶ LanguageModel
//!                        └──text()──▶ what the text side is made from: this crate reads none of it
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::backend::{Backend, Cpu, Gpu, Reference};
use crate::config::{FolderConfig, ModelConfig, PARAMS_FILE, gguf_architecture};
use crate::decoder::Decoder;
use crate::device::DeviceChoice;
use crate::error::Result;
use crate::families::Architecture;
use crate::format_name::{file_type_name, format_name};
use crate::language_model::LanguageModel;
use crate::load_options::LoadOptions;
use crate::loader::Loader;
use crate::quantize::TargetFormats;
use crate::registry;
use crate::summary::ModelSummary;
use crate::weights::{
    CONSOLIDATED, GgufFile, GgufSource, GgufValue, HUGGING_FACE, MistralSource, PrequantizedSource,
    SafetensorsSource, Shape, SyntheticSource, TensorSource,
};

/// The files of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WeightFiles {
    /// A GGUF file, or the first of its shards.
    Gguf(PathBuf),
    /// A folder with `config.json` and safetensors, or with Mistral's `params.json` and its.
    HuggingFace(PathBuf),
    /// None: weights of this shape are made up.
    Synthetic(Shape),
}

/// A model whose headers and config have been read, and of whose weights nothing yet.
pub struct Checkpoint {
    files: WeightFiles,
    config: ModelConfig,
    source: Box<dyn TensorSource>,
    /// The file behind `source`, where it is a GGUF file.
    gguf: Option<Arc<GgufFile>>,
    /// What the files call the format of their weights, if they were quantised.
    stated_format: Option<String>,
}

/// What a decoder is built from.
struct Parts<'a> {
    config: &'a ModelConfig,
    architecture: &'a Architecture,
    loader: Loader<'a>,
}

/// Where a model's tokenizer and template are found.
#[derive(Debug, Clone, PartialEq)]
pub enum TextFiles<'a> {
    /// The metadata of a GGUF file under `tokenizer.`, keys in full, as JSON.
    Metadata(Map<String, Value>),
    /// A folder with files of its own for them.
    Folder(&'a Path),
}

impl Checkpoint {
    /// Maps the files of a model and parses what describes it.
    ///
    /// # Errors
    ///
    /// When files are missing or corrupt, or the architecture is unknown. Each error names what it
    /// is about.
    pub fn open(files: &WeightFiles) -> Result<Self> {
        let (config, source, stated_format, gguf) = match files {
            WeightFiles::Gguf(path) => open_gguf(path)?,
            WeightFiles::HuggingFace(folder) => open_folder(folder)?,
            WeightFiles::Synthetic(shape) => {
                let source: Box<dyn TensorSource> = Box::new(SyntheticSource::new(*shape));
                (shape.config(), source, Some(shape.format_name()), None)
            }
        };
        Ok(Self {
            files: files.clone(),
            config,
            source,
            gguf,
            stated_format,
        })
    }

    /// What the model is, and what it will take with these options.
    ///
    /// # Errors
    ///
    /// When the config or a tensor's shape is not what a model of its architecture has.
    pub fn summary(&self, options: &LoadOptions) -> Result<ModelSummary> {
        let config = self.config(options);
        registry::architecture(&config)?;
        let target = target(options, &config);
        let mut summary = ModelSummary::new(&config, self.source.as_ref(), &target)?;
        let main = summary.formats.first().map_or("none", |(main, _)| main);
        summary.quantization = self.format_name(options, main)?;
        Ok(summary)
    }

    /// Loads the model.
    ///
    /// # Errors
    ///
    /// When a tensor is missing or has the wrong shape or an unsupported type, or the device is not
    /// there. Each error names what it is about.
    pub fn load(&self, options: &LoadOptions) -> Result<Box<dyn LanguageModel>> {
        let config = self.config(options);
        let architecture = registry::architecture(&config)?;
        let target = target(options, &config);
        let weight_bytes = match options.device {
            // Only the automatic choice has to know.
            DeviceChoice::Auto => self.summary(options)?.weight_bytes,
            _ => 0,
        };
        let parts = Parts {
            config: &config,
            architecture: &architecture,
            loader: Loader::new(self.source.as_ref(), target, options.progress.as_deref()),
        };
        match options.device.resolve(weight_bytes)? {
            DeviceChoice::Cpu | DeviceChoice::Auto => {
                self.build(Cpu::new(options.context()?), &parts, options)
            }
            DeviceChoice::CpuReference => self.build(Reference, &parts, options),
            DeviceChoice::Gpu(index) => {
                let folder = options.kernel_cache.as_deref();
                let gpu = Gpu::open(index.unwrap_or(0), options.context()?, folder)?;
                self.build(gpu, &parts, options)
            }
        }
    }

    fn build<B: Backend>(
        &self,
        backend: B,
        parts: &Parts<'_>,
        options: &LoadOptions,
    ) -> Result<Box<dyn LanguageModel>> {
        let mut decoder = Decoder::load(backend, parts.config, parts.architecture, &parts.loader)?;
        let name = self.format_name(options, &decoder.info().quantization)?;
        decoder.set_quantization(name);
        Ok(Box::new(decoder))
    }

    /// Where the text side of the model is.
    pub fn text(&self) -> TextFiles<'_> {
        match (&self.gguf, &self.files) {
            (Some(file), _) => TextFiles::Metadata(file.metadata().to_json("tokenizer.")),
            (None, WeightFiles::Gguf(path) | WeightFiles::HuggingFace(path)) => {
                TextFiles::Folder(path)
            }
            (None, WeightFiles::Synthetic(_)) => TextFiles::Metadata(Map::new()),
        }
    }

    /// The files that were opened.
    pub fn files(&self) -> &WeightFiles {
        &self.files
    }

    /// What to call the format of weights that are mostly `main` in memory.
    fn format_name(&self, options: &LoadOptions, main: &str) -> Result<String> {
        let tensors = self.source.tensors()?;
        Ok(format_name(
            self.stated_format.as_deref(),
            &tensors,
            options,
            main,
        ))
    }

    fn config(&self, options: &LoadOptions) -> ModelConfig {
        let mut config = self.config.clone();
        config.settle_context(options.context_length);
        config
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("files", &self.files)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

fn target(options: &LoadOptions, config: &ModelConfig) -> TargetFormats {
    TargetFormats::new(options.dtype.weight_format(), options.quantize, config)
}

/// What is known of a model once its files are open.
type Opened = (
    ModelConfig,
    Box<dyn TensorSource>,
    Option<String>,
    Option<Arc<GgufFile>>,
);

fn open_gguf(path: &Path) -> Result<Opened> {
    let file = Arc::new(GgufFile::open(path)?);
    // Before all else: files of architectures that are not supported lack keys, and to name one of
    // these would mislead.
    registry::check(gguf_architecture(&file)?)?;
    let config = ModelConfig::from_gguf(&file)?;
    let source = GgufSource::new(
        Arc::clone(&file),
        &config.architecture,
        config.num_attention_heads,
        config.num_key_value_heads,
    );
    let file_type = file.metadata().get("general.file_type");
    let stated = file_type
        .and_then(GgufValue::as_u64)
        .and_then(file_type_name)
        .map(str::to_owned);
    Ok((config, Box::new(source), stated, Some(file)))
}

/// Hugging Face's layout, or Mistral's where that is all there is.
fn open_folder(folder: &Path) -> Result<Opened> {
    let has_config = folder.join("config.json").exists();
    if folder.join(PARAMS_FILE).exists() && !(has_config && HUGGING_FACE.exist_in(folder)) {
        let config = ModelConfig::from_params(folder)?;
        let files = SafetensorsSource::open(folder, CONSOLIDATED)?;
        let source = MistralSource::new(
            Box::new(PrequantizedSource::new(files, None)),
            config.num_attention_heads,
            config.num_key_value_heads,
        );
        return Ok((config, Box::new(source), None, None));
    }
    let config = FolderConfig::read(folder)?;
    registry::check(config.architecture()?)?;
    let (config, method) = config.into_config()?;
    let files = SafetensorsSource::open(folder, HUGGING_FACE)?;
    let source = PrequantizedSource::new(files, method);
    let stated = method.map(|method| method.name().to_owned());
    Ok((config, Box::new(source), stated, None))
}
