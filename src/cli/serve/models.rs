//! Which models a server has, and what memory they share.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use matou_engine::EngineConfig;
use matou_hub::{Catalogue, HubOptions, on_disk};
use matou_llm::isolation::Isolation;
use matou_llm::models::{Inspected, KeepAlive, ModelConfig, ModelSpec, Models, ModelsOptions};
use matou_llm::open::{self, OpenOptions, Place, free_memory, human_bytes};
use matou_model::DeviceChoice;
use matou_persona::Persona;
use matou_server::{ModelManagement, PersonaManagement};
use tokio::sync::mpsc;
use tokio::task::block_in_place;

use super::adapters::{AdapterArg, check_place, give_out};
use super::args::ServeArgs;
use super::data::DataFolder;
use super::library::{Files, Library};
use super::management::{OnDisk, Wish};
use super::places::Places;
use crate::cli::config::{Invocation, ModelEntry, entries};
use crate::cli::isolation;

/// Part of the free memory that is left for the rest of the machine, and the least of it, where nobody
/// says how much models may take.
const MARGIN: (f64, u64) = (0.05, 256 << 20);
/// Part of what weights leave that keys and values get at most, where nobody says how much memory there
/// is: prompts in flight and the machine itself need some.
const KV_CACHE_PART: f64 = 0.5;
/// Personas that are named at start.
const MAX_NAMED: usize = 20;

/// What does not change while the server runs.
pub(super) struct Shared {
    isolation: Option<Isolation>,
    /// Which devices there are models on, and what was free there.
    places: Places,
    /// A catalogue of the user's own.
    catalogue: Option<PathBuf>,
    /// Where clients' personas are, if there is a place for them.
    library: Option<PathBuf>,
    /// Which persona is of which file.
    files: Files,
}

impl Shared {
    pub(super) fn new(args: &ServeArgs, folder: &DataFolder) -> Self {
        Self {
            isolation: isolation::of_this_program(),
            places: Places::new(free_memory()),
            catalogue: args.options.weights.models.clone(),
            library: folder.personas(),
            files: Files::default(),
        }
    }
}

/// The models of a server, ready to be served.
pub(super) struct Planned {
    pub(super) configs: Vec<ModelConfig>,
    pub(super) options: ModelsOptions,
    /// Names of those to load at start.
    pub(super) at_start: Vec<String>,
    /// Who there is to talk to.
    pub(super) personas: Vec<Arc<Persona>>,
}

/// A model that was asked for.
struct Wanted {
    model: Option<String>,
    names: Vec<String>,
    options: OpenOptions,
    is_pinned: bool,
    is_preloaded: bool,
    keep_alive: KeepAlive,
    /// Only because it is on disk: it may be named already.
    is_found: bool,
    adapters: Vec<AdapterArg>,
}

/// Finds, fetches and looks at all models that were asked for.
pub(super) async fn plan(
    args: &ServeArgs,
    invocation: &Invocation,
    shared: &Shared,
) -> Result<Planned> {
    let hub = HubOptions::from_env()?;
    let mut wanted = named(args)?;
    for entry in entries(&invocation.config, invocation.own_matches())? {
        wanted.push(configured(&entry, args)?);
    }
    // What a client fetches is to be served.
    if args.all_models || args.allow_model_management {
        let catalogue = Catalogue::load(shared.catalogue.as_deref())?;
        let found = catalogue
            .iter()
            .filter(|entry| on_disk(entry, &hub).is_some());
        for entry in found {
            wanted.push(Wanted {
                model: Some(entry.name.clone()),
                is_found: true,
                ..unnamed(args)?
            });
        }
    }
    if wanted.is_empty() {
        wanted.push(unnamed(args)?);
    }
    name_all(&mut wanted, args)?;
    let is_alone = wanted.len() == 1;
    let mut planned = Planned {
        configs: Vec::new(),
        options: memory(args, shared.places.least_free([])),
        at_start: Vec::new(),
        personas: Vec::new(),
    };
    let mut names = HashMap::new();
    for wanted in wanted {
        add(
            wanted,
            args,
            shared,
            (&hub, is_alone),
            &mut names,
            &mut planned,
        )
        .await?;
    }
    if let Some(pin) = args.pin.iter().find(|pin| !names.contains_key(*pin)) {
        bail!("--pin: there is no model of the name `{pin}`");
    }
    if planned.configs.is_empty() {
        bail!("none of the models can be served; the log says why");
    }
    let places = planned
        .configs
        .iter()
        .map(|config| config.inspected.place());
    planned.options = memory(args, shared.places.least_free(places));
    // Headers of adapters, and perhaps a thousand cards: clients are answered meanwhile.
    block_in_place(|| finish(args, shared, &mut planned, &mut names))?;
    Ok(planned)
}

