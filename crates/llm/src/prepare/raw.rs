//! Texts and token ids that go to the model as they are, or with a gap that the answer fills.

use futures_util::StreamExt;
use futures_util::stream::select_all;

use super::PreparedPrompt;
use crate::error::LlmError;
use crate::gap::{gap_ends, tokenize_gap};
use crate::generation::{EventStream, TextGeneration};
use crate::length::{check_length, tokenize_fitting};
use crate::llm::Llm;
use crate::message::MessageFormat;
use crate::prompt::resolve_sampling;
use crate::request::{GenerationOptions, OutputGrammar, PromptInput};
use crate::wanted::Wanted;

/// Prompts that are ready for the engine, all answered in the same way.
#[derive(Debug)]
pub struct RawPrompts {
    /// The token ids of each.
    pub prompts: Vec<Vec<u32>>,
    /// How to answer them, with the grammar compiled.
    pub options: GenerationOptions,
}

/// Tokenises `prompts`, each with the text after its gap if there is a `suffix`, and compiles the
/// grammar of their answers.
///
/// # Errors
///
/// When the vocabulary cannot express a text, when one cannot fit into the context, when the model
/// fills no gaps, when the grammar cannot be enforced, or when all this is no longer wanted.
pub fn raw(
    llm: &Llm,
    prompts: &[PromptInput],
    suffix: Option<&str>,
    mut options: GenerationOptions,
    output: Option<&OutputGrammar>,
    wanted: &Wanted,
) -> Result<RawPrompts, LlmError> {
    let tokenizer = llm.tokenizer();
    if let Some(suffix) = suffix {
        check_length(llm, suffix, "suffix", wanted)?;
    }
    let tokens = |input| {
        let Some(suffix) = suffix else {
            return tokenize_fitting(llm, input, "prompt", wanted);
        };
        if let PromptInput::Text { text, .. } = input {
            check_length(llm, text, "prompt", wanted)?;
        }
        tokenize_gap(tokenizer, input, suffix)
    };
    let prompts = prompts.iter().map(tokens).collect::<Result<_, _>>()?;
    if suffix.is_some() {
        options.sampling.stop_token_ids.extend(gap_ends(tokenizer));
    }
    options.sampling = resolve_sampling(tokenizer, &options)?;
    if let Some(output) = output {
        options.sampling.constraint = Some(llm.constraints().output(output, None)?);
    }
    Ok(RawPrompts { prompts, options })
}

impl RawPrompts {
    /// The first prompt alone.
    pub fn into_first(mut self) -> PreparedPrompt {
        PreparedPrompt {
            prompt_token_ids: self.prompts.swap_remove(0),
            options: self.options,
            format: MessageFormat::default(),
        }
    }

    /// Hands all prompts to the engine; their events come as they happen. `param` is the field that they
    /// came from.
    ///
    /// # Errors
    ///
    /// When the engine does not accept all of them.
    pub fn start(self, llm: &Llm, request_id: &str, param: &str) -> Result<EventStream, LlmError> {
        let Self { prompts, options } = self;
        let names = (0..).map(|i| format!("{request_id}-{i}"));
        let generations = llm.submit_all(names.zip(prompts).collect(), &options, param)?;
        let streams = generations.into_iter().map(TextGeneration::into_stream);
        Ok(select_all(streams).boxed())
    }
}
