//! A template that runs in this process.

use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

use super::capabilities::TemplateCapabilities;
use super::environment::{self, Clock};
use super::error::TemplateError;
use super::fit::Fit;
use super::marking::Marking;
use super::request::TemplateRequest;
use super::shapes::Shapes;
use super::source::{DEFAULT, TemplateSource};
use super::{dialect, messages};
use crate::prompt::{RenderedPrompt, TemplateTokens};

/// The name of the template for requests with tools, where a model has one.
const TOOL_USE: &str = "tool_use";

/// A template in this process, compiled. Shared between threads.
#[derive(Debug)]
pub(super) struct LocalTemplate {
    environment: Environment<'static>,
    tokens: TemplateTokens,
    marking: Marking,
    shapes: Shapes,
    capabilities: TemplateCapabilities,
    has_tool_use: bool,
}

impl LocalTemplate {
    /// Compiles a template, with a clock behind `strftime_now`.
    ///
    /// # Errors
    /// [`TemplateError::Invalid`].
    pub(super) fn new(
        source: TemplateSource,
        tokens: TemplateTokens,
        clock: Clock,
    ) -> Result<Self, TemplateError> {
        let text = source.joined();
        let mut template = Self {
            environment: environment::new(clock),
            marking: Marking::new(&tokens.control_tokens, source.texts()),
            tokens,
            shapes: Shapes::default(),
            capabilities: TemplateCapabilities::default(),
            has_tool_use: source.names().any(|name| name == TOOL_USE),
        };
        for (name, text) in source.into_templates()? {
            let text = dialect::translate(&text);
            template
                .environment
                .add_template_owned(name, text)
                .map_err(|error| TemplateError::Invalid {
                    message: error.to_string(),
                })?;
        }
        template.probe(&text);
        Ok(template)
    }

    /// Finds out what the template takes and prints.
    fn probe(&mut self, source: &str) {
        let try_on = |messages: &[Value], tools: Option<&Value>| {
            self.run(messages, tools, false, &Map::new()).ok()
        };
        let shapes = Shapes::probe(|messages| try_on(messages, None));
        let capabilities = TemplateCapabilities::probe(source, |messages, tools| {
            try_on(&messages::normalise(messages, shapes).ok()?, tools)
        });
        (self.shapes, self.capabilities) = (shapes, capabilities);
    }

    /// What the template prints and takes.
    pub(super) fn capabilities(&self) -> TemplateCapabilities {
        self.capabilities
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
    pub(super) fn render(
        &self,
        request: &TemplateRequest<'_>,
    ) -> Result<RenderedPrompt, TemplateError> {
        let messages = messages::normalise(request.messages, self.shapes)?;
        let needed = Fit {
            developer_is_system: !self.capabilities.developer,
            one_system: !self.capabilities.several_systems,
            gathers_system: !self.capabilities.system_later,
            system_as_user: !self.capabilities.system,
            merges_roles: !self.capabilities.repeated_roles,
            opens_with_user: false,
        };
        let fitted = needed.apply(messages.clone());
        let refusal = match self.render_messages(fitted.clone(), request) {
            Err(error @ (TemplateError::Raised(_) | TemplateError::Failed { .. })) => error,
            outcome => return outcome,
        };
        let merged = Fit {
            gathers_system: true,
            merges_roles: true,
            opens_with_user: true,
            ..needed
        };
        let merged = merged.apply(messages);
        if merged == fitted {
            return Err(refusal);
        }
        self.render_messages(merged, request).map_err(|_| refusal)
    }

    /// Renders a conversation as it is, or fails, as transformers would.
    ///
    /// # Errors
    /// As [`LocalTemplate::render`].
    pub(super) fn render_unfitted(
        &self,
        request: &TemplateRequest<'_>,
    ) -> Result<RenderedPrompt, TemplateError> {
        let messages = messages::normalise(request.messages, self.shapes)?;
        self.render_messages(messages, request)
    }

    fn render_messages(
        &self,
        mut messages: Vec<Value>,
        request: &TemplateRequest<'_>,
    ) -> Result<RenderedPrompt, TemplateError> {
        let mut tools = request.tools.cloned();
        let mut kwargs = request.kwargs.clone();

        let markers = self.marking.unused(&messages, tools.as_ref(), &kwargs)?;
        let mut marked = self.marking.mark_object(&mut kwargs, markers.text);
        for value in messages.iter_mut().chain(&mut tools) {
            marked |= self.marking.mark(value, markers.text);
        }
        if request.continue_final_message {
            messages::mark_end(&mut messages, markers.end, request.add_generation_prompt)?;
        }
        let mut text = self.run(
            &messages,
            tools.as_ref(),
            request.add_generation_prompt,
            &kwargs,
        )?;
        if request.continue_final_message {
            messages::cut_at_end(&mut text, markers.end)?;
        }
        Ok(RenderedPrompt::new(text, marked.then_some(markers.text)))
    }

    /// Runs the template that fits.
    fn run(
        &self,
        messages: &[Value],
        tools: Option<&Value>,
        add_generation_prompt: bool,
        kwargs: &Map<String, Value>,
    ) -> Result<String, TemplateError> {
        let mut variables = Map::new();
        variables.insert("bos_token".to_owned(), self.tokens.bos_token.clone().into());
        variables.insert("eos_token".to_owned(), self.tokens.eos_token.clone().into());
        variables.extend(kwargs.clone());
        variables.insert("messages".to_owned(), messages.into());
        variables.insert("tools".to_owned(), tools.cloned().into());
        variables.insert("documents".to_owned(), Value::Null);
        let key = "add_generation_prompt".to_owned();
        variables.insert(key, add_generation_prompt.into());

        let name = if tools.is_some() && self.has_tool_use {
            TOOL_USE
        } else {
            DEFAULT
        };
        let template = self.environment.get_template(name);
        template
            .and_then(|template| environment::render(&template, &variables))
            .map_err(|error| rendering_error(&error))
    }
}

/// What an error of the template engine means to a caller.
fn rendering_error(error: &minijinja::Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(raised) = current.downcast_ref::<environment::Raised>() {
            return TemplateError::Raised(raised.0.clone());
        }
        cause = current.source();
    }
    let message = error.to_string();
    match error.kind() {
        ErrorKind::OutOfFuel | ErrorKind::WriteFailure => TemplateError::Runaway { message },
        _ => TemplateError::Failed { message },
    }
}
