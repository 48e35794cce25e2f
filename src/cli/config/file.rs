//! `matou.toml`: the same settings as flags and variables, by the same names.
//!
//! ```toml
//! host = "0.0.0.0"            # --host, for each command that has it
//! [bench]
//! max-time = 30               # for one command
//! [[model]]                   # what `matou serve` serves
//! model = "smollm2"
//! name = "quick"
//! ```
//!
//! A value is read by the flag's own parser, so that it means the same and is refused by the same words;
//! an error names the file and the line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, Command};
use matou_hub::Catalogue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::cli::variables;

/// The flag that names the file.
pub(super) const CONFIG: &str = "config";
/// The key of the tables that are models.
const MODELS: &str = "model";

/// A setting, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As on a command line; several for a flag that may be given several times.
    pub(crate) values: Vec<String>,
    /// The file and the line.
    pub(crate) place: String,
}

/// Settings by the names of their flags, without dashes before them.
pub(crate) type Settings = BTreeMap<String, Setting>;

/// What a configuration file says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// Where it is; `None` if there is none.
    pub(crate) path: Option<PathBuf>,
    /// For all commands, and under `serve`, `bench serve` and so on for one.
    settings: BTreeMap<String, Settings>,
    /// The tables under `[[model]]`, and where each begins.
    pub(crate) models: Vec<(Settings, String)>,
}

impl Config {
    /// Where the file is looked for that nobody names: `~/.config/matou/matou.toml`, or in
    /// `XDG_CONFIG_HOME`.
    pub(crate) fn usual_path() -> Option<PathBuf> {
        Some(Catalogue::user_file()?.with_file_name("matou.toml"))
    }

    /// Reads the file that is named, or the usual one if there is one.
    ///
    /// # Errors
    ///
    /// When the file that is named is not there, and when a file is wrong.
    pub(crate) fn load(named: Option<&Path>, command: &Command, model: &Command) -> Result<Self> {
        let usual = || Self::usual_path().filter(|path| path.exists());
        let Some(path) = named.map(Path::to_owned).or_else(usual) else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        let mut config = Self::parse(&text, &path.display().to_string(), command, model)?;
        config.path = Some(path);
        Ok(config)
    }

    /// Reads a file's text. `command` has the flags that there are, `model` those of a model.
    pub(crate) fn parse(
        text: &str,
        file: &str,
        command: &Command,
        model: &Command,
    ) -> Result<Self> {
        let reader = Reader { text, file };
        let document = DeTable::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            anyhow::anyhow!("{}: {}", reader.place(offset), error.message())
        })?;
        let mut config = Self::default();
        for (key, value) in document.get_ref() {
            match (key.get_ref().as_ref(), value.get_ref()) {
                (MODELS, DeValue::Array(tables)) => {
                    for table in tables {
                        let place = reader.place(table.span().start);
                        let DeValue::Table(table) = table.get_ref() else {
                            bail!("{place}: a model is a table: write [[{MODELS}]]");
                        };
                        let mut settings = Settings::new();
                        for (key, value) in table {
                            reader.setting(key, value, &[model], &mut settings)?;
                        }
                        config.models.push((settings, place));
                    }
                }
                (MODELS, _) => bail!(
                    "{}: write each model as a table [[{MODELS}]] with `model = \"NAME\"` in it",
                    reader.place(key.span().start)
                ),
                (name, DeValue::Table(table)) => {
                    let Some(below) = command.find_subcommand(name) else {
                        return Err(reader.unknown(key, "command", &names_of_commands(command)));
                    };
                    config.command(&reader, name, table, below)?;
                }
                _ => {
                    let mut commands = Vec::new();
                    all(command, &mut commands);
                    let settings = config.settings.entry(String::new()).or_default();
                    reader.setting(key, value, &commands, settings)?;
                }
            }
        }
        Ok(config)
    }

    /// Reads the table of one command, which lies at `path`.
    fn command(
        &mut self,
        reader: &Reader<'_>,
        path: &str,
        table: &DeTable<'_>,
        command: &Command,
    ) -> Result<()> {
        for (key, value) in table {
            let below = command.find_subcommand(key.get_ref().as_ref());
            if let (Some(below), DeValue::Table(table)) = (below, value.get_ref()) {
                self.command(reader, &format!("{path} {}", key.get_ref()), table, below)?;
                continue;
            }
            let settings = self.settings.entry(path.to_owned()).or_default();
            reader.setting(key, value, &[command], settings)?;
        }
        Ok(())
    }

    /// What holds for the command at `path` (`serve`, `bench serve`): its own settings before those of
    /// all.
    pub(crate) fn of(&self, path: &str) -> Settings {
        let mut settings = Settings::new();
        let own = self.settings.get(path);
        for from in [self.settings.get(""), own].into_iter().flatten() {
            settings.extend(from.clone());
        }
        settings
    }

    /// How many settings there are.
    pub(crate) fn len(&self) -> usize {
        self.settings.values().map(Settings::len).sum()
    }
}

