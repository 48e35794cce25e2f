//! The modules of the page that need no browser, by Node's own test runner: `tests/*.test.mjs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn the_modules_of_the_page_do_what_they_should() {
    let tests = ["tests/app.test.mjs", "tests/content.test.mjs"];
    let run = Command::new("node")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("--test")
        .args(tests)
        .output()
        .expect("Node is installed: the tests drive the server with its clients");
    let told = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{told}");
    assert!(told.contains("# pass "), "{told}");
}
