//! The command line: one file a command, the options they share here.

mod bench;
mod cards;
mod chat;
mod chat_template;
mod config;
mod descriptors;
mod devices;
mod hint;
pub mod isolation;
mod list;
mod options;
mod persona;
mod progress;
mod pull;
mod run;
mod serve;
mod session;
mod show;
mod status;
mod terminal;
mod variables;
mod verify;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

use config::Invocation;
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
layout), or hf:owner/repo[/file][:QUANT][@revision]. Left out, it is the default model of the catalogue.
Every flag is an environment variable too (--max-model-len is MATOU_MAX_MODEL_LEN) and a key of \
matou.toml (max-model-len); `matou config keys` lists them."
)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,

    /// Also log what happens inside; repeat for more (RUST_LOG refines it).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// The configuration [default: ~/.config/matou/matou.toml, if there is one].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Log in this format.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// What `matou` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve models over an OpenAI-compatible HTTP API.
    Serve(Box<serve::ServeArgs>),
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
    /// List what computes here, the CPU and each GPU, and which of them is taken.
    Devices(devices::DevicesArgs),
    /// Measure how fast a model is, alone or served; any server that speaks OpenAI's API.
    Bench(Box<bench::BenchArgs>),
    /// Watch a running server: models, memory, requests, tokens per second.
    Status(status::StatusArgs),
    /// Look at character cards, check them, and hand them on.
    Persona(persona::PersonaArgs),
    /// Say whether a server has produced a text, whole or a passage of it.
    Verify(verify::VerifyArgs),
    /// Check the configuration, or show what holds and where it comes from.
    Config(config::ConfigArgs),
}

/// A command line that was read.
pub struct Asked {
    /// What is asked for.
    pub cli: Cli,
    invocation: Invocation,
}

impl Asked {
    /// Reads the command line, the environment and the configuration; ends the program with a message if
    /// they are wrong, or if they ask for help.
    pub fn read() -> Self {
        let invocation = Invocation::read(std::env::args_os().collect(), Cli::command);
        let read = invocation.and_then(|invocation| {
            let cli = Cli::from_arg_matches(&invocation.matches)?;
            Ok(Self { cli, invocation })
        });
        read.unwrap_or_else(|error| match error.downcast::<clap::Error>() {
            Ok(error) => error.exit(),
            Err(error) => {
                eprintln!("error: {error:#}");
                std::process::exit(2)
            }
        })
    }

    /// Runs the command to its end, and says how the program is to end.
    ///
    /// # Errors
    ///
    /// When the command fails.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.cli.command {
            // Their outcome is what is asked for.
            Command::Persona(args) => return persona::run(args),
            Command::Verify(args) => return verify::run(&args),
            Command::Serve(args) => serve::run(*args, self.invocation).await,
            Command::Chat(args) => chat::run(args).await,
            Command::Run(args) => run::run(args).await,
            Command::Pull(args) => pull::run(args).await,
            Command::List(args) => list::run(args).await,
            Command::Show(args) => show::run(args).await,
            Command::Devices(args) => devices::run(&args),
            Command::Bench(args) => bench::run(*args).await,
            Command::Status(args) => status::run(args).await,
            Command::Config(args) => config::run(&args, &self.invocation),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// Sends logs to standard error: what `-v` asks for, or as RUST_LOG says.
pub fn init_logging(cli: &Cli) {
    let (verbose, format) = (cli.verbose, cli.log_format);
    let default = default_filter(&cli.command, verbose);
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

/// What is logged where RUST_LOG says nothing. Who only wants an answer is told what went wrong, and
/// what is fetched before it; who serves or measures, what happens.
fn default_filter(command: &Command, verbose: u8) -> &'static str {
    // hf-hub logs as errors what is only a source that did not work; our own message names it.
    match (verbose, command) {
        (0, Command::Run(_) | Command::Chat(_)) => "warn,matou_hub=info,hf_hub=off",
        (0, _) => "warn,matou=info,hf_hub=off",
        (1, _) => "info",
        (2, _) => "debug",
        _ => "trace",
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
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn who_wants_an_answer_sees_no_log_of_how_it_is_made_unless_asked_for() {
        let filter = |line: &[&str]| {
            let cli = Cli::try_parse_from(line).unwrap();
            default_filter(&cli.command, cli.verbose)
        };
        for quiet in [&["matou", "run", "Hi"][..], &["matou", "chat"]] {
            assert!(!filter(quiet).contains("matou=info"), "{quiet:?}");
            assert!(filter(quiet).starts_with("warn"), "{quiet:?}");
        }
        assert!(filter(&["matou", "serve"]).contains("matou=info"));
        assert_eq!(filter(&["matou", "run", "Hi", "-v"]), "info");
    }
}
