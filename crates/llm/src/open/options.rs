//! How a model is opened.

use std::path::PathBuf;
use std::sync::Arc;

use crate::isolation::Isolation;
use matou_chat::{TemplateCompiler, TextOptions};
use matou_hub::HubOptions;
use matou_model::{
    DeviceChoice, Dtype, KvCacheDtype, LoadOptions, Progress, Quantization, ThreadPool,
};

/// How a model is found, loaded and given memory.
#[derive(Clone, Default)]
pub struct OpenOptions {
    /// A catalogue that is added to the built-in one.
    pub catalogue: Option<PathBuf>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Element type of weights that are not quantised.
    pub dtype: Dtype,
    /// What unquantised weights are packed into as they load.
    pub quantize: Option<Quantization>,
    /// Threads that compute; the physical cores that this process may use if `None`.
    pub threads: Option<usize>,
    /// Threads that other models use too, in place of some of its own.
    pub pool: Option<Arc<ThreadPool>>,
    /// Longest context, prompt and answer together, in tokens; the model's own, or what memory has
    /// room for, if `None`.
    pub max_model_len: Option<usize>,
    /// Type of the KV cache.
    pub kv_cache_dtype: KvCacheDtype,
    /// Bytes of the KV cache; chosen from what is free if `None`.
    pub kv_cache_memory: Option<u64>,
    /// Where work is done that may never end; in this process if `None`.
    pub isolation: Option<Isolation>,
    /// How the tokenizer and the chat template are read.
    pub text: TextOptions,
    /// Called as weights load, with the bytes so far and the bytes in all.
    pub progress: Option<Arc<Progress>>,
}

impl OpenOptions {
    /// How the text side is opened: its template in the isolation, if there is one.
    pub fn text_options(&self) -> TextOptions {
        let compiler = self.isolation.clone().map(|isolation| {
            TemplateCompiler::new(move |source, tokens| isolation.template(source, tokens))
        });
        TextOptions {
            compiler: compiler.or_else(|| self.text.compiler.clone()),
            ..self.text.clone()
        }
    }

    /// What the loader of weights has to know.
    pub fn load_options(&self) -> LoadOptions {
        let progress = self.progress.clone();
        LoadOptions {
            device: self.device,
            dtype: self.dtype,
            quantize: self.quantize,
            context_length: self.max_model_len,
            threads: self.threads.or_else(super::memory::physical_cores),
            pool: self.pool.clone(),
            // Beside what else can be made again.
            kernel_cache: HubOptions::from_env()
                .ok()
                .map(|hub| hub.cache_dir.join("kernels")),
            progress: progress
                .map(|tell| -> Box<Progress> { Box::new(move |done, total| tell(done, total)) }),
            ..LoadOptions::default()
        }
    }
}
