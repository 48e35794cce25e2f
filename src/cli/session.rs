//! One person's talk with a model in this process: what `matou run` and `matou chat` share.

use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use matou_chat::{ChatTemplate, Tokenizer};
use matou_engine::{
    Engine, EngineConfig, EngineHandle, FinishReason, GenerationRequest, SamplingParams,
};
use matou_server::generation::{GenerationEvent, TextGeneration};
use matou_server::prompt::{tokenize_chat, tokenize_input};
use matou_server::request::{ChatRequest, GenerationOptions, PromptInput, TextOptions};
use serde_json::{Map, Value};

use super::{ModelOptions, positive};
use crate::load;

/// A prompt that is read faster than this needs no spinner.
const SPINNER_AFTER: Duration = Duration::from_millis(200);

/// How answers are sampled. What is left out is as the model's makers recommend.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct SamplingArgs {
    /// Randomness: 0 always takes the likeliest token.
    #[arg(long, value_name = "T", help_heading = "Sampling")]
    temperature: Option<f32>,

    /// Sample among the likeliest tokens that together have this probability.
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    top_p: Option<f32>,

    /// Sample among this many of the likeliest tokens.
    #[arg(long, value_name = "K", help_heading = "Sampling")]
    top_k: Option<usize>,

    /// Leave out tokens less likely than this share of the likeliest one's probability.
    #[arg(long, value_name = "P", help_heading = "Sampling")]
    min_p: Option<f32>,

    /// Make tokens that have occurred less likely; 1 changes nothing.
    #[arg(long, value_name = "R", help_heading = "Sampling")]
    repetition_penalty: Option<f32>,

    /// Seed of the randomness: the same seed and input give the same answer.
    #[arg(long, value_name = "N", help_heading = "Sampling")]
    seed: Option<u64>,

    /// Longest answer, in tokens [default: what the context has room for].
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Sampling")]
    max_tokens: Option<usize>,
}

impl SamplingArgs {
    /// `sampling` with the parameters that are given here.
    pub(super) fn apply(&self, sampling: SamplingParams) -> SamplingParams {
        SamplingParams {
            temperature: self.temperature.unwrap_or(sampling.temperature),
            top_p: self.top_p.unwrap_or(sampling.top_p),
            top_k: self.top_k.or(sampling.top_k),
            min_p: self.min_p.unwrap_or(sampling.min_p),
            repetition_penalty: self
                .repetition_penalty
                .unwrap_or(sampling.repetition_penalty),
            seed: self.seed.or(sampling.seed),
            max_tokens: self.max_tokens.or(sampling.max_tokens),
            ..sampling
        }
    }
}

/// A model, and how it samples.
pub(super) struct Session {
    /// The model in one line.
    pub(super) described: String,
    /// How the next answer is sampled.
    pub(super) sampling: SamplingParams,
    engine: EngineHandle,
    tokenizer: Arc<Tokenizer>,
    template: Option<Arc<ChatTemplate>>,
}

/// An answer, and how long it took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) text: String,
    /// Why it ended; `None` if it was interrupted.
    pub(super) reason: Option<FinishReason>,
    pub(super) prompt_tokens: usize,
    pub(super) cached_tokens: usize,
    pub(super) completion_tokens: usize,
    /// From the request to the first text.
    pub(super) time_to_first_token: Duration,
    /// From the first text to the last.
    pub(super) generation_time: Duration,
}

impl Session {
    /// Finds, loads and starts a model.
    pub(super) async fn open(
        model: Option<&str>,
        options: &ModelOptions,
        sampling: &SamplingArgs,
    ) -> Result<Self> {
        let loaded = load::open(model, options).await?;
        let described = loaded.describe();
        // One person has one request at a time.
        let limits = EngineConfig {
            max_num_seqs: 1,
            ..EngineConfig::default()
        };
        let config = loaded.engine_config(options, limits)?;
        let Some(tokenizer) = loaded.text.tokenizer else {
            bail!(
                "{} has no tokenizer: use `matou bench` to measure it",
                loaded.name
            );
        };
        let sampling = SamplingParams {
            eos_token_ids: loaded.text.eos_token_ids,
            ..sampling.apply(loaded.default_sampling)
        };
        sampling.validate(loaded.model.info().vocab_size)?;
        // The thread ends with the handle in this session.
        let (engine, _thread) = Engine::start(loaded.model, config)?;
        Ok(Self {
            described,
            sampling,
            engine,
            tokenizer,
            template: loaded.text.template,
        })
    }

