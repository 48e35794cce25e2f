//! `matou pull`: a model's files onto this machine, ahead of time.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use matou_hub::{Catalogue, HubOptions};
use matou_llm::open::human_bytes;

/// Options of `matou pull`.
#[derive(Debug, Args)]
#[command(
    after_help = "Files from a model hub are kept in the Hugging Face cache (HF_HOME), where other programs \
find them too. HF_TOKEN opens gated repositories, HF_ENDPOINT names another hub. What was interrupted goes on \
where it stopped, and every file is checked before it is used."
)]
pub struct PullArgs {
    /// Catalogue names or hf:owner/repo[/file][:QUANT][@revision] [default: the catalogue's default].
    #[arg(value_name = "MODEL", env = "MATOU_MODEL")]
    models: Vec<String>,

    /// A catalogue of your own, in the format of models.toml, added to the built-in one.
    #[arg(long = "models", value_name = "FILE")]
    catalogue: Option<PathBuf>,
}

/// Runs the command.
pub(super) async fn run(args: PullArgs) -> Result<()> {
    let catalogue = Catalogue::load(args.catalogue.as_deref())?;
    let options = HubOptions {
        refresh: true,
        ..HubOptions::from_env()?
    };
    let mut models: Vec<Option<&str>> = args
        .models
        .iter()
        .map(|model| Some(model.as_str()))
        .collect();
    if models.is_empty() {
        models.push(None);
    }
    for model in models {
        let reference = catalogue.reference(model)?;
        let files = matou_hub::resolve(&reference, &catalogue, &options).await?;
        // People read both lines; scripts read standard output.
        eprintln!("{}: {}", files.name, human_bytes(size(&files.weights)));
        println!("{}", files.weights.display());
    }
    Ok(())
}

/// Bytes of a model: of its file (or all shards of it), or of everything in its folder.
pub(super) fn size(weights: &Path) -> u64 {
    let bytes = |path: &Path| path.metadata().map_or(0, |metadata| metadata.len());
    let in_folder = |folder: &Path, wanted: &dyn Fn(&str) -> bool| {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        let wanted = entries.filter(|entry| wanted(&entry.file_name().to_string_lossy()));
        wanted.map(|entry| bytes(&entry.path())).sum()
    };
    if weights.is_dir() {
        return in_folder(weights, &|_| true);
    }
    let name = weights.file_name().unwrap_or_default().to_string_lossy();
    match (name.split_once("-00001-of-"), weights.parent()) {
        (Some((stem, count)), Some(folder)) => {
            let (start, end) = (format!("{stem}-"), format!("-of-{count}"));
            in_folder(folder, &|name| {
                name.starts_with(&start) && name.ends_with(&end)
            })
        }
        _ => bytes(weights),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_model_is_that_of_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("m-00001-of-00002.gguf", 3),
            ("m-00002-of-00002.gguf", 4),
            ("other.gguf", 5),
        ] {
            std::fs::write(folder.path().join(name), vec![0; bytes]).unwrap();
        }
        assert_eq!(size(&folder.path().join("other.gguf")), 5);
        assert_eq!(size(&folder.path().join("m-00001-of-00002.gguf")), 7);
        assert_eq!(size(folder.path()), 12);
        assert_eq!(size(&folder.path().join("absent.gguf")), 0);
    }
}
