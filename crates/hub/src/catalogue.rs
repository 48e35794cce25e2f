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
    /// Names, from the smallest model to the largest.
    recommended: Vec<String>,
}

/// A default model of this size or less, in GB, is for trying things out: there are better ones.
const TINY_GB: f64 = 0.5;

impl Catalogue {
    /// The models that matou comes with.
    pub fn builtin() -> Self {
        Self {
            entries: Vec::new(),
            default: None,
            recommended: Vec::new(),
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
        let parsed = parse::parse(text, file)?;
        for entry in parsed.entries {
            self.entries.retain(|known| known.name != entry.name);
            for known in &mut self.entries {
                let taken = |alias: &String| *alias == entry.name || entry.aliases.contains(alias);
                known.aliases.retain(|alias| !taken(alias));
            }
            self.entries.push(entry);
        }
        let recommended = parsed.recommended.iter().flatten();
        let named = parsed.default.iter().map(|name| ("default", name));
        for (field, name) in named.chain(recommended.map(|name| ("recommended", name))) {
            if self.find(name).is_none() {
                let problem = format!("`{field}` is `{name}`, which no entry is called");
                let offset = text.find(&format!("\n{field}")).map_or(0, |at| at + 1);
                return Err(parse::invalid(text, file, offset, problem));
            }
        }
        self.default = parsed.default.or(self.default);
        self.recommended = parsed.recommended.unwrap_or(self.recommended);
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

    /// The largest of the recommended models that runs in `free` bytes of memory, if the default is
    /// one of those that are only for trying things out.
    pub fn better_than_default(&self, free: u64) -> Option<&CatalogueEntry> {
        self.default_entry()
            .filter(|entry| entry.size_gb <= TINY_GB)?;
        let mut entries = self.recommended.iter().filter_map(|name| self.find(name));
        entries.rfind(|entry| entry.memory() <= free)
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
    /// About the memory that it runs in, with room for a conversation, in bytes.
    fn memory(&self) -> u64 {
        const BESIDE_WEIGHTS: f64 = 1.5e9;
        (1.1 * self.size_gb * 1e9 + BESIDE_WEIGHTS) as u64
    }

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
    fn a_better_model_than_the_tiny_default_is_one_that_fits_into_memory() {
        let better = |gb: f64| {
            let catalogue = Catalogue::builtin();
            let entry = catalogue.better_than_default((gb * 1e9) as u64);
            entry.map(|entry| entry.name.clone())
        };
        assert_eq!(better(1.0), None);
        assert_eq!(better(3.0).as_deref(), Some("llama-3.2-1b-instruct"));
        assert_eq!(better(8.0).as_deref(), Some("ministral-3-8b-instruct-2512"));
        let largest = better(1e6);
        assert_eq!(
            largest.as_deref(),
            Some("mistral-small-3.2-24b-instruct-2506")
        );
        let own = with(&format!("default = \"qwen3\"\n{ENTRY}")).unwrap();
        assert!(own.better_than_default(u64::MAX).is_none());
    }

    #[test]
    fn recommended_models_become_larger_and_are_there() {
        let catalogue = Catalogue::builtin();
        let sizes = catalogue.recommended.iter();
        let sizes: Vec<f64> = sizes
            .map(|name| catalogue.get(name).unwrap().size_gb)
            .collect();
        assert!(!sizes.is_empty());
        assert!(sizes.is_sorted(), "{sizes:?}");
        let message = with("recommended = [\"nobody\"]").unwrap_err().to_string();
        assert!(
            message.starts_with("mine.toml:1: `recommended` is `nobody`"),
            "{message}"
        );
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
