//! The order of crates and of the modules inside them, and what a crate shows to others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::modules::Crate;
use crate::rust_source::{Module, Token, parse, tokens};
use crate::{files, root};

/// A circle of modules that stays, because its files are one thing.
struct Defended {
    files: &'static [&'static str],
    /// Why they are one thing. ARCHITECTURE.md says it to everybody, and names the files.
    reason: &'static str,
}

const DEFENDED: [Defended; 0] = [];

/// What a crate may not depend on: crates above it, and what only those need.
fn above(name: &str) -> &'static [&'static str] {
    match name {
        "kernels" => &[
            "matou-gpu",
            "matou-model",
            "matou-engine",
            "matou-chat",
            "matou-hub",
            "matou-llm",
            "matou-server",
            "candle",
        ],
        "gpu" => &[
            "matou-model",
            "matou-engine",
            "matou-chat",
            "matou-hub",
            "matou-llm",
            "matou-server",
            "candle",
            "axum",
            "tokio",
        ],
        "model" => &[
            "matou-engine",
            "matou-chat",
            "matou-hub",
            "matou-llm",
            "matou-server",
            "axum",
            "tokio",
        ],
        "engine" => &[
            "matou-chat",
            "matou-hub",
            "matou-llm",
            "matou-server",
            "axum",
            "candle",
        ],
        "chat" => &[
            "matou-kernels",
            "matou-gpu",
            "matou-engine",
            "matou-hub",
            "matou-llm",
            "matou-server",
            "candle",
            "axum",
        ],
        "grammar" => &["matou-", "candle", "axum", "tokio"],
        "history" | "page" | "tls" => &["matou-", "candle", "axum", "hyper", "tokio"],
        "sandbox" => &["matou-", "candle", "axum", "tokio"],
        "bench" => &["matou-", "candle", "axum"],
        "hub" => &[
            "matou-kernels",
            "matou-gpu",
            "matou-model",
            "matou-engine",
            "matou-chat",
            "matou-llm",
            "matou-server",
            "candle",
        ],
        "llm" => &["matou-server", "candle", "axum", "hyper", "http", "tower"],
        "server" => &["matou-hub", "matou-kernels", "matou-gpu", "candle"],
        _ => &[],
    }
}

#[test]
fn lower_crates_do_not_know_higher_ones() {
    for (path, text) in files(&["Cargo.toml"]) {
        let Some(name) = Path::new(&path).parent().and_then(Path::file_name) else {
            continue;
        };
        let dependencies = text.split("[dev-dependencies]").next().unwrap();
        for banned in above(name.to_str().unwrap()) {
            assert!(
                !dependencies.lines().any(|line| line.starts_with(banned)),
                "{path} depends on {banned}: arrows go down only"
            );
        }
    }
}

#[test]
fn text_in_and_text_out_knows_no_http() {
    let folder = "crates/llm/";
    let own = files(&[".rs"]).into_iter();
    let own: Vec<_> = own.filter(|(path, _)| path.starts_with(folder)).collect();
    assert!(!own.is_empty(), "{folder} has no code");
    for (path, text) in own {
        let found = words_of(&text, &["axum", "hyper", "http"]);
        assert!(found.is_empty(), "{path} names {found:?}");
    }
}

fn words_of(text: &str, banned: &[&str]) -> Vec<String> {
    let words = tokens(text).into_iter().filter_map(|token| match token {
        Token::Word(word) => Some(word),
        _ => None,
    });
    words
        .filter(|word| banned.contains(&word.as_str()))
        .collect()
}

#[test]
fn a_planted_import_is_seen() {
    let text = "//! Not hyper.\nuse axum::Json; fn f() { hyper::body::to_bytes(\"http\") }";
    assert_eq!(
        words_of(text, &["axum", "hyper", "http"]),
        ["axum", "hyper"]
    );
}

