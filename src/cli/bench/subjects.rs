//! What the benchmark of models alone measures.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use matou_bench::report::Model;
use matou_hub::{HubOptions, sha256_of};
use matou_llm::open::{self, OpenOptions, Place};
use matou_model::{Checkpoint, LanguageModel, Shape, WeightFiles};

/// What is measured: a name, and where its weights are.
pub(super) struct Subject {
    pub(super) name: String,
    pub(super) files: WeightFiles,
}

/// The models to measure, fetched if need be.
pub(super) async fn subjects(
    models: &[String],
    synthetic: &[Shape],
    options: &OpenOptions,
) -> Result<Vec<Subject>> {
    let mut subjects = Vec::new();
    let mut names: Vec<Option<String>> = models.iter().cloned().map(Some).collect();
    if names.is_empty() && synthetic.is_empty() {
        names.push(
            std::env::var("MATOU_MODEL")
                .ok()
                .filter(|name| !name.is_empty()),
        );
    }
    let hub = HubOptions::from_env()?;
    for name in names {
        let files = open::find(name.as_deref(), options, &hub).await?;
        subjects.push(Subject {
            files: open::weight_files(&files),
            name: files.name,
        });
    }
    subjects.extend(synthetic.iter().map(|shape| Subject {
        name: shape.to_string(),
        files: WeightFiles::Synthetic(*shape),
    }));
    Ok(subjects)
}

/// What a report says of a model in memory.
pub(super) fn describe(
    subject: &Subject,
    checkpoint: &Checkpoint,
    model: &dyn LanguageModel,
    place: &Place,
    options: &OpenOptions,
    load_s: f64,
    peak_load_bytes: Option<u64>,
) -> Result<Model> {
    let info = model.info();
    let summary = checkpoint.summary(&options.load_options())?;
    Ok(Model {
        name: subject.name.clone(),
        sha256: hashes(&subject.files)?,
        architecture: info.architecture.clone(),
        quantization: info.quantization.clone(),
        parameters: info.parameters,
        weight_bytes: info.weight_bytes,
        formats: summary.formats.into_iter().collect(),
        load_s,
        peak_load_bytes,
        isa: model.isa().name().to_owned(),
        device: device(place),
    })
}

/// What a report calls the device of a model: a GPU is as fast as its driver.
fn device(place: &Place) -> String {
    match &place.gpu {
        Some(gpu) if !gpu.driver.is_empty() => format!("{} ({})", gpu.name, gpu.driver),
        _ => place.name().to_owned(),
    }
}

/// SHA-256 of the files with weights, by their names.
fn hashes(files: &WeightFiles) -> Result<BTreeMap<String, String>> {
    let paths: Vec<PathBuf> = match files {
        WeightFiles::Synthetic(_) => Vec::new(),
        WeightFiles::Gguf(path) => shards(path)?,
        WeightFiles::HuggingFace(folder) => {
            let files = fs::read_dir(folder)?.filter_map(|file| Some(file.ok()?.path()));
            files
                .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
                .collect()
        }
    };
    let mut hashes = BTreeMap::new();
    for path in paths {
        let hash = sha256_of(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        hashes.insert(name, hash.to_string());
    }
    Ok(hashes)
}

/// A GGUF file, and those that it is continued in.
fn shards(first: &Path) -> Result<Vec<PathBuf>> {
    let name = first
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let Some((stem, _)) = name.split_once("-00001-of-") else {
        return Ok(vec![first.to_owned()]);
    };
    let folder = first.parent().unwrap_or(Path::new("."));
    let files = fs::read_dir(folder)?.filter_map(|file| Some(file.ok()?.path()));
    let begins = format!("{stem}-0");
    Ok(files
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&begins))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use matou_model::{DeviceChoice, DeviceInfo, DeviceKind};

    use super::*;

    #[test]
    fn a_gpu_is_named_with_its_driver() {
        let mut place = Place {
            device: DeviceChoice::Cpu,
            gpu: None,
            free: 0,
        };
        assert_eq!(device(&place), "CPU");
        place.gpu = Some(DeviceInfo {
            index: 0,
            name: "a card".to_owned(),
            driver: "driver 1.2".to_owned(),
            api: "Vulkan",
            kind: DeviceKind::Discrete,
            memory: None,
            features: Vec::new(),
            max_binding_bytes: 0,
            missing: None,
        });
        assert_eq!(device(&place), "a card (driver 1.2)");
    }

    #[test]
    fn all_shards_of_a_file_are_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "m-00001-of-00002.gguf",
            "m-00002-of-00002.gguf",
            "other-00001-of-00002.gguf",
            "m.gguf",
        ];
        for name in names {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let of = |name: &str| {
            let files = WeightFiles::Gguf(folder.path().join(name));
            hashes(&files).unwrap().into_keys().collect::<Vec<_>>()
        };
        assert_eq!(of(names[0]), names[..2]);
        assert_eq!(of("m.gguf"), ["m.gguf"]);
    }
}