    /// Whether the model knows what a conversation is.
    pub(super) fn can_chat(&self) -> bool {
        self.template.is_some()
    }

    /// Longest context, prompt and answer together, in tokens.
    pub(super) fn max_model_len(&self) -> usize {
        self.engine.config().max_model_len
    }

    /// Changes how the next answers are sampled, if the engine accepts it.
    pub(super) fn set_sampling(&mut self, args: &SamplingArgs) -> Result<()> {
        let sampling = args.apply(self.sampling.clone());
        sampling.validate(self.engine.model_info().vocab_size)?;
        self.sampling = sampling;
        Ok(())
    }

    /// Begins the answer to a conversation.
    pub(super) fn answer(&self, messages: &[Value]) -> Result<TextGeneration> {
        let request = ChatRequest {
            messages: messages.to_vec(),
            add_generation_prompt: true,
            continue_final_message: false,
            template_kwargs: Map::new(),
            tools: None,
            reasoning: None,
        };
        let prompt = tokenize_chat(self.template.as_deref(), &self.tokenizer, &request)?;
        self.generate(prompt, false)
    }

    /// Begins the continuation of a text.
    pub(super) fn complete(&self, text: String) -> Result<TextGeneration> {
        let input = PromptInput::Text {
            text,
            add_special_tokens: true,
        };
        let prompt = tokenize_input(&self.tokenizer, &input)?;
        self.generate(prompt, true)
    }

    fn generate(&self, prompt: Vec<u32>, continues_prompt: bool) -> Result<TextGeneration> {
        let options = GenerationOptions {
            sampling: self.sampling.clone(),
            text: TextOptions {
                continues_prompt,
                ..TextOptions::default()
            },
            ..GenerationOptions::default()
        };
        let generation = self.engine.submit(GenerationRequest {
            request_id: "terminal".to_owned(),
            prompt_token_ids: prompt.clone(),
            params: self.sampling.clone(),
            n: 1,
            priority: 0,
        })?;
        Ok(TextGeneration::new(
            generation,
            Arc::clone(&self.tokenizer),
            prompt,
            &options,
            0,
        ))
    }
}

/// Writes an answer to standard output as it comes, until it ends or `interrupt` resolves.
pub(super) async fn stream(
    mut generation: TextGeneration,
    interrupt: impl Future<Output = ()>,
) -> Result<Answer> {
    let start = Instant::now();
    let mut interrupt = pin!(interrupt);
    let mut patience = pin!(tokio::time::sleep(SPINNER_AFTER));
    let mut spinner = None;
    let (mut first, mut last) = (None, start);
    let mut answer = Answer {
        text: String::new(),
        reason: None,
        prompt_tokens: 0,
        cached_tokens: 0,
        completion_tokens: 0,
        time_to_first_token: Duration::ZERO,
        generation_time: Duration::ZERO,
    };
    loop {
        let event = tokio::select! {
            event = generation.next() => event,
            () = &mut interrupt => None,
            () = &mut patience, if first.is_none() && spinner.is_none() => {
                spinner = Some(Spinner::start());
                continue;
            }
        };
        match event {
            None => break,
            Some(GenerationEvent::Prompt(prompt)) => {
                (answer.prompt_tokens, answer.cached_tokens) =
                    (prompt.prompt_tokens, prompt.cached_tokens);
            }
            Some(GenerationEvent::Text { text, .. }) => {
                last = Instant::now();
                first.get_or_insert(last);
                spinner = None;
                print(&text)?;
                answer.text.push_str(&text);
                // As good as exact, and all there is to go by if the answer is interrupted.
                answer.completion_tokens += 1;
            }
            Some(GenerationEvent::Finished {
                reason,
                completion_tokens,
                ..
            }) => {
                answer.reason = Some(reason);
                answer.completion_tokens = completion_tokens;
            }
            Some(GenerationEvent::Failed(error)) => return Err(error.into()),
        }
    }
    drop(spinner);
    let first = first.unwrap_or(last);
    answer.time_to_first_token = first - start;
    answer.generation_time = last - first;
    Ok(answer)
}

