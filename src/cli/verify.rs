//! `matou verify`: whether a server has produced a text.

use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use matou_provenance::{Match, SHORTEST, Source, Verdict, verify};

use super::terminal::print_all;

/// Longest text that is looked up: a long book.
const MAX_TEXT: u64 = 16 << 20;

/// Options of `matou verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The log that the server keeps (`matou serve --provenance-log`).
    #[arg(value_name = "LOG")]
    log: PathBuf,

    /// A file with the text [default: standard input].
    #[arg(value_name = "TEXT")]
    text: Option<PathBuf>,

    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command. Ends with 0 if the text or a passage of it was found, with 1 if not.
pub(super) fn run(args: &VerifyArgs) -> Result<ExitCode> {
    let mut text = Vec::new();
    let source: Box<dyn Read> = match &args.text {
        Some(path) => {
            let file = std::fs::File::open(path);
            Box::new(file.with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => Box::new(std::io::stdin()),
    };
    source.take(MAX_TEXT + 1).read_to_end(&mut text)?;
    ensure!(
        text.len() as u64 <= MAX_TEXT,
        "the text has more than {MAX_TEXT} bytes: look a part of it up"
    );
    let verdict = verify(&args.log, &String::from_utf8_lossy(&text))?;
    let told = match args.json {
        true => format!("{}\n", serde_json::to_string_pretty(&as_json(&verdict))?),
        false => in_words(&verdict),
    };
    print_all(&told)?;
    let is_found = !verdict.whole.is_empty() || !verdict.passages.is_empty();
    Ok(ExitCode::from(u8::from(!is_found)))
}

fn origin(source: &Source) -> String {
    let when = chrono::DateTime::from_timestamp(i64::try_from(source.at).unwrap_or(0), 0);
    let when = when.unwrap_or_default().format("%Y-%m-%d %H:%M:%S UTC");
    let who = match &source.persona {
        Some(persona) => format!("{persona} ({})", source.model),
        None => source.model.clone(),
    };
    // The log may come from anywhere: what it says is not to move the cursor.
    let told = format!("{when}, {who}, request {}", source.request);
    told.replace(|letter: char| letter.is_control(), "\u{fffd}")
}

fn in_words(verdict: &Verdict) -> String {
    let mut text = String::new();
    for source in &verdict.whole {
        let _ = writeln!(
            text,
            "This text is an answer of this server: {}",
            origin(source)
        );
    }
    for Match {
        source,
        letters,
        of,
    } in &verdict.passages
    {
        let percent = 100 * letters / of;
        let _ = writeln!(
            text,
            "{percent} % of this text ({letters} of {of} letters) stands in an answer of this server: {}",
            origin(source)
        );
    }
    if text.is_empty() {
        let _ = writeln!(
            text,
            "Neither this text nor a passage of it is in the {} answers of this log.",
            verdict.records
        );
        if verdict.is_short {
            let _ = writeln!(
                text,
                "It is short: of texts with less than {SHORTEST} letters only whole answers are recognised."
            );
        }
    }
    text
}

fn as_json(verdict: &Verdict) -> serde_json::Value {
    serde_json::json!({
        "whole": verdict.whole,
        "passages": verdict.passages.iter().map(|found| serde_json::json!({
            "source": found.source, "letters": found.letters, "of": found.of,
        })).collect::<Vec<_>>(),
        "is_short": verdict.is_short,
        "records": verdict.records,
    })
}
