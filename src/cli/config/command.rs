//! `matou config`: what is set, where, and what could be.

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{Args, Command, Subcommand};
use matou_hub::Catalogue;

use super::entry::entries;
use super::file::{CONFIG, Config};
use super::invocation::Invocation;
use super::keys;
use super::layers::layered;
use crate::cli::terminal::print_all;
use crate::cli::variables;

/// Options of `matou config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check the configuration file.
    Check,
    /// Show what holds for `matou serve`, and where each setting comes from.
    Show,
    /// List all settings: flag, variable and key, as a table in Markdown.
    Keys,
}

/// Runs the command.
pub(in crate::cli) fn run(args: &ConfigArgs, invocation: &Invocation) -> Result<()> {
    let text = match args.what {
        What::Check => check(invocation)?,
        What::Show => show(invocation)?,
        What::Keys => keys::table((invocation.command)()),
    };
    print_all(&text)
}

/// The file has been read by now; what is left are the names in it.
fn check(invocation: &Invocation) -> Result<String> {
    let config = &invocation.config;
    let Some(path) = &config.path else {
        let usual = Config::usual_path().unwrap_or_default();
        return Ok(format!(
            "There is no {}: all is as by default.\n",
            usual.display()
        ));
    };
    let serve = of_serve(invocation)?;
    let catalogue = serve.get_one::<std::path::PathBuf>("models");
    let catalogue = Catalogue::load(catalogue.map(std::path::PathBuf::as_path))?;
    let models = entries(config, &serve)?;
    let mut names = std::collections::HashMap::new();
    for (entry, (_, place)) in models.iter().zip(&config.models) {
        let reference = catalogue.reference(entry.model.as_deref());
        let reference = reference.map_err(|error| anyhow::anyhow!("{place}: {error}"))?;
        if let matou_hub::ModelRef::Catalogue(name) = &reference {
            let known = catalogue.get(name);
            known.map_err(|error| anyhow::anyhow!("{place}: {error}"))?;
        }
        let own = entry.model.iter().filter(|_| entry.name.is_empty());
        for name in entry.name.iter().chain(own) {
            if let Some(before) = names.insert(name, place) {
                anyhow::bail!(
                    "{place}: the name `{name}` is that of the model at {before} already"
                );
            }
        }
    }
    Ok(format!(
        "{}: {} settings and {} models, all in order.\n",
        path.display(),
        config.len(),
        models.len()
    ))
}

/// What `matou serve` would get if it were given no flags.
fn of_serve(invocation: &Invocation) -> Result<clap::ArgMatches> {
    let command = layered(
        variables::with_variables((invocation.command)()),
        "",
        &invocation.config,
    );
    let matches = command.try_get_matches_from(["matou", "serve"])?;
    let serve = matches.subcommand_matches("serve").cloned();
    Ok(serve.unwrap_or_default())
}

fn show(invocation: &Invocation) -> Result<String> {
    let config = &invocation.config;
    let matches = of_serve(invocation)?;
    let settings = config.of("serve");
    let mut command = (invocation.command)();
    command.build();
    let serve = command
        .find_subcommand("serve")
        .map_or_else(Command::default, Clone::clone);
    let mut lines = Vec::new();
    for arg in serve.get_arguments() {
        let (Some(long), Some(variable)) = (arg.get_long(), variables::variable(arg)) else {
            continue;
        };
        // The file itself is what the other lines name.
        if long == CONFIG {
            continue;
        }
        let id = arg.get_id().as_str();
        let values = matches.try_get_raw(id).ok().flatten();
        let values: Vec<String> = values
            .into_iter()
            .flatten()
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let value = match (values.as_slice(), long) {
            ([], _) => "(not set)".to_owned(),
            (_, "api-key") => format!("({} keys)", values.len()),
            (values, _) => values.join(", "),
        };
        let source = match matches.value_source(id) {
            Some(ValueSource::EnvVariable) => variable,
            Some(ValueSource::DefaultValue) => settings
                .get(long)
                .map_or("default", |setting| &setting.place)
                .to_owned(),
            _ => "default".to_owned(),
        };
        lines.push((long.to_owned(), value, source));
    }
    for (settings, place) in &config.models {
        let name = settings.get("model").map_or("", |model| &model.values[0]);
        lines.push(("[[model]]".to_owned(), name.to_owned(), place.clone()));
    }
    let width = |column: fn(&(String, String, String)) -> &String| {
        lines
            .iter()
            .map(|line| column(line).chars().count())
            .max()
            .unwrap_or(0)
    };
    let (names, values) = (width(|line| &line.0), width(|line| &line.1));
    let text = lines
        .iter()
        .map(|(name, value, source)| format!("{name:names$}  {value:values$}  {source}\n"));
    Ok(text.collect())
}
