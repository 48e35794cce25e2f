//! The catalogue: models that have a name.
//!
//! `models.toml` at the top of the repository is built in, and explains the format. A user's own
//! file of the same form adds to it.

mod entry;
mod parse;

use std::path::{Path, PathBuf};

pub use entry::{CatalogueEntry, PypiSource, SamplingDefaults, Source};

use crate::error::{CatalogueError, HubError};
use crate::model_ref::{HubRef, ModelRef};

const BUILTIN: &str = include_str!("../../../models.toml");

/// Models by name, in the order in which the files list them.
#[derive(Debug, Clone)]
pub struct Catalogue {
    entries: Vec<CatalogueEntry>,
    default: Option<String>,
}

impl Catalogue {
    /// The models that matou comes with.
    pub fn builtin() -> Self {
        Self {
            entries: Vec::new(),
            default: None,
        }
        .with_text(BUILTIN, "models.toml")
        .expect("the built-in catalogue is well formed: a test reads it")
    }

    /// The built-in models and the user's own: those in `file` if one is given, else those in the
    /// user's configuration folder if there is such a file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is wrong.
    pub fn load(file: Option<&Path>) -> Result<Self, CatalogueError> {
        let builtin = Self::builtin();
        match file {
            Some(path) => builtin.with_user_file(path),
            None => match Self::user_file().filter(|path| path.exists()) {
                Some(path) => builtin.with_user_file(&path),
                None => Ok(builtin),
            },
        }
    }

    /// Where the user's own catalogue is looked for: `~/.config/matou/models.toml`, or in
    /// `XDG_CONFIG_HOME`.
    pub fn user_file() -> Option<PathBuf> {
        use etcetera::BaseStrategy;
        let folders = etcetera::choose_base_strategy().ok()?;
        Some(folders.config_dir().join("matou").join("models.toml"))
    }

    /// Adds the entries of a file; one whose name is known replaces the known one.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is wrong.
    pub fn with_user_file(self, path: &Path) -> Result<Self, CatalogueError> {
        let text = std::fs::read_to_string(path).map_err(|source| CatalogueError::Read {
            path: path.to_owned(),
            source,
        })?;
        self.with_text(&text, &path.display().to_string())
    }

    fn with_text(mut self, text: &str, file: &str) -> Result<Self, CatalogueError> {
        let (entries, default) = parse::parse(text, file)?;
        for entry in entries {
            self.entries.retain(|known| known.name != entry.name);
            for known in &mut self.entries {
                let taken = |alias: &String| *alias == entry.name || entry.aliases.contains(alias);
                known.aliases.retain(|alias| !taken(alias));
            }
            self.entries.push(entry);
        }
        if let Some(default) = default {
            if self.find(&default).is_none() {
                let problem = format!("`default` is `{default}`, which no entry is called");
                return Err(parse::invalid(
                    text,
                    file,
                    text.find("default").unwrap_or(0),
                    problem,
                ));
            }
            self.default = Some(default);
        }
        Ok(self)
    }

    /// The entry with this name or alias, in any case.
    ///
    /// # Errors
    ///
    /// [`HubError::UnknownModel`] with the names that may have been meant.
    pub fn get(&self, name: &str) -> Result<&CatalogueEntry, HubError> {
        self.find(name).ok_or_else(|| HubError::UnknownModel {
            name: name.to_owned(),
            suggestions: self.suggestions(name),
        })
    }

    /// All entries, in the order of the files.
    pub fn iter(&self) -> impl Iterator<Item = &CatalogueEntry> {
        self.entries.iter()
    }

    /// The model to use when none is named.
    pub fn default_entry(&self) -> Option<&CatalogueEntry> {
        self.default.as_deref().and_then(|name| self.find(name))
    }

    /// What a MODEL argument means; left out, it is the default model.
    ///
    /// # Errors
    ///
    /// As [`ModelRef::parse`]; and if there is no default model.
    pub fn reference(&self, model: Option<&str>) -> Result<ModelRef, HubError> {
        match (model, self.default_entry()) {
            (Some(text), _) => ModelRef::parse(text),
            (None, Some(entry)) => Ok(ModelRef::Catalogue(entry.name.clone())),
            (None, None) => ModelRef::parse(""),
        }
    }

    fn find(&self, name: &str) -> Option<&CatalogueEntry> {
        let named =
            |entry: &&CatalogueEntry| entry.names().any(|known| known.eq_ignore_ascii_case(name));
        self.entries.iter().find(named)
    }

