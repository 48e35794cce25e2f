//! What is kept of an answer: a line of JSON.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::fingerprint::{Fingerprint, STRETCH, Salt, WINDOW};

/// The version of the file's format.
const VERSION: u32 = 1;

/// Where an answer came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Unix time at which the answer ended, in seconds.
    pub at: u64,
    /// The request's id.
    pub request: String,
    /// The model.
    pub model: String,
    /// The persona, if one answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persona: Option<String>,
    /// Changes when the model or the build changes.
    pub fingerprint: String,
}

/// An answer: where it came from, and its hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it came from.
    pub source: Source,
    /// Letters and digits of its text.
    pub letters: usize,
    /// The hash of all of it.
    pub whole: u64,
    /// The hashes of stretches of it, each once, ascending.
    pub passages: Vec<u64>,
}

/// The first line of a file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Head {
    matou_provenance: u32,
    stretch: usize,
    window: usize,
    salt: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    source: Source,
    letters: usize,
    whole: String,
    passages: String,
}

impl Head {
    pub(crate) fn new(salt: Salt) -> Self {
        Self {
            matou_provenance: VERSION,
            stretch: STRETCH,
            window: WINDOW,
            salt: BASE64_STANDARD.encode(salt.0),
        }
    }

    /// The salt of a file that this version can read; else what is wrong with it.
    pub(crate) fn salt(line: &str) -> Result<Salt, String> {
        let head: Self = serde_json::from_str(line)
            .map_err(|error| format!("its first line is not that of a provenance log: {error}"))?;
        if (head.matou_provenance, head.stretch, head.window) != (VERSION, STRETCH, WINDOW) {
            return Err("it was written by another version".to_owned());
        }
        let salt = BASE64_STANDARD.decode(&head.salt).unwrap_or_default();
        let salt = salt
            .try_into()
            .map_err(|_| "its salt is damaged".to_owned())?;
        Ok(Salt(salt))
    }
}

/// A text that repeats itself has the same hash many times, of which one says as much as all.
fn distinct(mut hashes: Vec<u64>) -> Vec<u64> {
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

impl Record {
    /// An answer with this fingerprint.
    pub fn new(source: Source, fingerprint: Fingerprint) -> Self {
        let passages = fingerprint.passages.into_iter().map(|(_, hash)| hash);
        Self {
            source,
            letters: fingerprint.letters,
            whole: fingerprint.whole,
            passages: distinct(passages.collect()),
        }
    }

    pub(crate) fn to_line(&self) -> String {
        let bytes = |hashes: &[u64]| {
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
            BASE64_STANDARD.encode(bytes)
        };
        let line = Line {
            source: self.source.clone(),
            letters: self.letters,
            whole: bytes(&[self.whole]),
            passages: bytes(&self.passages),
        };
        // Strings and numbers can always be written.
        serde_json::to_string(&line).unwrap_or_default()
    }

    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(line).ok()?;
        let hashes = |text: &str| -> Option<Vec<u64>> {
            let bytes = BASE64_STANDARD.decode(text).ok()?;
            let (hashes, rest) = bytes.as_chunks::<8>();
            rest.is_empty()
                .then(|| hashes.iter().map(|it| u64::from_be_bytes(*it)).collect())
        };
        Some(Self {
            source: line.source,
            letters: line.letters,
            whole: *hashes(&line.whole)?.first()?,
            passages: distinct(hashes(&line.passages)?),
        })
    }
}
