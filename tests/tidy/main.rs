//! House rules that a compiler does not check (see CONTRIBUTING.md).

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod crates;
mod modules;
mod names;
mod page;
mod rust_source;

use std::fs;
use std::path::PathBuf;

/// A Rust file longer than this no longer fits in the head: split it.
const MAX_LINES: usize = 600;

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the project with one of these endings, as (path from the root, text).
pub(crate) fn files(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "fixtures" | ".venv") {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let shown = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((shown, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(
        !found.is_empty(),
        "no files with {endings:?} below {}",
        root().display()
    );
    found.sort();
    found
}

/// Fails with every line of `files` for which `offends` holds and whose file is not `allowed`.
fn forbid(rule: &str, allowed: &[&str], offends: impl Fn(&str) -> bool) {
    let mut offences = Vec::new();
    for (path, text) in files(&[".rs"]) {
        if path.starts_with("tests/tidy/") || allowed.iter().any(|prefix| path.starts_with(prefix))
        {
            continue;
        }
        for (number, line) in text.lines().enumerate().filter(|(_, line)| offends(line)) {
            offences.push(format!("{path}:{}: {}", number + 1, line.trim()));
        }
    }
    assert!(offences.is_empty(), "{rule}:\n{}", offences.join("\n"));
}

#[test]
fn rust_files_fit_in_the_head() {
    let long: Vec<_> = files(&[".rs"])
        .into_iter()
        .map(|(path, text)| (text.lines().count(), path))
        .filter(|(lines, _)| *lines > MAX_LINES)
        .collect();
    assert!(
        long.is_empty(),
        "over {MAX_LINES} lines, split by topic: {long:#?}"
    );
}

#[test]
fn only_kernels_the_weight_mapping_and_vulkan_are_unsafe() {
    forbid(
        "unsafe code outside crates/kernels, the memory mapping of weights and the calls of Vulkan",
        &[
            "crates/kernels/",
            "crates/model/src/weights/",
            "crates/gpu/src/vulkan.rs",
        ],
        |line| {
            let code = line.split("//").next().unwrap_or_default();
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl")
        },
    );
}

#[test]
fn only_kernels_know_instruction_sets() {
    forbid(
        "an instruction set named outside crates/kernels",
        &["crates/kernels/"],
        |line| line.contains("target_arch") || line.contains("is_x86_feature_detected"),
    );
}

#[test]
fn every_test_runs() {
    forbid("an ignored test proves nothing", &[], |line| {
        line.trim_start().starts_with("#[ignore")
    });
}

#[test]
fn nothing_is_left_open() {
    forbid("unfinished work in the tree", &[], |line| {
        ["todo!(", "unimplemented!(", "FIXME", "// XXX", "// TODO"]
            .iter()
            .any(|mark| line.contains(mark))
    });
}

#[test]
fn scheduler_and_block_pool_hold_no_tensors_clocks_or_io() {
    for name in ["scheduler.rs", "block_pool.rs", "kv_cache_manager.rs"] {
        for (path, text) in files(&[name]) {
            assert!(
                path.starts_with("crates/engine/src"),
                "{path}: moved? update this rule"
            );
            let code = text.split("#[cfg(test)]").next().unwrap();
            for banned in [
                "candle",
                "Instant",
                "SystemTime",
                "std::io",
                "std::fs",
                "tokio",
                "Logits",
            ] {
                assert!(!code.contains(banned), "{path} mentions {banned}");
            }
        }
    }
}
