//! The command line: one file a command, the options they share here.

mod bench;
mod chat;
mod list;
mod options;
mod progress;
mod pull;
mod run;
mod serve;
mod session;
mod show;
mod terminal;

use std::io::IsTerminal;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

pub use options::{ModelArgs, ModelOptions};

/// Run Llama- and Mistral-family models on your own machine, behind an
/// OpenAI-compatible API.
#[derive(Debug, Parser)]
#[command(
    name = "matou",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "MODEL is a name from `matou list`, a path (a GGUF file, or a folder in Hugging Face \
layout), or hf:owner/repo[/file][:QUANT][@revision]. Left out, it is the default model of the catalogue."
)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,

    /// Also log what happens inside; repeat for more (RUST_LOG refines it).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Log in this format.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "MATOU_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// What `matou` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve a model over an OpenAI-compatible HTTP API.
    Serve(serve::ServeArgs),
    /// Talk with a model in the terminal.
    Chat(chat::ChatArgs),
    /// Answer one prompt and stop.
    Run(run::RunArgs),
    /// Fetch models ahead of time.
    Pull(pull::PullArgs),
    /// List the models that have a name, and which are on this machine.
    List(list::ListArgs),
    /// Show what a model is and what memory it takes, without loading it.
    Show(show::ShowArgs),
    /// Measure tokens per second, by llama-bench's protocol.
    Bench(bench::BenchArgs),
}

impl Command {
    /// Runs the command to its end.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Serve(args) => serve::run(args).await,
            Self::Chat(args) => chat::run(args).await,
            Self::Run(args) => run::run(args).await,
            Self::Pull(args) => pull::run(args).await,
            Self::List(args) => list::run(args).await,
            Self::Show(args) => show::run(args).await,
            Self::Bench(args) => bench::run(args).await,
        }
    }
}

/// Sends logs to standard error: warnings by default, more with `-v`, or as RUST_LOG says.
pub fn init_logging(verbose: u8, format: LogFormat) {
    // hf-hub logs as errors what is only a source that did not work; our own message names it.
    let default = match verbose {
        0 => "warn,matou=info,matou_server=info,hf_hub=off",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(verbose > 0);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// How log lines are written to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
