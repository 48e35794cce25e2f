//! Text side of a chat model, without tensors: everything between the wire's messages and the
//! engine's token ids.
//!
//! ```text
//! messages ──▶ ChatTemplate::render ──▶ RenderedPrompt ──▶ Tokenizer::encode_prompt ──▶ ids
//!                                                                                        │
//! text ◀── StopStrings::push ◀── Detokenizer::push ◀──────────── token, token, … ◀── engine
//! ```
//!
//! Two promises are kept here. What a user writes never becomes a control token: the template
//! marks such text and the tokenizer honours the mark. And what is emitted is final: never half a
//! character, never the beginning of a stop string.

mod detokenizer;
mod prompt;
pub mod reasoning;
mod stop;
mod template;
mod text_side;
mod tokenizer;
pub mod tools;

pub use detokenizer::Detokenizer;
pub use prompt::{RenderedPrompt, TemplateTokens};
pub use stop::{StopResult, StopStrings};
pub use template::{
    ChatTemplate, TemplateCapabilities, TemplateError, TemplateFacts, TemplateRenderer,
    TemplateRequest, TemplateSource,
};
pub use text_side::{TemplateCompiler, TextError, TextOptions, TextSide};
pub use tokenizer::{
    GenerationConfig, GgufVocab, SpecialTokens, Tokenizer, TokenizerError, UnknownPreTokenizer,
};
