//! A conversation on its way to the engine, the same for every dialect that has chats.

use matou_chat::reasoning::ReasoningFormat;

use crate::error::ApiError;
use crate::generation::EventStream;
use crate::message::MessageFormat;
use crate::prompt::{no_template, render_chat, resolve_sampling, tokenize_rendered};
use crate::request::{ChatCall, GenerationOptions};
use crate::request_id::RequestId;
use crate::state::AppState;
use crate::thinking::ThinkingPlan;
use crate::tools::{answer_grammar, tool_format};

/// A conversation that is ready for the engine.
pub(crate) struct Conversation {
    /// The token ids of its prompt.
    pub(crate) prompt_token_ids: Vec<u32>,
    /// How to answer it, with the grammar compiled.
    pub(crate) options: GenerationOptions,
    /// How the answer is written.
    pub(crate) format: MessageFormat,
}

impl Conversation {
    /// Renders and tokenises a conversation, and compiles the grammar of its answer. Work for
    /// [`AppState::compute`].
    ///
    /// # Errors
    ///
    /// 404 for a model that is not served; 400 when the template refuses the conversation, or when
    /// the grammar cannot be enforced.
    pub(crate) fn prepare(state: &AppState, call: ChatCall) -> Result<Self, ApiError> {
        state.check_model(call.model.as_deref())?;
        let mut options = call.options;
        let template = state.template.as_deref().ok_or_else(no_template)?;
        let prompt = render_chat(template, &call.request)?;
        let prompt_token_ids = tokenize_rendered(&state.tokenizer, &prompt)?;
        let notation = tool_format(template);
        let tools = call.request.tools.as_ref();
        let format = MessageFormat {
            reasoning: ReasoningFormat::detect(template.source())
                .map(|format| (format, format.starts_inside(&prompt.text()))),
            tools: tools.map(|tools| (notation, tools.tools.clone())),
        };
        let control = |text: &str| {
            let id = state.tokenizer.token_to_id(text)?;
            state.tokenizer.is_special(id).then_some(id)
        };
        // What marks calls or reasoning has to be seen to be told apart, be it a control token.
        if format.markers().any(|marker| control(marker).is_some()) {
            options.text.keep_special_tokens = true;
        }
        options.sampling = resolve_sampling(&state.tokenizer, &options)?;
        let thinking = thinking_plan(&format, call.thinking_budget)?;
        options.sampling.constraint = match (
            answer_grammar(notation, tools, call.output, control)?,
            thinking,
        ) {
            (Some(output), thinking) => Some(state.constraint(&output, thinking)?),
            (None, Some(plan)) if plan.budget.is_some() => Some(state.thinking_constraint(plan)?),
            (None, _) => None,
        };
        Ok(Self {
            prompt_token_ids,
            options,
            format,
        })
    }

    /// Hands the conversation to the engine. `param` is the field that it came from.
    ///
    /// # Errors
    ///
    /// When the engine does not accept it.
    pub(crate) fn start(
        self,
        state: &AppState,
        request_id: &RequestId,
        param: &str,
    ) -> Result<EventStream, ApiError> {
        let Self {
            prompt_token_ids,
            options,
            ..
        } = self;
        let name = request_id.to_string();
        let generation = state.submit(name, prompt_token_ids, &options, 0, param)?;
        Ok(state.until_cut(generation.into_stream()))
    }
}

/// How the model thinks, if it does.
fn thinking_plan(
    format: &MessageFormat,
    budget: Option<(&'static str, usize)>,
) -> Result<Option<ThinkingPlan>, ApiError> {
    match (format.reasoning, budget) {
        (Some((format, is_open)), budget) => Ok(Some(ThinkingPlan {
            format,
            is_open,
            budget: budget.map(|(_, budget)| budget),
        })),
        (None, Some((param, _))) => {
            let message = format!("`{param}` is not supported: this model does not think.");
            Err(ApiError::unsupported(param, message))
        }
        (None, None) => Ok(None),
    }
}
