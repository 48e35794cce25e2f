//! A persona in front of a model: what its card makes of a request.

use chrono::Local;
use matou_chat::SpecialTokens;
use matou_engine::SamplingParams;
use matou_persona::{ComposeError, Composed, Persona, Sampling, Scene};

use crate::error::LlmError;
use crate::llm::Llm;
use crate::prepare::tokenize_chat;
use crate::request::{ChatCall, ChatRequest};

/// What requests get that do not say how to sample: as the card has it, and for the rest as the model.
pub(crate) fn sampling(own: &Sampling, model: SamplingParams) -> SamplingParams {
    let float = |own: Option<f64>, model: f32| own.map_or(model, |own| own as f32);
    SamplingParams {
        temperature: float(own.temperature, model.temperature),
        top_p: float(own.top_p, model.top_p),
        top_k: own.top_k.map(|k| k as usize).or(model.top_k),
        min_p: float(own.min_p, model.min_p),
        repetition_penalty: float(own.repetition_penalty, model.repetition_penalty),
        frequency_penalty: float(own.frequency_penalty, model.frequency_penalty),
        presence_penalty: float(own.presence_penalty, model.presence_penalty),
        seed: own.seed.or(model.seed),
        max_tokens: own.max_tokens.map(|n| n as usize).or(model.max_tokens),
        ..model
    }
}

/// The request as the persona has it answered.
///
/// # Errors
///
/// When the persona takes no such conversation, or would have to show what it is told.
pub(crate) fn call(persona: &Persona, llm: &Llm, mut call: ChatCall) -> Result<ChatCall, LlmError> {
    if call.options.sampling.prompt_logprobs.is_some() {
        let message = format!(
            "The prompt of a persona is not shown, and neither are its log-probabilities; `{}` is one.",
            persona.id()
        );
        return Err(LlmError::unsupported("prompt_logprobs", message));
    }
    call.request = request(persona, llm, call.request)?;
    let own = persona.stop().iter();
    let stop = &mut call.options.text.stop;
    for string in own {
        if !stop.contains(string) {
            stop.push(string.clone());
        }
    }
    Ok(call)
}

/// The conversation as it is put before the model.
///
/// # Errors
///
/// When the persona takes no such conversation.
pub(crate) fn request(
    persona: &Persona,
    llm: &Llm,
    request: ChatRequest,
) -> Result<ChatRequest, LlmError> {
    let composed = composed(persona, llm, &request)?;
    Ok(ChatRequest {
        messages: composed.messages,
        ..request
    })
}

fn composed(persona: &Persona, llm: &Llm, request: &ChatRequest) -> Result<Composed, LlmError> {
    let count_tokens = |text: &str| {
        let tokens = llm.tokenizer().encode(text, SpecialTokens::Plain, false);
        // What cannot be tokenised is refused where the prompt is.
        tokens.map_or(text.len(), |tokens| tokens.len())
    };
    let scene = Scene {
        messages: &request.messages,
        user: request.scene.user.as_deref(),
        greeting: request.scene.greeting,
        continues: request.continue_final_message,
        now: Some(Local::now().naive_local()),
        count_tokens: &count_tokens,
    };
    persona.compose(&scene).map_err(|error| refusal(&error))
}

/// The tokens that a conversation with the persona begins with, whatever the user says: as far as two
/// conversations have them in common.
///
/// # Errors
///
/// When the persona cannot be put before this model.
pub(crate) fn prefix(persona: &Persona, llm: &Llm) -> Result<Vec<u32>, LlmError> {
    let tokens = |text: &str| {
        let said = serde_json::json!({"role": "user", "content": text});
        let asked = ChatCall::new(vec![said], SamplingParams::default()).request;
        tokenize_chat(llm, &request(persona, llm, asked)?)
    };
    let (mut one, other) = (tokens("a")?, tokens("Z")?);
    let common = one.iter().zip(&other).take_while(|(a, b)| a == b).count();
    one.truncate(common);
    Ok(one)
}

fn refusal(error: &ComposeError) -> LlmError {
    let param = match error {
        ComposeError::SystemMessage { index, .. } | ComposeError::NotAMessage { index } => {
            format!("messages[{index}]")
        }
        ComposeError::Greeting { .. } => "persona.greeting".to_owned(),
        ComposeError::NothingToContinue => "messages".to_owned(),
    };
    let mut message = error.to_string();
    if let Some(first) = message.get(..1).map(str::to_uppercase) {
        message.replace_range(..1, &first);
    }
    LlmError::invalid(param, message + ".")
}
