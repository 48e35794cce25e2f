//! llama.cpp's grammar notation, turned into Lark.
//!
//! GBNF says everything with characters; the engine underneath wants lexemes, which its lexer takes
//! greedily, and parses what the lexemes form. So every rule without recursion becomes a terminal,
//! and in the other rules each run of such parts does: `"{" ws string ":" ws value` is the
//! terminal `"{" ws string ":" ws` followed by the rule `value`. A grammar without recursion
//! is one terminal, and means exactly what it meant. In others a terminal takes as many
//! characters as it can, which may exclude texts that GBNF allows, but never allows others.
//!
//! The notation is that of `grammars/README.md` and `src/llama-grammar.cpp` of llama.cpp.

mod expr;
mod lark;
mod parser;

use crate::GrammarError;

/// The same grammar in Lark, starting at `start`.
///
/// # Errors
///
/// [`GrammarError::InvalidGrammar`] with the line that does not parse, or the rule that is missing.
pub(crate) fn to_lark(source: &str) -> Result<String, GrammarError> {
    parser::parse(source)
        .map(|grammar| lark::write(&grammar))
        .map_err(|reason| GrammarError::InvalidGrammar {
            kind: "GBNF grammar",
            reason,
        })
}
