//! What a MODEL on the command line means: a path, a hub repository, or a name.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::HubError;

/// A model as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelRef {
    /// A name or alias in the catalogue.
    Catalogue(String),
    /// A GGUF file, or a folder in Hugging Face layout.
    Path(PathBuf),
    /// A repository of the model hub: `hf:owner/repo[/file][@revision]` or
    /// `hf:owner/repo[:QUANTISATION][@revision]`.
    Hub(HubRef),
}

/// A repository of the model hub, and which of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubRef {
    /// `owner/name`.
    pub repo: String,
    /// Path of a file in it. Without one, the choice is made from what the repository holds.
    pub file: Option<String>,
    /// Which of its GGUF files, by the quantisation in their names; in any case.
    pub quantization: Option<String>,
    /// Branch, tag or commit; `main` if left out.
    pub revision: Option<String>,
}

impl ModelRef {
    /// Reads a MODEL argument. `hf:` begins a hub repository; what exists on disk, begins with `.`,
    /// `/` or `~`, or ends in `.gguf` is a path; all else is a name in the catalogue.
    ///
    /// # Errors
    ///
    /// [`HubError::InvalidReference`] if what follows `hf:` is no repository.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let wrong = |reason| HubError::InvalidReference {
            reference: text.to_owned(),
            reason,
        };
        if text.is_empty() {
            return Err(wrong("the name is empty".to_owned()));
        }
        if let Some(reference) = text.strip_prefix("hf:") {
            return HubRef::parse(reference).map(Self::Hub).map_err(wrong);
        }
        let looks_like_path = text.starts_with(['.', '/', '~', '\\']) || text.ends_with(".gguf");
        if looks_like_path || Path::new(text).exists() {
            return Ok(Self::Path(expand_home(text)));
        }
        Ok(Self::Catalogue(text.to_owned()))
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Catalogue(name) => f.write_str(name),
            Self::Path(path) => path.display().fmt(f),
            Self::Hub(hub) => write!(f, "hf:{hub}"),
        }
    }
}

impl HubRef {
    /// Reads `owner/repo[/file][:quantisation][@revision]`, of which a file and a quantisation are too
    /// much. The quantisation `latest`, which other programs write, is the usual choice.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (path, revision) = match text.split_once('@') {
            Some((path, revision)) => (path, Some(revision.to_owned())),
            None => (text, None),
        };
        let (path, quantization) = match path.rsplit_once(':') {
            Some((path, quantization)) => (path, Some(quantization.to_owned())),
            None => (path, None),
        };
        let mut parts = path.splitn(3, '/');
        let (owner, name) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let hub = Self {
            repo: format!("{owner}/{name}"),
            file: parts.next().map(str::to_owned),
            quantization,
            revision,
        };
        hub.check()?;
        Ok(Self {
            quantization: hub.quantization.filter(|name| name != "latest"),
            ..hub
        })
    }

    /// The revision, which is `main` if none was given.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// Refuses what could not be a repository, or would name a place outside the cache folder.
    pub(crate) fn check(&self) -> Result<(), String> {
        let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let parts: Vec<&str> = self.repo.split('/').collect();
        let named = |part: &str| is_relative_path(part) && part.chars().all(word);
        if parts.len() != 2 || !parts.iter().all(|part| named(part)) {
            return Err(
                "a repository is owner/name, as in hf:owner/name[/file][@revision] or \
                 hf:owner/name:Q4_K_M"
                    .to_owned(),
            );
        }
        if let Some(quantization) = &self.quantization {
            if quantization.is_empty() || !quantization.chars().all(word) {
                return Err(format!(
                    "`{quantization}` is no quantisation such as Q4_K_M"
                ));
            }
            if self.file.is_some() {
                return Err("name a file or a quantisation, not both".to_owned());
            }
        }
        for (what, path) in [("file", &self.file), ("revision", &self.revision)] {
            if let Some(path) = path.as_deref().filter(|path| !is_relative_path(path)) {
                return Err(format!("`{path}` is no {what} of a repository"));
            }
        }
        Ok(())
    }
}

impl fmt::Display for HubRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        self.file.iter().try_for_each(|file| write!(f, "/{file}"))?;
        self.quantization
            .iter()
            .try_for_each(|quantization| write!(f, ":{quantization}"))?;
        self.revision
            .iter()
            .try_for_each(|revision| write!(f, "@{revision}"))
    }
}

/// Whether a path that came from outside stays below the folder that it is joined to.
pub(crate) fn is_relative_path(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
    path.split('/').all(plain)
}

/// All files of a split GGUF model, given any of them (`x-00002-of-00005.gguf`), in order; a file
/// that is not split is alone. The numbers are part of llama.cpp's naming scheme for split files.
pub(crate) fn shard_names(file: &str) -> Vec<String> {
    match parse_shard(file) {
        Some((stem, count)) => (1..=count)
            .map(|i| format!("{stem}-{i:05}-of-{count:05}.gguf"))
            .collect(),
        None => vec![file.to_owned()],
    }
}

