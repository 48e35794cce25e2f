//! One person's talk with a model in this process: what `matou run` and `matou chat` share.

use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use matou_engine::{EngineConfig, FinishReason, SamplingParams};
use matou_llm::generation::{GenerationEvent, TextGeneration};
use matou_llm::message::{MessageFormat, MessageParser, MessagePart};
use matou_llm::request::{ChatCall, GenerationOptions, PromptInput, TextOptions};
use matou_llm::{Llm, Wanted, open, prepare};
use serde_json::Value;

use super::hint::better_model;
use super::options::{ModelOptions, positive};
use super::terminal::{Display, Spinner, remark};

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
    pub(super) llm: Llm,
}

/// An answer on its way.
pub(super) struct Answering {
    generation: TextGeneration,
    /// Tells thoughts from text.
    parser: MessageParser,
}

/// An answer, and how long it took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    /// What was said: without what was thought before.
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
    /// Finds, loads and starts a model. Who named none is told, at a terminal, of a better one than the
    /// default, to be put behind `command`.
    pub(super) async fn open(
        command: &str,
        model: Option<&str>,
        options: &ModelOptions,
        sampling: &SamplingArgs,
    ) -> Result<Self> {
        let options = options.to_open()?;
        let hint = better_model(command, model, &options);
        let loaded = open::open(model, &options).await?;
        let described = loaded.describe();
        // One person has one request at a time.
        let limits = EngineConfig {
            max_num_seqs: 1,
            ..EngineConfig::default()
        };
        let config = loaded.engine_config(&options, limits)?;
        // The thread ends with the model in this session.
        let (llm, _thread) = loaded.start(config, Vec::new())?;
        hint.iter().for_each(|hint| remark(hint));
        Self::new(described, llm, sampling)
    }

    /// A session with a model that runs.
    pub(super) fn new(described: String, llm: Llm, sampling: &SamplingArgs) -> Result<Self> {
        let sampling = sampling.apply(llm.card().default_sampling.clone());
        sampling.validate(llm.engine().model_info().vocab_size)?;
        Ok(Self {
            described,
            sampling,
            llm,
        })
    }

    /// Whether the model knows what a conversation is.
    pub(super) fn can_chat(&self) -> bool {
        self.llm.template().is_some()
    }

    /// Changes how the next answers are sampled, if the engine accepts it.
    pub(super) fn set_sampling(&mut self, args: &SamplingArgs) -> Result<()> {
        let sampling = args.apply(self.sampling.clone());
        sampling.validate(self.llm.engine().model_info().vocab_size)?;
        self.sampling = sampling;
        Ok(())
    }

    /// Begins the answer to a conversation.
    pub(super) fn answer(&self, messages: Vec<Value>) -> Result<Answering> {
        let call = ChatCall::new(messages, self.sampling.clone());
        let prompt = prepare::chat(&self.llm, call, &Wanted::always())?;
        let parser = MessageParser::new(&prompt.format);
        let generation = prompt.start(&self.llm, "terminal".to_owned(), "messages")?;
        Ok(Answering { generation, parser })
    }

    /// Begins the continuation of a text.
    pub(super) fn complete(&self, text: String) -> Result<Answering> {
        let input = PromptInput::Text {
            text,
            add_special_tokens: true,
        };
        let options = GenerationOptions {
            sampling: self.sampling.clone(),
            text: TextOptions {
                continues_prompt: true,
                ..TextOptions::default()
            },
            ..GenerationOptions::default()
        };
        let prompt =
            prepare::raw(&self.llm, &[input], None, options, None, &Wanted::always())?.into_first();
        Ok(Answering {
            generation: prompt.start(&self.llm, "terminal".to_owned(), "prompt")?,
            parser: MessageParser::new(&MessageFormat::default()),
        })
    }
}

/// Shows an answer as it comes, until it ends or `interrupt` resolves.
pub(super) async fn stream(
    answering: Answering,
    display: &mut impl Display,
    interrupt: impl Future<Output = ()>,
) -> Result<Answer> {
    let Answering {
        mut generation,
        mut parser,
    } = answering;
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
                answer.show(parser.push(&text), display)?;
                // As good as exact, and all there is to go by if the answer is interrupted.
                answer.completion_tokens += 1;
            }
            Some(GenerationEvent::Finished {
                reason,
                completion_tokens,
                ..
            }) => {
                answer.show(parser.finish(), display)?;
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
    /// Shows what is new, and keeps what was said.
    fn show(&mut self, parts: Vec<MessagePart>, display: &mut impl Display) -> Result<()> {
        for part in parts {
            match part {
                MessagePart::Reasoning(text) => display.thought(&text)?,
                MessagePart::Text(text) => {
                    display.text(&text)?;
                    self.text.push_str(&text);
                }
                // No tools were offered.
                MessagePart::CallStart { .. } | MessagePart::Arguments { .. } => {}
            }
        }
        Ok(())
    }

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