impl Answer {
    /// Its figures in one line, for example `42 tokens · 118.3 tokens/s · first after 0.06 s`.
    pub(super) fn figures(&self) -> String {
        let seconds = self.generation_time.as_secs_f64();
        let mut parts = Vec::new();
        if self.completion_tokens > 0 {
            parts.push(format!("{} tokens", self.completion_tokens));
        }
        // The first token belongs to the reading of the prompt.
        if self.completion_tokens > 1 && seconds > 0.0 {
            parts.push(format!(
                "{:.1} tokens/s",
                (self.completion_tokens - 1) as f64 / seconds
            ));
        }
        parts.push(format!(
            "first after {:.2} s",
            self.time_to_first_token.as_secs_f64()
        ));
        let cached = match self.cached_tokens {
            0 => String::new(),
            cached => format!(" ({cached} cached)"),
        };
        parts.push(format!("prompt of {} tokens{cached}", self.prompt_tokens));
        match self.reason {
            None => parts.push("interrupted".to_owned()),
            Some(FinishReason::Length) => parts.push("length limit reached".to_owned()),
            Some(_) => {}
        }
        parts.join(" · ")
    }
}

/// Writes text to standard output at once. On a terminal, control characters are left out: what a
/// model says must not move the cursor or change the window's title.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        stdout.write_all(printable(text).as_bytes())?;
    } else {
        stdout.write_all(text.as_bytes())?;
    }
    stdout.flush()
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// Writes a remark to the person at the terminal, if there is one.
pub(super) fn remark(text: &str) {
    let stderr = io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    match std::env::var_os("NO_COLOR") {
        Some(_) => eprintln!("{text}"),
        None => eprintln!("\x1b[2m{text}\x1b[0m"),
    }
}

/// Shows that something is being done, on a terminal, until it is dropped.
struct Spinner(ProgressBar);

impl Spinner {
    fn start() -> Self {
        // indicatif draws nothing where standard error is no terminal.
        let bar = ProgressBar::new_spinner().with_message("reading");
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        bar.set_style(style.expect("the template is well-formed"));
        bar.enable_steady_tick(Duration::from_millis(80));
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer {
            text: String::new(),
            reason: Some(FinishReason::Stop),
            prompt_tokens: 20,
            cached_tokens: 0,
            completion_tokens: 51,
            time_to_first_token: Duration::from_millis(60),
            generation_time: Duration::from_millis(500),
        }
    }

    #[test]
    fn the_figures_of_an_answer_count_the_first_token_to_the_prompt() {
        let line = "51 tokens · 100.0 tokens/s · first after 0.06 s · prompt of 20 tokens";
        assert_eq!(answer().figures(), line);
        let cut = Answer {
            reason: Some(FinishReason::Length),
            cached_tokens: 16,
            ..answer()
        };
        assert_eq!(
            cut.figures(),
            format!("{line} (16 cached) · length limit reached")
        );
    }

    #[test]
    fn an_answer_without_tokens_has_no_speed() {
        let none = Answer {
            completion_tokens: 0,
            reason: None,
            ..answer()
        };
        assert_eq!(
            none.figures(),
            "first after 0.06 s · prompt of 20 tokens · interrupted"
        );
    }

    #[test]
    fn what_a_model_says_cannot_control_the_terminal() {
        assert_eq!(
            printable("a\x1b]0;title\x07b\r\n\tü\u{9b}"),
            "a]0;titleb\n\tü"
        );
    }

    #[test]
    fn only_given_parameters_change_the_sampling() {
        let before = SamplingParams {
            temperature: 0.2,
            top_p: 0.9,
            ..SamplingParams::default()
        };
        let args = SamplingArgs {
            temperature: Some(0.0),
            seed: Some(7),
            ..SamplingArgs::default()
        };
        let after = SamplingParams {
            temperature: 0.0,
            seed: Some(7),
            ..before.clone()
        };
        assert_eq!(args.apply(before), after);
    }
}