/// The commands below one, and those below them, itself included.
fn all<'a>(command: &'a Command, found: &mut Vec<&'a Command>) {
    found.push(command);
    for below in command.get_subcommands() {
        all(below, found);
    }
}

fn names_of_commands(command: &Command) -> Vec<String> {
    let names = command
        .get_subcommands()
        .map(|below| below.get_name().to_owned());
    names.collect()
}

/// Reads values, with errors that say where.
struct Reader<'a> {
    text: &'a str,
    file: &'a str,
}

impl Reader<'_> {
    fn place(&self, offset: usize) -> String {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", self.file)
    }

    /// Reads one setting, which is a flag of one of these commands.
    fn setting(
        &self,
        key: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
        commands: &[&Command],
        settings: &mut Settings,
    ) -> Result<()> {
        let place = self.place(key.span().start);
        // As in TOML files of others: `max_model_len`.
        let name = key.get_ref().as_ref().replace('_', "-");
        let flags = commands.iter().flat_map(|command| command.get_arguments());
        // A file cannot say which file is read.
        let can_be_set =
            |arg: &&Arg| variables::variable(arg).is_some() && arg.get_long() != Some(CONFIG);
        let flags: Vec<&Arg> = flags.filter(can_be_set).collect();
        let Some(arg) = flags.iter().find(|arg| arg.get_long() == Some(&name)) else {
            let known = flags.iter().filter_map(|arg| arg.get_long());
            let known: Vec<String> = known.map(str::to_owned).collect();
            return Err(self.unknown(key, "setting", &known));
        };
        let values = self.values(value, &name)?;
        if !matches!(arg.get_action(), ArgAction::Append) && values.len() > 1 {
            bail!("{place}: `{name}` is one value and no list");
        }
        check(arg, &name, &values).with_context(|| place.clone())?;
        settings.insert(name, Setting { values, place });
        Ok(())
    }

    fn values(&self, value: &Spanned<DeValue<'_>>, name: &str) -> Result<Vec<String>> {
        let one = |value: &Spanned<DeValue<'_>>| match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(number) => Ok(number.to_string()),
            DeValue::Float(number) => Ok(number.to_string()),
            DeValue::Boolean(value) => Ok(value.to_string()),
            _ => {
                let place = self.place(value.span().start);
                bail!(
                    "{place}: `{name}` must be a text, a number, true or false, or a list of those"
                )
            }
        };
        match value.get_ref() {
            DeValue::Array(values) => values.iter().map(one).collect(),
            _ => one(value).map(|value| vec![value]),
        }
    }

    /// An error about a name that is none, with that which was probably meant.
    fn unknown(
        &self,
        key: &Spanned<impl AsRef<str>>,
        what: &str,
        known: &[String],
    ) -> anyhow::Error {
        let name = key.get_ref().as_ref();
        let place = self.place(key.span().start);
        let typed = name.replace('_', "-");
        let distance = |known: &&String| strsim::damerau_levenshtein(known, &typed);
        let nearest = known.iter().min_by_key(distance);
        let meant = nearest.filter(|known| distance(known) <= 1 + typed.len() / 4);
        let meant = meant.map_or_else(
            || "`matou config keys` lists them all".to_owned(),
            |known| format!("did you mean `{known}`?"),
        );
        anyhow::anyhow!("{place}: there is no {what} `{name}`; {meant}")
    }
}

/// Has a flag's own parser read its values.
fn check(arg: &Arg, name: &str, values: &[String]) -> Result<()> {
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    for value in values {
        if is_switch && !matches!(value.as_str(), "true" | "false") {
            bail!("`{name}` is true or false, not \"{value}\"");
        }
        if is_switch || matches!(arg.get_action(), ArgAction::Count) {
            continue;
        }
        let mut alone = Arg::new("value")
            .value_parser(arg.get_value_parser().clone())
            .allow_hyphen_values(true);
        if let Some(delimiter) = arg.get_value_delimiter() {
            alone = alone.value_delimiter(delimiter).num_args(1..);
        }
        let read = Command::new("matou")
            .arg(alone)
            .try_get_matches_from(["matou", "--", value]);
        if let Err(error) = read {
            let text = error.to_string();
            let reason = text.lines().next().unwrap_or_default();
            let reason = reason
                .rsplit_once("[VALUE]': ")
                .map_or(reason, |(_, reason)| reason);
            bail!(
                "`{name}` cannot be \"{value}\": {}",
                reason.trim_start_matches("error: ")
            );
        }
    }
    Ok(())
}
