//! `matou bench`: how fast a model is alone, and what clients see of a server; ours or any other.

mod compare;
mod engine;
mod engine_args;
mod measure;
mod numbers;
mod output;
mod serve;
mod serve_args;
mod started;
mod stop;
mod subjects;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, FromArgMatches, Subcommand};
use matou_bench::compare::Differences;
use matou_bench::report::{Finding, FindingKind, Report};

use self::output::OutputArgs;
use crate::cli::variables::with_variables;

/// Options of `matou bench`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: Option<BenchCommand>,

    #[command(flatten)]
    engine: engine_args::EngineArgs,

    /// Run the command of a report again, and print what differs.
    #[arg(long, value_name = "REPORT")]
    reproduce: Option<std::path::PathBuf>,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Measure what clients see of a server: any that speaks OpenAI's API.
    Serve(Box<serve_args::ServeArgs>),
    /// Compare two reports.
    Compare(compare::CompareArgs),
}

/// Runs the command.
pub(super) async fn run(args: BenchArgs) -> Result<()> {
    if let Some(BenchCommand::Compare(compare)) = &args.command {
        return compare::run(compare);
    }
    if let Some(path) = &args.reproduce {
        return reproduce(path, args.engine.output()).await;
    }
    let output = args.output().clone();
    output.check_files()?;
    let report = measure(args, command_line()).await?;
    output.finish(&report)?;
    let is_failure =
        |finding: &Finding| finding.kind == FindingKind::Errors && finding.cell.is_none();
    let is_whole = !report.findings.iter().any(is_failure);
    ensure!(is_whole, "not everything could be measured: see the notes");
    Ok(())
}

impl BenchArgs {
    fn output(&self) -> &OutputArgs {
        match &self.command {
            Some(BenchCommand::Serve(serve)) => serve.output(),
            _ => self.engine.output(),
        }
    }
}

/// Measures what a command line asks for.
async fn measure(args: BenchArgs, command: Vec<String>) -> Result<Report> {
    match args.command {
        Some(BenchCommand::Serve(serve)) => serve::measure(*serve, command).await,
        Some(BenchCommand::Compare(_)) => bail!("a comparison measures nothing"),
        None => engine::measure(args.engine, command).await,
    }
}

/// Measures again as a report says, and prints what differs.
async fn reproduce(path: &std::path::Path, output: &OutputArgs) -> Result<()> {
    let before = output::read(path)?;
    let command = with_variables(BenchArgs::augment_args(clap::Command::new("bench")));
    let command = clap::Command::new("matou").subcommand(command);
    let line = std::iter::once("matou".to_owned()).chain(before.command.clone());
    let matches = command.try_get_matches_from(line);
    let matches =
        matches.with_context(|| format!("the command of {} cannot be run", path.display()))?;
    let Some(("bench", matches)) = matches.subcommand() else {
        bail!("{} is not of `matou bench`", path.display());
    };
    let args = BenchArgs::from_arg_matches(matches)?;
    ensure!(
        args.reproduce.is_none(),
        "{} is a reproduction itself",
        path.display()
    );
    eprintln!("matou {}", before.command.join(" "));
    let after = measure(args, before.command.clone()).await?;
    output.finish(&after)?;
    compare::print(&Differences::between(&before, &after));
    Ok(())
}

/// The command line without the program's name, and without keys.
fn command_line() -> Vec<String> {
    without_keys(std::env::args().skip(1))
}

fn without_keys(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--api-key" => {
                words.next();
            }
            _ if word.starts_with("--api-key=") => {}
            _ => kept.push(word),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_does_not_tell_keys() {
        let line = [
            "bench",
            "serve",
            "--api-key",
            "secret",
            "--url",
            "u",
            "--api-key=secret",
        ];
        let kept = without_keys(line.map(str::to_owned));
        assert_eq!(kept, ["bench", "serve", "--url", "u"]);
    }
}
