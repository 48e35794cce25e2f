//! A model of the configuration: `[[model]]`. What it leaves out is as for all.

use std::sync::LazyLock;

use anyhow::{Context, Result};
use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::file::{Config, Settings};
use super::layers::with_defaults;
use crate::cli::options::ModelOptions;
use crate::cli::serve::AdapterArg;
use matou_llm::models::KeepAlive;

/// A model, how it runs, and how it is kept.
#[derive(Debug, Clone, Args)]
pub(in crate::cli) struct ModelEntry {
    /// The model: a name of the catalogue, a path, or hf:owner/repo[/file][:QUANT][@revision].
    #[arg(long, value_name = "MODEL")]
    pub(in crate::cli) model: Option<String>,

    /// Name in the API, or several; answers carry the first [default: the model's].
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(in crate::cli) name: Vec<String>,

    /// Load it at start.
    #[arg(long)]
    pub(in crate::cli) preload: bool,

    /// Load it at start, and never let it go.
    #[arg(long)]
    pub(in crate::cli) pinned: bool,

    /// How long it stays in memory that nobody uses.
    #[arg(long, value_name = "TIME")]
    pub(in crate::cli) keep_alive: Option<KeepAlive>,

    /// Adapter to serve with it, NAME=PATH, or several.
    #[arg(long, value_name = "NAME=PATH", value_delimiter = ',')]
    pub(in crate::cli) lora: Vec<AdapterArg>,

    /// How it runs.
    #[command(flatten)]
    pub(in crate::cli) options: ModelOptions,
}

/// The keys of a model, as flags of a command.
pub(super) fn command() -> Command {
    static COMMAND: LazyLock<Command> = LazyLock::new(|| {
        // Threads and the catalogue are all models'.
        let hidden = ["threads", "models"];
        ModelEntry::augment_args(Command::new("model").no_binary_name(true)).mut_args(|arg| {
            match arg.get_long().filter(|long| hidden.contains(long)) {
                Some(long) => {
                    let long = format!("not-{long}");
                    arg.long(long)
                }
                None => arg,
            }
        })
    });
    COMMAND.clone()
}

/// The models of a configuration. `matches` are the command's own, which hold where a model says nothing.
pub(in crate::cli) fn entries(config: &Config, matches: &ArgMatches) -> Result<Vec<ModelEntry>> {
    let entries = config.models.iter();
    entries
        .map(|(settings, place)| entry(settings, matches).with_context(|| place.clone()))
        .collect()
}

fn entry(settings: &Settings, matches: &ArgMatches) -> Result<ModelEntry> {
    let command = command().mut_args(|arg| {
        let ours = matches.try_get_raw(arg.get_id().as_str()).ok().flatten();
        match ours {
            // Which model it is, with which adapters, and whether it is loaded at start, is its own affair.
            Some(values) if !["model", "preload", "lora"].contains(&arg.get_id().as_str()) => {
                arg.default_values(values.map(ToOwned::to_owned).collect::<Vec<_>>())
            }
            _ => arg,
        }
    });
    let matches = with_defaults(command, settings).try_get_matches_from([] as [&str; 0])?;
    let entry = ModelEntry::from_arg_matches(&matches)?;
    anyhow::ensure!(
        entry.model.is_some(),
        "a model has no `model`: the name of a model"
    );
    Ok(entry)
}
