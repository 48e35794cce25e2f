//! What untrusted input could make endless is done in processes of its own ([`matou_sandbox`]): a
//! client's grammar is compiled there before it is here, and a model's chat template runs nowhere else.
//!
//! A program offers itself for it: it calls [`work`] when it is started with the arguments that it gave
//! to [`Isolation::new`]. Without an isolation, as in a program that uses this crate and has no such
//! command, the same is done in the process itself.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use matou_chat::{
    ChatTemplate, RenderedPrompt, TemplateError, TemplateFacts, TemplateRenderer, TemplateRequest,
    TemplateSource, TemplateTokens,
};
use matou_grammar::{Compiler, GrammarError, GrammarSpec, Vocabulary, VocabularyToken};
use matou_sandbox::{Counters, Limits, Program, Sandbox, SandboxError, serve};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How long a grammar may take to compile, and a template to run.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// Processes for each kind of work beside one for each core: a server that lets no client have more jobs at a
/// time than there are cores has some left for others.
const SPARE_PROCESSES: usize = 2;
/// What a process may take: a schema of a thousand objects fits, one of two thousand does not; and as many
/// processes as one client may keep busy have to fit beside everything else. The stack is for what is nested.
const LIMITS: Limits = Limits {
    memory: 64 << 20,
    stack: 64 << 20,
    seconds: TIME_LIMIT.as_secs(),
};

/// Processes of a program that offers itself for work that may never end.
#[derive(Debug, Clone)]
pub struct Isolation {
    program: Program,
    counters: Arc<Counters>,
}

impl Isolation {
    /// By the program at `path`, which calls [`work`] when it is given these arguments.
    pub fn new(path: PathBuf, arguments: Vec<OsString>) -> Self {
        Self {
            program: Program { path, arguments },
            counters: Arc::default(),
        }
    }

    /// How much work was done there.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn sandbox(&self, setup: &Setup<'_>) -> Sandbox {
        let setup = json(setup);
        let counters = Arc::clone(&self.counters);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let processes = cores + SPARE_PROCESSES;
        Sandbox::new(self.program.clone(), setup, processes, TIME_LIMIT, counters)
    }

    /// Where grammars are tried.
    pub(crate) fn grammars(&self) -> GrammarTrial {
        GrammarTrial(self.sandbox(&Setup::Grammars))
    }

    /// A template that runs in processes of its own.
    ///
    /// # Errors
    ///
    /// As of [`ChatTemplate::new`]; [`TemplateError::Runaway`] when its process was stopped.
    pub fn template(
        &self,
        source: TemplateSource,
        tokens: TemplateTokens,
    ) -> Result<ChatTemplate, TemplateError> {
        let setup = Setup::Template {
            source: Cow::Borrowed(&source),
            tokens: Cow::Borrowed(&tokens),
        };
        let sandbox = self.sandbox(&setup);
        let answer = sandbox.set_up().map_err(stopped)?;
        let facts: Result<TemplateFacts, TemplateError> = read(&answer)?;
        Ok(ChatTemplate::elsewhere(
            source,
            facts?,
            Arc::new(Remote(sandbox)),
        ))
    }
}

/// What a process is told first.
#[derive(Serialize, Deserialize)]
enum Setup<'a> {
    Grammars,
    Template {
        source: Cow<'a, TemplateSource>,
        tokens: Cow<'a, TemplateTokens>,
    },
}

/// A conversation to be rendered.
#[derive(Serialize, Deserialize)]
struct TemplateJob<'a> {
    messages: Cow<'a, [Value]>,
    tools: Option<Cow<'a, Value>>,
    add_generation_prompt: bool,
    continue_final_message: bool,
    kwargs: Cow<'a, Map<String, Value>>,
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("what processes tell each other serialises")
}

fn read<'de, T: Deserialize<'de>>(answer: &'de [u8]) -> Result<T, TemplateError> {
    serde_json::from_slice(answer).map_err(|error| TemplateError::Runaway {
        message: format!("its process does not answer: {error}"),
    })
}

fn stopped(error: SandboxError) -> TemplateError {
    let message = error.to_string();
    match error {
        SandboxError::TimedOut(_) | SandboxError::Died => TemplateError::Runaway { message },
        SandboxError::Busy | SandboxError::Unavailable(_) => TemplateError::Busy { message },
    }
}

/// A template in processes of its own.
#[derive(Debug)]
struct Remote(Sandbox);