/// Adds what stands on models: adapters, and personas.
fn finish(
    args: &ServeArgs,
    shared: &Shared,
    planned: &mut Planned,
    taken: &mut HashMap<String, PathBuf>,
) -> Result<()> {
    let names: Vec<Vec<String>> = planned
        .configs
        .iter()
        .map(|config| config.inspected.names().to_vec())
        .collect();
    give_out(&args.lora, &mut planned.configs, &names)?;
    for (config, names) in planned.configs.iter().zip(&names) {
        for adapter in &config.adapters {
            check_place(adapter.name(), &names[0], config.inspected.place())?;
            let path = adapter.path().to_owned();
            if let Some(other) = taken.insert(adapter.name().to_owned(), path) {
                bail!(
                    "the adapter `{}` has the name of {}; give it another",
                    adapter.name(),
                    other.display()
                );
            }
            // What is wrong with one is told at once, where its model is there to tell it.
            if names.iter().any(|name| planned.at_start.contains(name)) {
                planned.at_start.push(adapter.name().to_owned());
            }
        }
    }
    let names: Vec<String> = taken.keys().cloned().collect();
    let (folders, own) = (args.personas.clone(), shared.library.clone());
    planned.personas = shared.files.read(folders, own, &names)?;
    Ok(())
}

/// Adds a model to those of the server, if it can be served.
async fn add(
    wanted: Wanted,
    args: &ServeArgs,
    shared: &Shared,
    (hub, is_alone): (&HubOptions, bool),
    taken: &mut HashMap<String, PathBuf>,
    planned: &mut Planned,
) -> Result<()> {
    let mut options = wanted.options;
    options.isolation.clone_from(&shared.isolation);
    let files = open::find(wanted.model.as_deref(), &options, hub).await?;
    let is_known = taken.values().any(|path| *path == files.weights);
    if wanted.is_found && (is_known || taken.contains_key(&files.name)) {
        return Ok(());
    }
    let names = match wanted.names.is_empty() {
        true => vec![files.name.clone()],
        false => wanted.names,
    };
    let path = files.weights.clone();
    let has_adapters = !wanted.adapters.is_empty() || !args.lora.is_empty();
    if options.device == DeviceChoice::Auto && has_adapters {
        // They are applied there only.
        options.device = DeviceChoice::Cpu;
    }
    let is_free = options.device == DeviceChoice::Auto;
    options.device = shared.places.again(&names[0], &path, options.device);
    for name in &names {
        if let Some(other) = taken.insert(name.clone(), path.clone()) {
            bail!(
                "two models are called `{name}`: {} and {}; give one another name (`name` in [[model]] of \
                 the configuration)",
                other.display(),
                path.display()
            );
        }
    }
    let spec = ModelSpec {
        files,
        names: names.clone(),
        options,
        limits: limits(args),
    };
    let inspected = tokio::task::spawn_blocking(move || Inspected::new(spec)).await?;
    let inspected = match inspected {
        Ok(inspected) => inspected,
        Err(error) if is_alone => return Err(error.into()),
        // The others are served all the same.
        Err(error) => {
            let error = anyhow::Error::from(error);
            tracing::warn!("{} is not served: {error:#}", path.display());
            return Ok(());
        }
    };
    if is_free {
        shared.places.keep(&names[0], &path, inspected.place());
    }
    let pinned = wanted.is_pinned || args.pin.iter().any(|pin| names.contains(pin));
    if is_alone || pinned || wanted.is_preloaded {
        planned.at_start.push(names[0].clone());
    }
    let adapters = wanted.adapters.iter().map(AdapterArg::open);
    let adapters = block_in_place(|| adapters.collect::<Result<_>>())?;
    planned.configs.push(ModelConfig {
        inspected,
        pinned,
        keep_alive: wanted.keep_alive,
        adapters,
    });
    Ok(())
}

/// A model about which nothing is said.
fn unnamed(args: &ServeArgs) -> Result<Wanted> {
    Ok(Wanted {
        model: None,
        names: Vec::new(),
        options: args.options.to_open()?,
        is_pinned: false,
        is_preloaded: args.preload,
        keep_alive: args.keep_alive,
        is_found: false,
        adapters: Vec::new(),
    })
}

/// The models of the command line.
fn named(args: &ServeArgs) -> Result<Vec<Wanted>> {
    let models = args.model.iter().map(|model| {
        Ok(Wanted {
            model: Some(model.clone()),
            ..unnamed(args)?
        })
    });
    models.collect()
}

/// A model of the configuration.
fn configured(entry: &ModelEntry, args: &ServeArgs) -> Result<Wanted> {
    let model = entry.model.clone();
    let about = || format!("the model `{}`", model.clone().unwrap_or_default());
    Ok(Wanted {
        names: entry.name.clone(),
        options: entry.options.to_open().with_context(about)?,
        is_pinned: entry.pinned,
        is_preloaded: entry.preload || args.preload,
        keep_alive: entry.keep_alive.unwrap_or(args.keep_alive),
        model: model.clone(),
        is_found: false,
        adapters: entry
            .lora
            .iter()
            .map(AdapterArg::of_this_model)
            .collect::<Result<_>>()
            .with_context(about)?,
    })
}

/// Names of the command line are those of the one model that there is.
fn name_all(wanted: &mut [Wanted], args: &ServeArgs) -> Result<()> {
    match wanted {
        _ if args.served_model_name.is_empty() => Ok(()),
        [only] => {
            only.names.clone_from(&args.served_model_name);
            Ok(())
        }
        _ => bail!(
            "--served-model-name names one model, and there are several: name each in the configuration \
             (`name` in [[model]])"
        ),
    }
}