/// The name of a split GGUF file without what tells its shards apart.
pub(crate) fn shard_stem(file: &str) -> Option<&str> {
    parse_shard(file).map(|(stem, _)| stem)
}

/// The stem and the number of shards of a split GGUF file's name.
fn parse_shard(file: &str) -> Option<(&str, u32)> {
    let (rest, count) = file.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, index) = rest.rsplit_once('-')?;
    let number = |digits: &str| {
        (digits.len() == 5)
            .then(|| digits.parse::<u32>().ok())
            .flatten()
    };
    let (index, count) = (number(index)?, number(count)?);
    (1..=count).contains(&index).then_some((stem, count))
}

fn expand_home(text: &str) -> PathBuf {
    match (text.strip_prefix("~/"), etcetera::home_dir()) {
        (Some(rest), Ok(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(repo: &str, file: Option<&str>, revision: Option<&str>) -> ModelRef {
        let own = |text: Option<&str>| text.map(str::to_owned);
        ModelRef::Hub(HubRef {
            repo: repo.to_owned(),
            file: own(file),
            quantization: None,
            revision: own(revision),
        })
    }

    #[test]
    fn a_hub_reference_has_a_repository_and_may_have_a_file_and_a_revision() {
        for (text, expected) in [
            ("hf:a/b", hub("a/b", None, None)),
            ("hf:a/b@v1", hub("a/b", None, Some("v1"))),
            ("hf:a/b@refs/pr/1", hub("a/b", None, Some("refs/pr/1"))),
            (
                "hf:a/b-GGUF/b.Q4_0.gguf",
                hub("a/b-GGUF", Some("b.Q4_0.gguf"), None),
            ),
            (
                "hf:a/b/sub/b.gguf@main",
                hub("a/b", Some("sub/b.gguf"), Some("main")),
            ),
        ] {
            let parsed = ModelRef::parse(text).unwrap();
            assert_eq!(parsed, expected);
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn a_hub_reference_may_name_a_quantisation_in_place_of_a_file() {
        for (text, quantization, revision) in [
            ("hf:a/b:Q5_K_M", Some("Q5_K_M"), None),
            ("hf:a/b:ud-q4_k_xl@v1", Some("ud-q4_k_xl"), Some("v1")),
            ("hf:a/b:latest", None, None),
        ] {
            let ModelRef::Hub(parsed) = ModelRef::parse(text).unwrap() else {
                panic!("{text} is no repository");
            };
            assert_eq!(parsed.quantization.as_deref(), quantization);
            assert_eq!(parsed.revision.as_deref(), revision);
            assert_eq!(format!("hf:{parsed}"), text.trim_end_matches(":latest"));
        }
        let both = ModelRef::parse("hf:a/b/c.gguf:Q4_0").unwrap_err();
        assert!(both.to_string().contains("not both"), "{both}");
    }

    #[test]
    fn a_hub_reference_cannot_leave_its_folder() {
        for text in [
            "hf:",
            "hf:a",
            "hf:a/",
            "hf:/b",
            "hf:../b",
            "hf:a/..",
            "hf:a/b/../c",
            "hf:a/b//c",
            "hf:a/b@",
            "hf:a/b@..",
            "hf:a/b@x/../../y",
            "hf:a b/c",
            "hf:a/b/c\\..\\d",
            "hf:a/b:",
            "hf:a/b:../c",
            "hf:a/b@v1:Q4_0/..",
            "hf:a:b/c",
        ] {
            let error = ModelRef::parse(text).unwrap_err();
            assert!(matches!(error, HubError::InvalidReference { .. }), "{text}");
        }
    }

    #[test]
    fn a_path_is_what_looks_like_one_or_exists() {
        for text in [
            "./model",
            "../x",
            "/abs/model",
            "model.gguf",
            "sub/model.gguf",
            "Cargo.toml",
            "src",
        ] {
            assert_eq!(
                ModelRef::parse(text).unwrap(),
                ModelRef::Path(PathBuf::from(text))
            );
        }
        assert!(
            matches!(ModelRef::parse("~/m").unwrap(), ModelRef::Path(path) if path.is_absolute())
        );
    }

    #[test]
    fn anything_else_is_a_name() {
        for text in ["llama3.2", "smollm2:135m", "owner/repo"] {
            assert_eq!(
                ModelRef::parse(text).unwrap(),
                ModelRef::Catalogue(text.to_owned())
            );
        }
        assert!(ModelRef::parse("").is_err());
    }

    #[test]
    fn any_shard_names_all_of_them() {
        let all = [
            "q/m-00001-of-00003.gguf",
            "q/m-00002-of-00003.gguf",
            "q/m-00003-of-00003.gguf",
        ];
        assert_eq!(shard_names(all[1]), all);
        for alone in [
            "m.gguf",
            "m-1-of-3.gguf",
            "m-00004-of-00003.gguf",
            "m-00001-of-00000.gguf",
            "-of-",
        ] {
            assert_eq!(shard_names(alone), [alone]);
        }
    }
}