impl TemplateRenderer for Remote {
    fn render(&self, request: &TemplateRequest<'_>) -> Result<RenderedPrompt, TemplateError> {
        let job = TemplateJob {
            messages: request.messages.into(),
            tools: request.tools.map(Cow::Borrowed),
            add_generation_prompt: request.add_generation_prompt,
            continue_final_message: request.continue_final_message,
            kwargs: Cow::Borrowed(request.kwargs),
        };
        let answer = self.0.run(&json(&job)).map_err(stopped)?;
        read::<Result<RenderedPrompt, TemplateError>>(&answer)?
    }
}

/// Where grammars are tried before they are compiled here.
#[derive(Debug)]
pub(crate) struct GrammarTrial(Sandbox);

impl GrammarTrial {
    /// Compiles a grammar for a vocabulary of bytes, and forgets it.
    ///
    /// # Errors
    ///
    /// When that takes too long or too much. What is wrong with the grammar itself is not told.
    pub(crate) fn check(&self, spec: &GrammarSpec) -> Result<(), GrammarError> {
        match self.0.run(&json(spec)) {
            Ok(_) => Ok(()),
            Err(SandboxError::TimedOut(limit)) => {
                Err(GrammarError::Timeout(limit.as_millis() as u64))
            }
            Err(SandboxError::Died) => Err(GrammarError::TooLarge(format!(
                "compiling it takes more than {} MiB",
                LIMITS.memory >> 20
            ))),
            Err(SandboxError::Busy) => Err(GrammarError::Busy),
            Err(SandboxError::Unavailable(reason)) => {
                tracing::error!("grammars are not tried out first: {reason}");
                Err(GrammarError::Busy)
            }
        }
    }
}

/// Does the work of a process of its own, until its parent has no more: what a program does that was
/// started with the arguments of its [`Isolation`].
///
/// # Errors
///
/// When limits cannot be set, or the pipes to the parent break.
pub fn work() -> io::Result<()> {
    let mut duty = None;
    serve(LIMITS, move |job| match &duty {
        None => {
            let (begun, answer) = Duty::begin(job);
            duty = Some(begun);
            answer
        }
        Some(duty) => duty.answer(job),
    })
}

/// What a process is there for.
enum Duty {
    Grammars(Box<Compiler>),
    Template(Box<ChatTemplate>),
    /// Its setup failed, as it has said.
    Nothing,
}

impl Duty {
    fn begin(setup: &[u8]) -> (Self, Vec<u8>) {
        match serde_json::from_slice(setup) {
            Ok(Setup::Grammars) => match compiler() {
                Ok(compiler) => (Self::Grammars(Box::new(compiler)), Vec::new()),
                Err(error) => (Self::Nothing, json(&error.to_string())),
            },
            Ok(Setup::Template { source, tokens }) => {
                let template = ChatTemplate::new(source.into_owned(), tokens.into_owned());
                let answer = json(&template.as_ref().map(ChatTemplate::facts));
                let duty = template.map_or(Self::Nothing, |made| Self::Template(Box::new(made)));
                (duty, answer)
            }
            Err(error) => (Self::Nothing, json(&error.to_string())),
        }
    }

    fn answer(&self, job: &[u8]) -> Vec<u8> {
        match self {
            Self::Grammars(compiler) => {
                let compiled = serde_json::from_slice::<GrammarSpec>(job)
                    .map(|spec| compiler.compile_here(spec).is_ok());
                json(&compiled.unwrap_or(false))
            }
            Self::Template(template) => match serde_json::from_slice::<TemplateJob<'_>>(job) {
                Ok(job) => json(&template.render(&TemplateRequest {
                    messages: &job.messages,
                    tools: job.tools.as_deref(),
                    add_generation_prompt: job.add_generation_prompt,
                    continue_final_message: job.continue_final_message,
                    kwargs: &job.kwargs,
                })),
                Err(error) => json(&error.to_string()),
            },
            Self::Nothing => Vec::new(),
        }
    }
}

/// A compiler for a vocabulary of bytes: what a grammar costs depends little on the vocabulary.
fn compiler() -> Result<Compiler, GrammarError> {
    let bytes: Vec<[u8; 1]> = (0..=255).map(|byte: u8| [byte]).collect();
    let tokens = bytes.iter().map(|byte| VocabularyToken::Text(byte));
    let end = VocabularyToken::Special("<|end|>");
    Compiler::new(&Vocabulary::new(tokens.chain([end]), &[256])?)
}