/// The memory that models share, and how, where so many bytes are free.
fn memory(args: &ServeArgs, free: u64) -> ModelsOptions {
    let (part, least) = MARGIN;
    let margin = ((free as f64 * part) as u64).max(least);
    ModelsOptions {
        memory: args.memory.unwrap_or(free.saturating_sub(margin)),
        kv_cache_part: args.memory.map_or(KV_CACHE_PART, |_| 1.0),
        any_name: args.any_model_name,
        max_queue_len: args.max_queue_len,
    }
}

/// The limits of each engine.
fn limits(args: &ServeArgs) -> EngineConfig {
    EngineConfig {
        max_num_seqs: args.max_num_seqs,
        // A step must have room for a token of every running sequence.
        max_num_batched_tokens: args.max_num_batched_tokens.max(args.max_num_seqs),
        max_queue_len: args.max_queue_len,
        enable_prefix_caching: !args.no_enable_prefix_caching,
        ..EngineConfig::default()
    }
}

/// What is served and what memory it takes, for people.
pub(super) fn describe(
    configs: &[ModelConfig],
    options: &ModelsOptions,
    personas: &[Arc<Persona>],
) -> String {
    let (before, indent) = match configs {
        [_] => (" · ", ""),
        _ => ("\n  ", "    "),
    };
    let mut text = String::new();
    let plan = matou_llm::models::plan(configs, options);
    for (config, share) in configs.iter().zip(plan) {
        let summary = config.inspected.summary();
        let _ = write!(
            text,
            "{before}{} ({}, {}, {:.1} M parameters, {}){}\n{indent}",
            config.inspected.name(),
            summary.architecture,
            summary.quantization,
            summary.parameters as f64 / 1e6,
            human_bytes(summary.weight_bytes),
            on_gpu(config.inspected.place()),
        );
        let _ = match share {
            Ok((memory, kv_cache, context)) => write!(
                text,
                "memory: {}, of which {} of KV cache (one context takes up to {context} tokens)",
                human_bytes(memory),
                human_bytes(kv_cache),
            ),
            Err(reason) => write!(text, "does not fit: {reason}"),
        };
        for adapter in &config.adapters {
            let memory = human_bytes(adapter.memory_bytes());
            let _ = write!(text, "\n{indent}adapter {} ({memory})", adapter.name());
        }
    }
    if configs.len() > 1 {
        let _ = write!(
            text,
            "\n  memory for all of them: {}",
            human_bytes(options.memory)
        );
    }
    if !personas.is_empty() {
        let names: Vec<&str> = personas.iter().map(|it| it.id()).take(MAX_NAMED).collect();
        let _ = match personas.len() - names.len() {
            0 => write!(text, "\n  personas: {}", names.join(", ")),
            more => write!(text, "\n  personas: {} and {more} more", names.join(", ")),
        };
    }
    text
}

/// Names the device of a model that does not run where all would without a GPU.
fn on_gpu(place: &Place) -> String {
    match place.gpu {
        Some(_) => format!(" on {place}"),
        None => String::new(),
    }
}

/// What clients may do to the personas of a server: without keys it is its only user's, and with some only
/// where its owner says so.
pub(super) fn persona_management(
    args: &ServeArgs,
    shared: &Shared,
    models: &Models,
) -> Option<Arc<dyn PersonaManagement>> {
    let may = args.api_key.is_empty() || args.allow_persona_editing;
    let folder = shared.library.clone().filter(|_| may)?;
    let library = Library::new(folder, shared.files.clone(), models.clone());
    Some(Arc::new(library))
}

/// What clients may do to the models of this machine.
pub(super) fn management(
    args: &ServeArgs,
    shared: &Shared,
    wishes: mpsc::Sender<Wish>,
) -> Result<Option<Arc<dyn ModelManagement>>> {
    if !args.allow_model_management {
        return Ok(None);
    }
    let catalogue = Catalogue::load(shared.catalogue.as_deref())?;
    Ok(Some(Arc::new(OnDisk::new(catalogue, wishes))))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::places::made_up::{cpu, gpu};
    use super::*;
    use crate::cli::{Cli, Command};

    fn args(line: &[&str]) -> ServeArgs {
        let cli = Cli::try_parse_from([&["matou", "serve"], line].concat()).unwrap();
        match cli.command {
            Command::Serve(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn models_get_what_is_free_less_a_margin_or_what_was_said() {
        let budget = |line: &[&str], free| memory(&args(line), free).memory;
        assert_eq!(budget(&[], 100 << 30), 95 << 30);
        assert_eq!(budget(&[], 1 << 30), (1 << 30) - (256 << 20));
        assert_eq!(budget(&["--memory", "3GiB"], 100 << 30), 3 << 30);
    }

    #[test]
    fn only_a_gpu_is_named() {
        assert_eq!(on_gpu(&cpu(1)), "");
        assert_eq!(on_gpu(&gpu(1, 1)), " on a card (gpu:1)");
    }
}
