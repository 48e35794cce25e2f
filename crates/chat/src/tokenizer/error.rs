//! What can go wrong with a tokenizer.

use std::path::PathBuf;

/// Why a tokenizer cannot be built or used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// A file of the tokenizer could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file or a vocabulary does not hold what it should.
    #[error("{origin}: {message}")]
    Invalid {
        /// The file, or `GGUF vocabulary`.
        origin: String,
        /// What is wrong, and where.
        message: String,
    },
    /// `tokenizer.ggml.model` names a kind of vocabulary that is not implemented.
    #[error(
        "tokenizer.ggml.model is \"{model}\"; known are \"gpt2\" (byte-level BPE) and \
         \"llama\" (SentencePiece)"
    )]
    UnsupportedModel {
        /// The value found.
        model: String,
    },
    /// `tokenizer.ggml.pre` names a way to cut text that is not known.
    #[error(
        "tokenizer.ggml.pre is \"{name}\", a way to cut text into words that is not known here: the \
         model would read other tokens than it was trained on. `--unknown-pretokenizer default` cuts \
         as llama.cpp does by default, at the price of worse answers"
    )]
    UnknownPreTokenizer {
        /// The value found.
        name: String,
    },
    /// The vocabulary cannot express a text.
    #[error("cannot tokenise the text: {message}")]
    Encode {
        /// What the model or a regular expression said.
        message: String,
    },
}
