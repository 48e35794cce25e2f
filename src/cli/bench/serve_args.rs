//! The command line of `matou bench serve`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use matou_bench::report::Load;
use matou_bench::serve::arrivals::{self, Arrival};
use matou_bench::serve::client::Target;
use matou_bench::serve::goal::Goal;
use matou_bench::serve::prompts::Source;
use serde_json::{Map, Value};

use super::numbers::{Numbers, positive_numbers};
use super::output::OutputArgs;
use crate::cli::options::positive;

/// Options of `matou bench serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// A model to start a server of, on this machine, for as long as it takes [default: the server at --url].
    #[arg(value_name = "MODEL")]
    pub(super) model: Option<String>,

    /// The server, such as http://127.0.0.1:8080.
    #[arg(long, conflicts_with = "model", required_unless_present = "model")]
    pub(super) url: Option<String>,

    /// The model to ask for [default: the first that the server lists].
    #[arg(long, value_name = "NAME")]
    pub(super) model_name: Option<String>,

    /// The server's key.
    #[arg(long, value_name = "KEY", hide_env_values = true)]
    pub(super) api_key: Option<String>,

    /// Another server, measured turn and turn about.
    #[arg(long, value_name = "URL")]
    pub(super) versus: Option<String>,

    /// The model to ask the other server for.
    #[arg(long, value_name = "NAME", requires = "versus")]
    pub(super) versus_model_name: Option<String>,

    /// Rounds of each load, with --versus: six are the fewest that an interval of 95 % can be had from.
    #[arg(long, default_value_t = 6, value_parser = positive)]
    pub(super) rounds: usize,

    /// Clients at once, each of which waits for its answer before it asks again; several with commas, or a
    /// range as 1-64*2 [default: 1,4].
    #[arg(short, long, value_name = "N", value_parser = positive_numbers, help_heading = "Load")]
    pub(super) concurrency: Option<Numbers>,

    /// Requests a second that come whatever the server does, at random times; several with commas.
    #[arg(long, value_name = "PER_SECOND", value_delimiter = ',', value_parser = rate, help_heading = "Load")]
    pub(super) rate: Vec<f64>,

    /// Requests as they once came: a JSON object a line with `timestamp` in ms, and perhaps `input_length`
    /// and `output_length` in tokens.
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    pub(super) trace: Option<PathBuf>,

    /// Double the clients until they bring no more tokens, or there are so many.
    #[arg(long, value_name = "MAX", num_args = 0..=1, default_missing_value = "64", value_parser = positive, help_heading = "Load")]
    pub(super) sweep: Option<usize>,

    /// Requests of each load [default: 4 for each client, from 16 to 256].
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Load")]
    pub(super) requests: Option<usize>,

    /// Seconds that a load may take; what has been measured until then counts.
    #[arg(
        long,
        default_value_t = 300,
        value_name = "SECONDS",
        help_heading = "Load"
    )]
    pub(super) load_time: u64,

    /// Seconds that a request may take.
    #[arg(
        long,
        default_value_t = 120,
        value_name = "SECONDS",
        help_heading = "Load"
    )]
    pub(super) request_time: u64,

    /// Tokens of each answer.
    #[arg(long, default_value_t = 128, value_parser = positive, value_name = "TOKENS", help_heading = "Requests")]
    pub(super) answer_tokens: usize,

    /// Let answers end where the model ends them, rather than at --answer-tokens.
    #[arg(long, help_heading = "Requests")]
    pub(super) natural_end: bool,

    /// Conversations to ask: ShareGPT's JSON, or a JSON object a line with `messages` or `prompt` [default:
    /// 40 that come with matou].
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "prompt_tokens",
        help_heading = "Requests"
    )]
    pub(super) conversations: Option<PathBuf>,

    /// Ask with made-up text of so many tokens.
    #[arg(long, value_name = "TOKENS", value_parser = positive, help_heading = "Requests")]
    pub(super) prompt_tokens: Option<usize>,

    /// Part of that text, from 0 to 1, that all requests share at its beginning.
    #[arg(long, default_value_t = 0.0, value_name = "PART", value_parser = part, requires = "prompt_tokens", help_heading = "Requests")]
    pub(super) shared_prefix: f64,

    /// Send prompts as they are, though some may be sent more than once and so be cached.
    #[arg(long, help_heading = "Requests")]
    pub(super) allow_repeats: bool,

    /// Send each load's prompts once more, to see what the server's cache is worth.
    #[arg(long, help_heading = "Requests")]
    pub(super) cached: bool,

    /// Ask for completions of text rather than for answers to chats.
    #[arg(long, help_heading = "Requests")]
    pub(super) completions: bool,

    /// Further fields of each request, as a JSON object.
    #[arg(long, value_name = "JSON", value_parser = object, help_heading = "Requests")]
    pub(super) extra_body: Option<Map<String, Value>>,

    /// Send a prompt of so many tokens beside running streams, and see how they fare.
    #[arg(long, value_name = "TOKENS", value_parser = positive, help_heading = "Requests")]
    pub(super) long_prompt: Option<usize>,

    /// Streams that run beside it.
    #[arg(long, default_value_t = 4, value_parser = positive, value_name = "N", help_heading = "Requests")]
    pub(super) streams: usize,

    /// What an answer has to keep to count into goodput, in ms, such as ttft:500,tpot:50,e2e:5000.
    #[arg(long, value_name = "GOAL", value_parser = Goal::parse, help_heading = "Results")]
    pub(super) goal: Option<Goal>,

    /// Hash the answers to fixed questions, and with --versus compare log-probabilities: the same hash, the
    /// same computation.
    #[arg(long, help_heading = "Results")]
    pub(super) quality: bool,

    #[command(flatten)]
    pub(super) output: OutputArgs,

    /// Flags of `matou serve`, for the server that is started.
    #[arg(last = true, value_name = "FLAGS", requires = "model")]
    pub(super) server_flags: Vec<String>,
}

