//! The chat page: it asks nobody else, and has no way to make markup of what a model writes.

use crate::files;

/// Code of others, as it was published.
const VENDOR: &str = "crates/page/web/vendor/";

fn own() -> Vec<(String, String)> {
    let endings = [".js", ".css", ".html", ".json", ".webmanifest"];
    let all = files(&endings).into_iter();
    all.filter(|(path, _)| path.starts_with("crates/page/web/") && !path.starts_with(VENDOR))
        .collect()
}

fn offences(banned: &[&str], allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in own() {
        for (number, line) in text.lines().enumerate() {
            let line = allowed
                .iter()
                .fold(line.to_owned(), |line, allowed| line.replace(allowed, ""));
            if banned.iter().any(|banned| line.contains(banned)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn the_page_names_no_other_host() {
    assert!(own().len() > 40);
    let found = offences(
        &["http://", "https://", "ws://", "wss://", "//cdn"],
        &["http://www.w3.org/2000/svg"],
    );
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn the_page_makes_no_markup_of_text() {
    let sinks = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "createContextualFragment",
        "parseFromString",
        "setHTMLUnsafe",
        ".srcdoc",
        "eval(",
        "new Function",
        "style=",
    ];
    let found = offences(&sinks, &[]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn modules_of_the_page_fit_in_the_head() {
    let long = own()
        .into_iter()
        .map(|(path, text)| (text.lines().count(), path));
    let long: Vec<_> = long.filter(|(lines, _)| *lines > 400).collect();
    assert!(long.is_empty(), "over 400 lines, split by topic: {long:#?}");
}
