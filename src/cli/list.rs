//! `matou list`: the models that have a name, and which are on this machine.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use matou_hub::{Catalogue, CatalogueEntry, HubOptions, on_disk};
use matou_llm::open::human_bytes;

use super::pull::size;
use super::terminal::{print_all, table};

/// Options of `matou list`.
#[derive(Debug, Args)]
#[command(
    after_help = "Any other model works by its path, or as hf:owner/repo[/file][:QUANT][@revision]."
)]
pub struct ListArgs {
    /// A catalogue of your own, in the format of models.toml, added to the built-in one.
    #[arg(long, value_name = "FILE")]
    models: Option<PathBuf>,
}

/// Runs the command.
pub(super) async fn run(args: ListArgs) -> Result<()> {
    let catalogue = Catalogue::load(args.models.as_deref())?;
    let options = HubOptions::from_env()?;
    let default = catalogue.default_entry().map(|entry| entry.name.as_str());
    let sized = |entry| on_disk(entry, &options).map(|weights| size(&weights));
    let rows = catalogue
        .iter()
        .map(|entry| row(entry, sized(entry), default == Some(entry.name.as_str())));
    let heading = ["NAME", "SHORT", "SIZE", "ON DISK", "LICENCE", "DESCRIPTION"].map(str::to_owned);
    let table = table(std::iter::once(heading).chain(rows).collect());
    print_all(&table)
}

fn row(entry: &CatalogueEntry, on_disk: Option<u64>, is_default: bool) -> [String; 6] {
    let mark = if is_default { " (default)" } else { "" };
    [
        entry.name.clone(),
        entry.aliases.first().cloned().unwrap_or_default(),
        format!("{:.2} GB", entry.size_gb),
        on_disk.map_or("-".to_owned(), human_bytes),
        entry.licence.clone(),
        format!("{}{mark}", entry.description),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_what_is_on_disk_and_what_is_the_default() {
        let catalogue = Catalogue::builtin();
        let entry = catalogue.get("llama3.2:1b").unwrap();
        let cells = row(entry, None, true);
        assert_eq!(
            cells[..4],
            ["llama-3.2-1b-instruct", "llama3.2:1b", "0.81 GB", "-"]
        );
        assert!(cells[5].ends_with("(default)"));
    }
}
