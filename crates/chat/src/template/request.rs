//! A conversation to be rendered.

use serde_json::{Map, Value};

/// What to render.
#[derive(Debug, Clone, Copy)]
pub struct TemplateRequest<'a> {
    /// The messages as OpenAI spells them: objects with `role`, `content` and so on.
    pub messages: &'a [Value],
    /// The list of tools, as OpenAI spells them.
    pub tools: Option<&'a Value>,
    /// Ends the prompt with the beginning of an assistant's message.
    pub add_generation_prompt: bool,
    /// Leaves the last message open, for the model to continue it.
    pub continue_final_message: bool,
    /// Further variables of the template, such as `enable_thinking`.
    pub kwargs: &'a Map<String, Value>,
}
