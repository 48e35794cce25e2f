//! Every path that a Markdown file names exists.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{files, root};

/// Endings of files that are the project's even if no folder is given.
const ENDINGS: [&str; 4] = [".rs", ".md", ".py", ".mjs"];

/// Words of a Markdown text that may be paths: in backticks, in links, in blocks of code.
fn candidates(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            // Files of the reader's own begin with a dot.
            let words = line.split_whitespace();
            let words = words.filter(|word| word.contains('/') && !word.starts_with("./"));
            found.extend(words.map(str::to_owned));
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            found.extend(spans.flat_map(str::split_whitespace).map(str::to_owned));
            let links = line.split("](").skip(1);
            found.extend(links.filter_map(|rest| Some(rest.split([')', '#']).next()?.to_owned())));
        }
    }
    found
}

/// The alternatives that braces stand for.
fn expand(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{') else {
        return vec![path.to_owned()];
    };
    let Some((inside, after)) = rest.split_once('}') else {
        return vec![path.to_owned()];
    };
    let each = inside
        .split(',')
        .map(|part| format!("{before}{}{after}", part.trim()));
    each.flat_map(|path| expand(&path)).collect()
}

/// Whether a path exists below `folder`, where `*` stands for any name and a module may go without its
/// `.rs`.
fn exists(folder: &Path, path: &str) -> bool {
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    if first.contains('*') {
        let (before, after) = first.split_once('*').unwrap_or((first, ""));
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        return entries
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.len() >= before.len() + after.len()
                    && name.starts_with(before)
                    && name.ends_with(after)
            })
            .any(|entry| rest.is_empty() || exists(&entry.path(), rest));
    }
    let here = folder.join(first);
    if rest.is_empty() {
        return here.exists() || folder.join(format!("{first}.rs")).exists();
    }
    exists(&here, rest)
}

/// Whether a word of a Markdown file in `home` names a path that does not exist; words that are no
/// paths of the project are none.
fn is_broken(root: &Path, home: &Path, names: &BTreeSet<String>, word: &str) -> bool {
    let word = word.trim_end_matches(['.', ',', ';', ':']);
    let foreign = |c: char| !(c.is_alphanumeric() || "._-/*{},".contains(c));
    if word.is_empty() || word.starts_with('/') || word.contains(foreign) {
        return false;
    }
    let first = word.split(['/', '*', '{']).next().unwrap_or_default();
    if matches!(first, "target" | "http" | "https") {
        return false;
    }
    let is_below = |folder: &Path| expand(word).iter().all(|path| exists(folder, path));
    if !word.contains('/') {
        let is_file = ENDINGS.iter().any(|ending| word.ends_with(ending)) && !word.contains('*');
        return is_file && !names.contains(word) && !is_below(home);
    }
    // `crates/x` by its name alone: `x/part`.
    let of_crate = root.join("crates").join(first);
    if first.starts_with('.') && first.chars().all(|c| c == '.') {
        !is_below(home)
    } else if root.join(first).exists() {
        !is_below(root) && !is_below(home)
    } else if home.join(first).exists() {
        !is_below(home)
    } else if of_crate.exists() {
        let rest = word.split_once('/').map_or("", |(_, rest)| rest);
        let is_in = |folder: &Path| expand(rest).iter().all(|path| exists(folder, path));
        !is_in(&of_crate) && !is_in(&of_crate.join("src"))
    } else {
        word.ends_with(".rs")
    }
}

/// Names of all files, for those that are named without their folder.
fn names() -> BTreeSet<String> {
    let names = files(&ENDINGS).into_iter();
    names
        .filter_map(|(path, _)| Some(path.rsplit('/').next()?.to_owned()))
        .collect()
}

#[test]
fn every_path_that_a_markdown_file_names_exists() {
    let (root, names) = (root(), names());
    let mut broken = Vec::new();
    for (path, text) in files(&[".md"]) {
        let home = root.join(&path);
        let home = home.parent().unwrap();
        for word in candidates(&text) {
            if is_broken(&root, home, &names, &word) {
                broken.push(format!("{path}: {word}"));
            }
        }
    }
    assert!(broken.is_empty(), "paths that do not exist: {broken:#?}");
}

#[test]
fn a_planted_path_is_seen() {
    let text = "See `src/cli/`, `src/no_such.rs`, [a link](crates/nowhere), [here](README.md#start), \
                `/v1/models`, `owner/repo`, `https://x.org/src/y`, `~/src/z`, `kernels/dispatch`, \
                `kernels/nothing`, `crates/server/src/dialects/*/convert`, `target/release/matou`, \
                `crates/*/nothing`, `crates/{chat,hub,nobody}/src`, `gone.rs` and\n\
                ```text\nsrc/   the binary\ncrates/absent  what\n```\n";
    let (root, names) = (root(), names());
    let words = candidates(text).into_iter();
    let broken: Vec<_> = words
        .filter(|word| is_broken(&root, &root, &names, word))
        .collect();
    let expected = [
        "src/no_such.rs",
        "kernels/nothing",
        "crates/*/nothing",
        "crates/{chat,hub,nobody}/src",
        "gone.rs",
        "crates/nowhere",
        "crates/absent",
    ];
    assert_eq!(broken, expected);
}
