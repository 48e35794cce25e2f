//! What a sampler has to know of the sequence it chooses for.

/// The tokens of a sequence so far.
#[derive(Debug, Clone, Copy)]
pub struct SequenceTokens<'a> {
    /// Prompt and answer.
    pub token_ids: &'a [u32],
    /// How many of them are the prompt.
    pub num_prompt_tokens: usize,
}

impl SequenceTokens<'_> {
    pub(super) fn num_output_tokens(&self) -> usize {
        self.token_ids.len() - self.num_prompt_tokens
    }

    pub(super) fn output(&self) -> &[u32] {
        &self.token_ids[self.num_prompt_tokens..]
    }
}
