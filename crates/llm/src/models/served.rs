//! What a lease is asked: what its model is asked, with whatever the name brings along.

use std::sync::Arc;

use matou_chat::RenderedPrompt;

use super::held::Lease;
use crate::error::LlmError;
use crate::generation::TextGeneration;
use crate::persona;
use crate::prepare::{self, PreparedPrompt, RawPrompts};
use crate::request::{
    ChatCall, ChatRequest, GenerationOptions, OutputGrammar, PromptInput, SceneChoice,
};
use crate::wanted::Wanted;

impl Lease {
    /// As [`prepare::chat`], for the persona if it is one.
    ///
    /// # Errors
    ///
    /// As of that; and when the persona takes no such conversation.
    pub fn chat(&self, call: ChatCall, wanted: &Wanted) -> Result<PreparedPrompt, LlmError> {
        let mut call = match self.persona() {
            Some(persona) => persona::call(persona, self, call)?,
            None => {
                check_scene(&call.request)?;
                call
            }
        };
        call.options.adapter = self.adapter().cloned();
        let mut prompt = prepare::chat(self, call, wanted)?;
        // What the persona is told is not the secret of whoever asks: it is computed once for all.
        let open = self
            .prefix()
            .into_iter()
            .flatten()
            .zip(&prompt.prompt_token_ids);
        prompt.options.num_open_tokens = open.take_while(|(a, b)| a == b).count();
        Ok(prompt)
    }

    /// As [`prepare::tokenize_chat`], for the persona if it is one: how many tokens that is.
    ///
    /// # Errors
    ///
    /// As of [`chat`](Self::chat).
    pub fn count_chat(&self, request: ChatRequest) -> Result<usize, LlmError> {
        let request = match self.persona() {
            Some(persona) => persona::request(persona, self, request)?,
            None => {
                check_scene(&request)?;
                request
            }
        };
        prepare::tokenize_chat(self, &request).map(|tokens| tokens.len())
    }

    /// As [`prepare::tokenize_chat`].
    ///
    /// # Errors
    ///
    /// As of that; and for a persona, whose prompt is not shown.
    pub fn tokenize_chat(&self, request: &ChatRequest) -> Result<Vec<u32>, LlmError> {
        self.check_open("view of its prompt")?;
        check_scene(request)?;
        prepare::tokenize_chat(self, request)
    }

    /// As [`prepare::render_chat`].
    ///
    /// # Errors
    ///
    /// As of that; and for a persona, whose prompt is not shown.
    pub fn render_chat(&self, request: &ChatRequest) -> Result<RenderedPrompt, LlmError> {
        self.check_open("view of its prompt")?;
        check_scene(request)?;
        prepare::render_chat(self, request)
    }

    /// As [`prepare::raw`].
    ///
    /// # Errors
    ///
    /// As of that; and for a persona, which is no more than its prompt.
    pub fn raw(
        &self,
        inputs: &[PromptInput],
        suffix: Option<&str>,
        options: GenerationOptions,
        output: Option<&OutputGrammar>,
        wanted: &Wanted,
    ) -> Result<RawPrompts, LlmError> {
        self.check_open("raw completions")?;
        let options = GenerationOptions {
            adapter: self.adapter().cloned(),
            ..options
        };
        prepare::raw(self, inputs, suffix, options, output, wanted)
    }

    /// Refuses `what` a persona does not give.
    ///
    /// # Errors
    ///
    /// For a persona.
    pub fn check_open(&self, what: &str) -> Result<(), LlmError> {
        let Some(persona) = self.persona() else {
            return Ok(());
        };
        let message = format!(
            "`{}` is a persona: it answers conversations, and gives no {what}. Ask its model `{}` for that.",
            persona.id(),
            persona.model().unwrap_or(self.card().names[0].as_str()),
        );
        Err(LlmError::unsupported("model", message))
    }

    /// Has the model read what the persona is always told, so that the first conversation with it does
    /// not wait for that. Gives the number of tokens.
    ///
    /// # Errors
    ///
    /// When the persona cannot be put before this model.
    pub async fn warm(&self) -> Result<usize, LlmError> {
        let Some(persona) = self.persona().cloned() else {
            return Ok(0);
        };
        let llm = self.shared();
        let own = Arc::clone(&persona);
        let read = move || persona::prefix(&own, &llm);
        let prefix = tokio::task::spawn_blocking(read).await;
        let prefix = prefix.map_err(|error| LlmError::internal(error.to_string()))??;
        let tokens = prefix.len();
        self.keep_prefix(&persona, prefix.as_slice().into());
        if tokens == 0 {
            return Ok(0);
        }
        let mut options = GenerationOptions {
            adapter: self.adapter().cloned(),
            ..GenerationOptions::default()
        };
        options.sampling.max_tokens = Some(0);
        let name = format!("warm-{}", self.name());
        let mut generation: TextGeneration = self.submit(name, prefix, &options, "model")?;
        while generation.next().await.is_some() {}
        Ok(tokens)
    }
}

/// What is said to a persona has to reach one.
fn check_scene(request: &ChatRequest) -> Result<(), LlmError> {
    match request.scene == SceneChoice::default() {
        true => Ok(()),
        false => {
            let message = "`persona` chooses a greeting or a name for the user, and the model asked for is \
                           no persona.";
            Err(LlmError::unsupported("persona", message))
        }
    }
}