    /// The names closest to `name`, at most three. `owner/repo` was probably meant as a hub
    /// repository.
    fn suggestions(&self, name: &str) -> Vec<String> {
        if HubRef::parse(name).is_ok() {
            return vec![format!("hf:{name}")];
        }
        let typed = name.to_ascii_lowercase();
        let distance = |known: &str| {
            let begun = known.starts_with(&typed) && typed.len() >= 3;
            if begun {
                0
            } else {
                strsim::damerau_levenshtein(known, &typed)
            }
        };
        let mut close: Vec<(usize, &str)> = Vec::new();
        for entry in &self.entries {
            close.extend(entry.names().map(|known| (distance(known), known)).min());
        }
        let least = close
            .iter()
            .map(|(distance, _)| *distance)
            .min()
            .unwrap_or(usize::MAX);
        if least > 1 + typed.len() / 4 {
            return Vec::new();
        }
        close.retain(|(distance, _)| *distance == least);
        close
            .into_iter()
            .take(3)
            .map(|(_, known)| known.to_owned())
            .collect()
    }
}

impl CatalogueEntry {
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name)
            .chain(&self.aliases)
            .map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ENTRY: &str = parse::tests::ENTRY;

    fn with(text: &str) -> Result<Catalogue, CatalogueError> {
        Catalogue::builtin().with_text(text, "mine.toml")
    }

    #[test]
    fn the_builtin_catalogue_is_well_formed_and_each_name_stands_for_one_model() {
        let catalogue = Catalogue::builtin();
        let names: Vec<&str> = catalogue.iter().flat_map(CatalogueEntry::names).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        let default = catalogue.default_entry().unwrap();
        assert_eq!(default.name, "smollm2-135m-instruct");
        assert!(default.sha256.is_some());
        assert!(matches!(
            &default.sources[..],
            [Source::Hub(_), Source::Pypi(_)]
        ));
    }

    #[test]
    fn the_builtin_catalogue_covers_the_families_people_run() {
        let catalogue = Catalogue::builtin();
        for name in [
            "llama3",
            "llama3.1",
            "llama3.2",
            "llama3.3",
            "mistral",
            "mistral-nemo",
            "mistral-small",
            "magistral",
            "devstral",
            "ministral",
            "ministral-3:14b",
            "mixtral",
            "smollm2",
            "smollm3",
            "tinyllama",
            "qwen3",
            "qwen2.5-coder",
            "gemma3",
            "phi4",
            "phi4-mini",
            "granite3.3",
            "deepseek-r1",
            "hermes3",
        ] {
            assert!(catalogue.get(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_and_aliases_are_found_in_any_case() {
        let catalogue = Catalogue::builtin();
        assert_eq!(
            catalogue.get("Llama3.2:1B").unwrap().name,
            "llama-3.2-1b-instruct"
        );
    }

    #[test]
    fn a_typo_gets_a_suggestion() {
        let catalogue = Catalogue::builtin();
        let message = |name| catalogue.get(name).unwrap_err().to_string();
        assert_eq!(
            message("lama3.2:1b"),
            "unknown model `lama3.2:1b`; did you mean `llama3.2:1b`?"
        );
        assert!(
            message("smollm2-135").contains("smollm2-135m"),
            "{}",
            message("smollm2-135")
        );
        assert_eq!(
            message("me/mine"),
            "unknown model `me/mine`; did you mean `hf:me/mine`?"
        );
        assert!(
            message("zzzzzz").contains("matou list"),
            "{}",
            message("zzzzzz")
        );
    }

    #[test]
    fn a_users_entry_adds_to_the_builtin_ones_and_takes_over_its_aliases() {
        let catalogue = with(ENTRY).unwrap();
        assert_eq!(catalogue.get("mine").unwrap().name, "my-model");
        assert_eq!(catalogue.get("smollm2").unwrap().name, "my-model");
        assert_eq!(
            catalogue.get("smollm2:1.7b").unwrap().name,
            "smollm2-1.7b-instruct"
        );
        assert_eq!(
            catalogue.iter().count(),
            Catalogue::builtin().iter().count() + 1
        );
    }

    #[test]
    fn a_users_entry_replaces_the_builtin_one_of_the_same_name_and_may_be_the_default() {
        let text = format!(
            "default = \"smollm3-3b\"\n{}",
            ENTRY.replace("my-model", "smollm3-3b")
        );
        let catalogue = with(&text).unwrap();
        assert_eq!(catalogue.default_entry().unwrap().licence, "MIT");
        assert_eq!(
            catalogue.iter().count(),
            Catalogue::builtin().iter().count()
        );
    }
}