/// The crates of the house: (folder, files of its `src`).
fn sources() -> Vec<(String, BTreeMap<String, String>)> {
    let mut crates: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (path, text) in files(&[".rs"]) {
        let Some(at) = path.find("src/") else {
            continue;
        };
        let folder = path[..at].to_owned();
        let is_ours = folder.is_empty() || folder.starts_with("crates/");
        if is_ours && folder.matches('/').count() <= 2 {
            crates.entry(folder).or_default().insert(path, text);
        }
    }
    assert!(
        crates.len() > 8,
        "crates that were found: {:?}",
        crates.keys()
    );
    crates.into_iter().collect()
}

#[test]
fn modules_of_a_crate_form_no_circle() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut undefended = Vec::new();
    let mut defended = BTreeSet::new();
    for (folder, files) in sources() {
        for circle in Crate::read(&format!("{folder}src/lib.rs"), &files).circles() {
            let is_it = |it: &Defended| circle.files.iter().eq(it.files.iter());
            match DEFENDED.iter().position(is_it) {
                Some(index) => drop(defended.insert(index)),
                None => undefended.push(circle),
            }
        }
    }
    for (index, it) in DEFENDED.iter().enumerate() {
        let (files, reason) = (it.files, it.reason);
        assert!(defended.contains(&index), "{files:?} is no circle any more");
        for file in files {
            assert!(
                map.contains(&format!("`{file}`")),
                "ARCHITECTURE.md does not defend {file} ({reason})"
            );
        }
    }
    assert!(
        undefended.is_empty(),
        "circles of modules: move what both sides use below them: {undefended:#?}"
    );
}

/// What the files of the house name of its crates, as (file, crate, module).
fn named(files: &[(String, String)]) -> Vec<(&str, String, String)> {
    let mut found = Vec::new();
    for (file, text) in files {
        let mut pending = vec![parse(text)];
        while let Some(module) = pending.pop() {
            let imports = module.imports.into_iter().map(|import| import.path);
            for path in imports.chain(module.paths) {
                if let [first, second, ..] = path.as_slice()
                    && first.starts_with("matou")
                {
                    found.push((file.as_str(), first.clone(), second.clone()));
                }
            }
            pending.extend(module.inline.into_iter().map(|(_, inner)| inner));
        }
    }
    found
}

/// Public modules of the root of the crate in `folder` that nothing outside names.
fn unused_modules(folder: &str, library: &Module, named: &[(&str, String, String)]) -> Vec<String> {
    let name = match folder.trim_end_matches('/').rsplit('/').next() {
        Some("") | None => "matou".to_owned(),
        Some(name) => format!("matou_{name}"),
    };
    let is_outside = |file: &str| {
        !file.starts_with(&format!("{folder}src/")) || file == format!("{folder}src/main.rs")
    };
    let is_used = |module: &String| {
        named
            .iter()
            .any(|(file, first, second)| *first == name && second == module && is_outside(file))
    };
    let public = library.public.iter();
    public.filter(|module| !is_used(module)).cloned().collect()
}

#[test]
fn a_public_module_has_a_user_outside() {
    let all = files(&[".rs"]);
    let named = named(&all);
    let mut unused = Vec::new();
    for (folder, files) in sources() {
        let library = parse(&files[&format!("{folder}src/lib.rs")]);
        for module in unused_modules(&folder, &library, &named) {
            unused.push(format!("{folder}src/lib.rs: pub mod {module}"));
        }
    }
    assert!(
        unused.is_empty(),
        "public without a user outside: {unused:#?}"
    );
}

#[test]
fn a_planted_public_module_without_a_user_is_seen() {
    let library = parse("pub mod used; pub mod named; mod private; pub mod idle;");
    let outside = [
        ("crates/b/src/lib.rs", "use matou_a::{used::X, Y};"),
        (
            "crates/a/tests/it.rs",
            "fn f() { matou_a::named::g() } // matou_a::idle",
        ),
        ("crates/a/src/c.rs", "use matou_a::idle;"),
    ];
    let outside = outside.map(|(path, text)| (path.to_owned(), text.to_owned()));
    assert_eq!(
        unused_modules("crates/a/", &library, &named(&outside)),
        ["idle"]
    );
}