impl ServeArgs {
    /// Where results go.
    pub(super) fn output(&self) -> &OutputArgs {
        &self.output
    }

    /// A server, and how it is asked.
    pub(super) fn target(&self, url: &str, model: Option<&String>) -> Target {
        Target {
            url: url.to_owned(),
            api_key: self.api_key.clone(),
            model: model.cloned().unwrap_or_default(),
            completions: self.completions,
            max_tokens: self.answer_tokens,
            ignore_eos: !self.natural_end,
            extra: self.extra_body.clone().unwrap_or_default(),
            timeout: Duration::from_secs(self.request_time),
        }
    }

    /// What is asked.
    pub(super) fn source(&self) -> Result<Source> {
        if let Some(tokens) = self.prompt_tokens {
            return Ok(Source::Made {
                tokens,
                shared_prefix: self.shared_prefix,
            });
        }
        let Some(path) = &self.conversations else {
            return Ok(Source::built_in());
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Source::parse(&text).map_err(|reason| anyhow!("{}: {reason}", path.display()))
    }

    /// The loads to measure, with the arrivals of those that are traces. A sweep finds its own.
    pub(super) fn loads(&self) -> Result<Vec<(Load, Vec<Arrival>)>> {
        let mut loads = Vec::new();
        let counts = self.concurrency.as_ref().map(|numbers| numbers.0.clone());
        let others = !self.rate.is_empty()
            || self.trace.is_some()
            || self.sweep.is_some()
            || self.long_prompt.is_some();
        let counts = counts.unwrap_or_else(|| if others { Vec::new() } else { vec![1, 4] });
        loads.extend(
            counts
                .into_iter()
                .map(|concurrency| (Load::Closed { concurrency }, Vec::new())),
        );
        loads.extend(
            self.rate
                .iter()
                .map(|&rate| (Load::Open { rate }, Vec::new())),
        );
        if let Some(path) = &self.trace {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let arrivals =
                arrivals::trace(&text).map_err(|reason| anyhow!("{}: {reason}", path.display()))?;
            let file = path.display().to_string();
            loads.push((Load::Trace { file }, arrivals));
        }
        Ok(loads)
    }
}

/// Requests a second.
fn rate(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err(format!("{text:?} is not a number above 0")),
    }
}

/// A part of one.
fn part(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
        _ => Err(format!("{text:?} is not a number from 0 to 1")),
    }
}

/// A JSON object.
fn object(text: &str) -> Result<Map<String, Value>> {
    let value: Value = serde_json::from_str(text)?;
    let fields = value.as_object().cloned();
    let fields = fields.context("not a JSON object")?;
    ensure!(
        !fields.contains_key("stream"),
        "answers are streamed, which is what is measured"
    );
    Ok(fields)
}
