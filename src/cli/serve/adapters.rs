//! Adapters that were asked for: `NAME=PATH[@BASE]`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use matou_llm::models::{AdapterConfig, ModelConfig};
use matou_llm::open::Place;

/// An adapter, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct AdapterArg {
    /// Its name in the API.
    pub(in crate::cli) name: String,
    /// Its folder or file.
    path: PathBuf,
    /// The model that it is for.
    base: Option<String>,
}

impl FromStr for AdapterArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "an adapter is NAME=PATH or NAME=PATH@BASE, as in style=./style-lora@smollm2";
        let (name, rest) = text.split_once('=').ok_or(form)?;
        let (name, rest) = (name.trim(), rest.trim());
        if name.is_empty() || rest.is_empty() {
            return Err(form.to_owned());
        }
        // A path may have the sign in it.
        let (path, base) = match rest.rsplit_once('@') {
            Some((path, base)) if !Path::new(rest).exists() && !base.contains('/') => {
                (path, Some(base.to_owned()))
            }
            _ => (rest, None),
        };
        if path.is_empty() || base.as_deref() == Some("") {
            return Err(form.to_owned());
        }
        Ok(Self {
            name: name.to_owned(),
            path: PathBuf::from(path),
            base,
        })
    }
}

impl AdapterArg {
    /// The same, of a model that says so itself: it cannot be for another.
    pub(super) fn of_this_model(&self) -> Result<Self> {
        match &self.base {
            None => Ok(self.clone()),
            Some(base) => bail!(
                "the adapter `{}` is said to be for `{base}`: leave that out, or give it to that model",
                self.name
            ),
        }
    }

    /// Its files, opened.
    pub(super) fn open(&self) -> Result<AdapterConfig> {
        let opened = AdapterConfig::open(self.name.clone(), &self.path);
        opened.with_context(|| format!("the adapter `{}`", self.name))
    }
}

/// Gives each adapter of the command line to its model: the one that is said, the one that its files
/// name, or else the first.
pub(super) fn give_out(
    adapters: &[AdapterArg],
    configs: &mut [ModelConfig],
    names: &[Vec<String>],
) -> Result<()> {
    let place = |name: &str| {
        names
            .iter()
            .position(|names| names.iter().any(|own| own == name))
    };
    for adapter in adapters {
        let opened = adapter.open()?;
        let model = match &adapter.base {
            Some(base) => match place(base) {
                Some(model) => model,
                None => bail!(
                    "the adapter `{}`: there is no model of the name `{base}`; there are {}",
                    adapter.name,
                    names.concat().join(", ")
                ),
            },
            None => opened.base().and_then(place).unwrap_or(0),
        };
        if let Some(config) = configs.get_mut(model) {
            config.adapters.push(opened);
        }
    }
    Ok(())
}

/// Refuses an adapter of a model that runs where none can be applied.
pub(super) fn check_place(adapter: &str, model: &str, place: &Place) -> Result<()> {
    ensure!(
        place.gpu.is_none(),
        "the adapter `{adapter}` is for `{model}`, which runs on {place}, and adapters are applied on the CPU \
         only: use --device cpu (or `device = \"cpu\"` in its [[model]] of the configuration)"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::places::made_up::{cpu, gpu};
    use super::*;

    #[test]
    fn adapters_are_for_models_on_the_cpu() {
        check_place("style", "smollm2", &cpu(1)).unwrap();
        let refused = check_place("style", "smollm2", &gpu(1, 1)).unwrap_err();
        let refused = refused.to_string();
        for part in ["`style`", "`smollm2`", "a card (gpu:1)", "--device cpu"] {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }

    fn parsed(text: &str) -> Option<(String, String, Option<String>)> {
        let AdapterArg { name, path, base } = text.parse().ok()?;
        Some((name, path.display().to_string(), base))
    }

    #[test]
    fn adapters_are_written_as_names_paths_and_bases() {
        let of = |name: &str, path: &str, base: Option<&str>| {
            Some((name.to_owned(), path.to_owned(), base.map(str::to_owned)))
        };
        assert_eq!(parsed("a=/x/y"), of("a", "/x/y", None));
        assert_eq!(parsed("a=/x/y@smollm2"), of("a", "/x/y", Some("smollm2")));
        assert_eq!(parsed("a=/x@v1/y"), of("a", "/x@v1/y", None));
        assert_eq!(parsed("a=b=c"), of("a", "b=c", None));
        for wrong in ["", "a", "a=", "=b", "a=@b", "a=b@"] {
            assert_eq!(parsed(wrong), None, "{wrong:?}");
        }
    }
}
