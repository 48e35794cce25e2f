//! Structured output: a grammar says, after each token, which tokens may come next.
//!
//! ```text
//!  once a model        once a grammar (cached)              once a sequence, once a step
//!  Vocabulary ──▶ Compiler::compile(&GrammarSpec) ──▶ Grammar::start ──▶ Constraint
//!                      │                                                  ├ mask() ─▶ TokenMask
//!                      └ schema/ checks and rewrites JSON schemas,        └ accept(token)
//!                        gbnf turns llama.cpp's grammars into Lark
//! ```
//!
//! The engine underneath is the crate `llguidance`: an Earley parser over lexemes whose lexer walks
//! the trie of the vocabulary. This crate adds what a server needs around it. A schema is never
//! enforced by halves: a keyword that the grammar can't express is an error which names it and its
//! path, before anything is generated. Compiling is bounded in time and memory. Text that clients
//! wrote can't overflow the stack, panic or hang.
//!
//! Plain data in, bit sets out: no tensors and no HTTP here.

mod compiler;
mod constraint;
mod error;
mod gbnf;
mod lark;
mod schema;
mod spec;
mod vocabulary;

pub use compiler::{CompileLimits, Compiler};
pub use constraint::{Constraint, Grammar, TokenMask};
pub use error::{ConstraintError, GrammarError};
pub use spec::GrammarSpec;
pub use vocabulary::{Vocabulary, VocabularyToken};
