//! `matou run`: one answer to one prompt, for the command line and for scripts.

use std::io::{self, IsTerminal, Read};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use super::options::ModelOptions;
use super::session::{Answer, SamplingArgs, Session, stream};
use super::terminal::{Terminal, print};

/// Options of `matou run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  matou run 'Why is the sky blue?'
  matou run -m llama3.2 --temperature 0 'Write a haiku about rust'
  cat notes.txt | matou run 'Summarise this in three sentences:'")]
pub struct RunArgs {
    /// What to say to the model. What is piped into standard input is added below it.
    #[arg(value_name = "PROMPT")]
    prompt: Option<String>,

    /// Catalogue name, path, or hf:owner/repo[/file][:QUANT][@revision] [default: the catalogue's default].
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,

    /// Instructions that come before the prompt.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,

    /// Continue the prompt as it is, without the model's chat template.
    #[arg(long, conflicts_with = "system")]
    raw: bool,

    /// After the answer, say on standard error how fast it came.
    #[arg(long)]
    stats: bool,

    #[command(flatten)]
    sampling: SamplingArgs,

    #[command(flatten)]
    options: ModelOptions,
}

/// Runs the command until the answer is complete.
pub(super) async fn run(args: RunArgs) -> Result<()> {
    let prompt = prompt(args.prompt, io::stdin())?;
    let session = Session::open(
        "matou run -m",
        args.model.as_deref(),
        &args.options,
        &args.sampling,
    )
    .await?;
    let answering = if args.raw {
        session.complete(prompt)?
    } else if session.can_chat() {
        let system = args
            .system
            .iter()
            .map(|text| json!({"role": "system", "content": text}));
        let user = json!({"role": "user", "content": prompt});
        session.answer(system.chain([user]).collect())?
    } else {
        bail!("this model has no chat template; add --raw to let it continue the prompt as it is");
    };
    // Ctrl-C ends the whole program, as it does before the answer begins.
    let answer = match stream(answering, &mut Terminal::default(), std::future::pending()).await {
        Ok(answer) => answer,
        // Whoever read the answer has seen enough: `matou run … | head`.
        Err(error) if is_broken_pipe(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    finish(&answer, args.stats)
}

fn finish(answer: &Answer, stats: bool) -> Result<()> {
    if !answer.text.ends_with('\n') {
        print("\n")?;
    }
    if stats {
        eprintln!("{}", answer.figures());
    }
    Ok(())
}

/// The prompt of the command line, with what is piped in below it.
fn prompt(given: Option<String>, mut stdin: impl Read + IsTerminal) -> Result<String> {
    let mut piped = String::new();
    if !stdin.is_terminal() {
        stdin
            .read_to_string(&mut piped)
            .context("cannot read the prompt from standard input")?;
    }
    join(given, piped.trim_end()).context("there is no prompt: `matou run 'Why is the sky blue?'`")
}

fn join(given: Option<String>, piped: &str) -> Option<String> {
    match (given.filter(|text| !text.is_empty()), piped) {
        (None, "") => None,
        (None, piped) => Some(piped.to_owned()),
        (Some(given), "") => Some(given),
        (Some(given), piped) => Some(format!("{given}\n\n{piped}")),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn piped_text_comes_below_the_prompt() {
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(join(own("Summarise:"), "notes"), own("Summarise:\n\nnotes"));
        assert_eq!(join(own("Hi"), ""), own("Hi"));
        assert_eq!(join(None, "Hi"), own("Hi"));
        assert_eq!(join(own(""), ""), None);
    }
}
