//! What a checkpoint says about itself: one [`ModelConfig`], read from `config.json`, from Mistral's
//! `params.json`, or from the metadata of a GGUF file.
//!
//! Field names are Hugging Face's. Fields that only some families have are optional, or hold the
//! value that makes them do nothing. Which tokens end an answer is no matter of the weights: the
//! text side reads it.

mod defaults;
mod folder;
mod gguf;
mod huggingface;
mod json_file;
mod mistral;
mod model_config;
mod rope;

pub(crate) use self::folder::FolderConfig;
pub(crate) use self::gguf::architecture as gguf_architecture;
pub(crate) use self::mistral::PARAMS_FILE;
pub(crate) use self::model_config::ModelConfig;
pub(crate) use self::rope::{Llama4Scaling, RopeParameters, RopeScaling};
