//! `matou bench compare`: two reports beside each other.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use matou_bench::compare::Differences;
use matou_bench::render::table;

use super::output::read;
use crate::cli::terminal::print_all;

/// Options of `matou bench compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The earlier report.
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The later one.
    #[arg(value_name = "AFTER")]
    after: PathBuf,
}

/// Runs the command.
pub(super) fn run(args: &CompareArgs) -> Result<()> {
    let (before, after) = (read(&args.before)?, read(&args.after)?);
    print(&Differences::between(&before, &after));
    Ok(())
}

/// Prints differences.
pub(super) fn print(differences: &Differences) {
    // Whoever closes the pipe has seen enough.
    let _ = print_all(&table::differences_text(differences));
}
