//! Chat templates: from a list of messages to the prompt a model was trained on.
//!
//! Templates are Jinja programs published with their models and written for Python: they run on
//! minijinja with the functions that Hugging Face's `apply_chat_template` gives them
//! ([`environment`]), taught Python's ways ([`dialect`], [`python`]), on messages brought into the
//! shape they expect ([`messages`]). What a template refuses or would lose is fitted to it ([`fit`]).
//!
//! A template decides where control tokens go. The same text inside a message must stay text, so
//! it is marked before rendering and never parsed afterwards ([`marking`]).

mod capabilities;
mod dialect;
mod environment;
mod error;
mod fit;
mod folder;
mod json;
mod local;
mod marking;
mod messages;
mod mistral;
mod parts;
mod python;
mod request;
mod shapes;
mod source;

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Local};
use serde::{Deserialize, Serialize};

pub use capabilities::TemplateCapabilities;
pub use error::TemplateError;
use local::LocalTemplate;
pub use request::TemplateRequest;
use source::CHATML;
pub use source::TemplateSource;

use crate::prompt::{RenderedPrompt, TemplateTokens};

/// Where a template runs that does not run in this process: a template is a program, and may take all
/// memory there is.
pub trait TemplateRenderer: fmt::Debug + Send + Sync {
    /// Renders a conversation, as [`ChatTemplate::render`] does.
    ///
    /// # Errors
    /// As of that; [`TemplateError::Runaway`] when it had to be stopped.
    fn render(&self, request: &TemplateRequest<'_>) -> Result<RenderedPrompt, TemplateError>;
}

/// What has to be known of a template that runs elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemplateFacts {
    capabilities: TemplateCapabilities,
}

/// A model's chat template, compiled. Shared between threads.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    facts: TemplateFacts,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Here(Box<LocalTemplate>),
    Elsewhere(Arc<dyn TemplateRenderer>),
}

impl ChatTemplate {
    /// Compiles a model's template or templates.
    ///
    /// # Errors
    /// [`TemplateError::Invalid`].
    pub fn new(
        source: impl Into<TemplateSource>,
        tokens: TemplateTokens,
    ) -> Result<Self, TemplateError> {
        Self::with_clock(source, tokens, Local::now)
    }

    /// The same, with a clock of one's own behind `strftime_now`.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn with_clock(
        source: impl Into<TemplateSource>,
        tokens: TemplateTokens,
        clock: impl Fn() -> DateTime<Local> + Send + Sync + 'static,
    ) -> Result<Self, TemplateError> {
        let source = source.into();
        let text = source.joined();
        let template = LocalTemplate::new(source, tokens, Arc::new(clock))?;
        Ok(Self {
            source: text,
            facts: TemplateFacts {
                capabilities: template.capabilities(),
            },
            place: Place::Here(Box::new(template)),
        })
    }

    /// A template that runs elsewhere: `facts` are those of the one that was compiled there.
    pub fn elsewhere(
        source: impl Into<TemplateSource>,
        facts: TemplateFacts,
        renderer: Arc<dyn TemplateRenderer>,
    ) -> Self {
        Self {
            source: source.into().joined(),
            facts,
            place: Place::Elsewhere(renderer),
        }
    }

    /// The ChatML template, for a chat with a model that has none of its own.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn chatml(tokens: TemplateTokens) -> Result<Self, TemplateError> {
        Self::new(CHATML, tokens)
    }

    /// The text of the template, or of all templates: what a model is shown, such as its
    /// notation of tool calls, is read from it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What the template prints and takes.
    pub fn capabilities(&self) -> TemplateCapabilities {
        self.facts.capabilities
    }

    /// What has to be known of it where it does not run.
    pub fn facts(&self) -> TemplateFacts {
        self.facts
    }

    /// Renders a conversation.
    ///
    /// Content given as typed parts is joined with newlines, unless the template handles parts
    /// itself; tool-call arguments given as JSON text become objects where the template wants
    /// them. A conversation that the template refuses or would lose some of is fitted to it: a
    /// system message that is not the first or has no place, and roles that repeat.
    ///
    /// # Errors
    /// [`TemplateError::Raised`] with the template's own words, [`TemplateError::Request`] for
    /// parts that are not text and for a last message that cannot be continued,
    /// [`TemplateError::Failed`] and [`TemplateError::Runaway`].
    pub fn render(&self, request: &TemplateRequest<'_>) -> Result<RenderedPrompt, TemplateError> {
        match &self.place {
            Place::Here(template) => template.render(request),
            Place::Elsewhere(renderer) => renderer.render(request),
        }
    }

    /// Renders a conversation as it is, or fails, as transformers would: where the template runs in
    /// this process.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_unfitted(
        &self,
        request: &TemplateRequest<'_>,
    ) -> Result<RenderedPrompt, TemplateError> {
        match &self.place {
            Place::Here(template) => template.render_unfitted(request),
            Place::Elsewhere(renderer) => renderer.render(request),
        }
    }
}
