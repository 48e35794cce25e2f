//! Other programs that are measured turn and turn about with ours.
//!
//! A peer is a command that takes the flags of `matou bench` and prints a JSON object for each figure, with
//! `test` and `tokens_per_s`, or a report of ours: another build of this program is a peer too. The one for llama.cpp
//! comes with the program.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use thiserror::Error;

use crate::report::Report;

/// llama.cpp through its Python binding.
const LLAMA_CPP: &str = include_str!("../peers/llama_cpp.py");
/// The name by which it is asked for.
pub const LLAMA_CPP_NAME: &str = "llama.cpp";
/// Lines of a peer's messages that are shown when it fails.
const LAST_LINES: usize = 5;

/// Another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name in reports.
    pub name: String,
    program: String,
    arguments: Vec<String>,
}

/// What it is to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerTest<'a> {
    /// The model's file.
    pub model: &'a Path,
    /// Tokens of a prompt; 0 for none.
    pub prompt: usize,
    /// Tokens to generate; 0 for none.
    pub generate: usize,
    /// Tokens in the context before.
    pub depth: usize,
    /// Sequences side by side.
    pub batch: usize,
    /// Threads.
    pub threads: usize,
}

/// Why a peer has no figure.
#[derive(Debug, Error)]
pub enum PeerError {
    /// It cannot be started.
    #[error("cannot start {program}: {source}")]
    NotStarted {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It has failed.
    #[error("{name} has failed: {message}{}", hint(name))]
    Failed {
        /// Its name.
        name: String,
        /// The end of what it said.
        message: String,
    },
    /// It printed no figure.
    #[error("{name} printed no line with \"test\" and \"tokens_per_s\"")]
    NoFigure {
        /// Its name.
        name: String,
    },
}

fn hint(name: &str) -> &'static str {
    match name {
        LLAMA_CPP_NAME => {
            "\n(it needs Python with llama-cpp-python: CMAKE_ARGS=-DGGML_NATIVE=ON pip install \
             llama-cpp-python==0.3.36; name that Python with --python)"
        }
        _ => "",
    }
}

#[derive(Deserialize)]
struct Figure {
    test: String,
    tokens_per_s: f64,
}

impl Peer {
    /// The peer of a name or a command line. `python` runs those that come with the program.
    ///
    /// # Errors
    ///
    /// When there is nothing to run.
    pub fn parse(text: &str, python: &str) -> Result<Self, String> {
        if text == LLAMA_CPP_NAME {
            return Ok(Self {
                name: text.to_owned(),
                program: python.to_owned(),
                arguments: vec!["-c".to_owned(), LLAMA_CPP.to_owned()],
            });
        }
        let mut words = text.split_whitespace().map(str::to_owned);
        let program = words.next().ok_or_else(|| "no command".to_owned())?;
        Ok(Self {
            name: text.to_owned(),
            program,
            arguments: words.collect(),
        })
    }

    /// Measures once: tokens per second by the name of the test. Blocks as long as that takes.
    ///
    /// # Errors
    ///
    /// When it cannot be started, fails, or prints no figure.
    pub fn measure(&self, test: &PeerTest<'_>) -> Result<BTreeMap<String, f64>, PeerError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(test.model);
        for (flag, value) in [
            ("--prompt", test.prompt),
            ("--generate", test.generate),
            ("--depth", test.depth),
            ("--batch", test.batch),
            ("--threads", test.threads),
            ("--reps", 1),
        ] {
            command.arg(flag).arg(value.to_string());
        }
        let output = command.stdin(Stdio::null()).output();
        let output = output.map_err(|source| PeerError::NotStarted {
            program: self.program.clone(),
            source,
        })?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let lines: Vec<&str> = text.trim().lines().collect();
            let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
            return Err(PeerError::Failed {
                name: self.name.clone(),
                message: if last.is_empty() {
                    output.status.to_string()
                } else {
                    last
                },
            });
        }
        let text = String::from_utf8_lossy(&output.stdout);
        if let Ok(report) = Report::parse(&text) {
            let cells = report.engine.into_iter();
            return Ok(cells
                .map(|cell| (cell.test, cell.tokens_per_s.median))
                .collect());
        }
        let figures = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Figure>(line).ok());
        let figures: BTreeMap<_, _> = figures
            .map(|figure| (figure.test, figure.tokens_per_s))
            .collect();
        match figures.is_empty() {
            true => Err(PeerError::NoFigure {
                name: self.name.clone(),
            }),
            false => Ok(figures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pp512() -> PeerTest<'static> {
        PeerTest {
            model: Path::new("model.gguf"),
            prompt: 512,
            generate: 0,
            depth: 0,
            batch: 1,
            threads: 2,
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_command_is_given_the_test_and_its_figures_are_read() {
        let script = tempfile::NamedTempFile::new().unwrap();
        let lines = "echo loading >&2; echo \"$@\" | grep -q 'model.gguf --prompt 512' || exit 3
echo not a figure
echo '{\"test\": \"pp512\", \"tokens_per_s\": 12.5, \"engine\": \"x\"}'";
        std::fs::write(script.path(), lines).unwrap();
        let peer = Peer::parse(&format!("sh {}", script.path().display()), "python3").unwrap();
        assert_eq!(peer.measure(&pp512()).unwrap()["pp512"], 12.5);
        std::fs::write(script.path(), "echo 'no such model' >&2; exit 1").unwrap();
        let error = peer.measure(&pp512()).unwrap_err().to_string();
        assert!(error.contains("has failed: no such model"), "{error}");
        std::fs::write(script.path(), "echo hello").unwrap();
        assert!(matches!(
            peer.measure(&pp512()),
            Err(PeerError::NoFigure { .. })
        ));
    }

    #[test]
    fn what_cannot_be_started_is_named() {
        assert!(Peer::parse(" ", "python3").is_err());
        let peer = Peer::parse(LLAMA_CPP_NAME, "no-such-python").unwrap();
        let error = peer.measure(&pp512()).unwrap_err().to_string();
        assert!(error.contains("cannot start no-such-python"), "{error}");
    }
}
