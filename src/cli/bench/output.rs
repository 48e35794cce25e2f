//! What becomes of a report.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use matou_bench::compare::Differences;
use matou_bench::render::{html, table};
use matou_bench::report::Report;

use crate::cli::terminal::print_all;

/// Where results go.
#[derive(Debug, Clone, Args)]
pub(super) struct OutputArgs {
    /// Print the report as JSON, all of it (docs/benchmarking.md describes the fields).
    #[arg(long, help_heading = "Results", conflicts_with_all = ["csv", "markdown"])]
    json: bool,

    /// Print the figures as CSV.
    #[arg(long, help_heading = "Results", conflicts_with = "markdown")]
    csv: bool,

    /// Print the figures as Markdown.
    #[arg(long, help_heading = "Results")]
    markdown: bool,

    /// Write the report as JSON into a file.
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    save: Option<PathBuf>,

    /// Write a page with charts.
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    html: Option<PathBuf>,

    /// Compare with an earlier report, and fail if a figure is worse by more than --tolerance.
    #[arg(long, value_name = "REPORT", help_heading = "Results")]
    check: Option<PathBuf>,

    /// How much worse a figure may be, such as 5%.
    #[arg(long, default_value = "5%", value_parser = percent, value_name = "PERCENT", help_heading = "Results")]
    tolerance: f64,

    /// Seed of everything that is drawn [default: another each time, which the report tells].
    #[arg(long, value_name = "N", help_heading = "Results")]
    seed: Option<u64>,
}

impl OutputArgs {
    /// Fails before anything is measured if it could not be written afterwards.
    pub(super) fn check_files(&self) -> Result<()> {
        for path in [&self.save, &self.html].into_iter().flatten() {
            let file = fs::OpenOptions::new().create(true).append(true).open(path);
            file.with_context(|| format!("cannot write {}", path.display()))?;
        }
        if let Some(path) = &self.check {
            read(path)?;
        }
        Ok(())
    }

    /// The seed of a run: without one of its own, prompts that no earlier run has sent.
    pub(super) fn seed(&self) -> u64 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH);
        self.seed
            .unwrap_or_else(|| now().map_or(1, |now| now.as_micros() as u64))
    }

    /// Whether rows may be printed as they come.
    pub(super) fn is_live(&self) -> bool {
        !(self.json || self.csv || self.markdown)
    }

    /// Prints and writes a report.
    ///
    /// # Errors
    ///
    /// When it cannot be written, and when it is worse than the one to check with.
    pub(super) fn finish(&self, report: &Report) -> Result<()> {
        let tables = table::tables(report);
        let text = if self.json {
            serde_json::to_string_pretty(report)? + "\n"
        } else if self.csv {
            let tables: Result<Vec<_>, _> = tables.iter().map(table::Table::csv).collect();
            tables?.join("\n")
        } else if self.markdown {
            let tables = tables
                .iter()
                .map(|table| format!("**{}**\n\n{}", table.title, table.markdown()));
            tables.collect::<Vec<_>>().join("\n")
        } else {
            // What was printed row by row is not printed again.
            let is_new = |table: &&table::Table| table.title != table::ENGINE;
            let tables = tables.iter().filter(is_new);
            let tables = tables.map(|table| format!("\n{}\n{}", table.title, table.text()));
            tables.collect()
        };
        print_all(&text)?;
        for note in report.notes() {
            eprintln!("note: {note}");
        }
        if let Some(path) = &self.save {
            write(path, &(serde_json::to_string_pretty(report)? + "\n"))?;
        }
        if let Some(path) = &self.html {
            write(path, &html::page(report))?;
        }
        match &self.check {
            Some(path) => self.check(&read(path)?, report),
            None => Ok(()),
        }
    }

    fn check(&self, baseline: &Report, report: &Report) -> Result<()> {
        let differences = Differences::between(baseline, report);
        eprint!("{}", table::differences_text(&differences));
        let worse = differences.worse_than(self.tolerance);
        let missing = differences.gone.len();
        if worse.is_empty() && missing == 0 {
            return Ok(());
        }
        bail!(
            "{} figures are worse by more than {:.1} %, {missing} are missing",
            worse.len(),
            100.0 * self.tolerance
        )
    }
}

/// Reads a report.
pub(super) fn read(path: &Path) -> Result<Report> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Report::parse(&text).with_context(|| path.display().to_string())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A part of one, written in percent.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end().parse::<f64>();
    match number {
        Ok(number) if (0.0..=100.0).contains(&number) => Ok(number / 100.0),
        _ => Err(format!("{text:?} is not a number of percent from 0 to 100")),
    }
}

/// A bar on standard error with the time left, where somebody watches.
pub(super) fn progress(steps: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left · {msg}")
        .expect("the template is well-formed");
    let bar = ProgressBar::new(steps).with_style(style);
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_read() {
        assert_eq!(percent("5%"), Ok(0.05));
        assert_eq!(percent("2.5 %"), Ok(0.025));
        assert_eq!(percent("0"), Ok(0.0));
        assert!(percent("-1%").is_err() && percent("x").is_err() && percent("NaN").is_err());
    }
}
