//! The chat page in a real browser, on the default model: Debian's Chromium, driven by Playwright.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::environment::Environment;
use crate::harness::{PATIENCE, Server, default_model, finish, keeping};

/// What drives a browser, and what looks for barriers; and what joins and minifies the page.
const BROWSER: Environment = Environment {
    name: "browser",
    packages: &[
        "playwright-core@1.65.1",
        "axe-core@4.14.1",
        "esbuild@0.28.2",
        "terser@5.51.4",
    ],
};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Node, to run one of the scripts of `tests/clients/page`.
fn node(script: &str) -> Command {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    assert!(
        Path::new(&chromium).exists(),
        "{chromium} is not there: `apt-get install chromium`, or name another with CHROMIUM"
    );
    let folder = BROWSER.node();
    // Node looks for packages beside the script. Others may be starting: each file is whole at all times.
    static COPYING: Mutex<()> = Mutex::new(());
    let _alone = COPYING.lock().unwrap_or_else(PoisonError::into_inner);
    for file in fs::read_dir(repository("tests/clients/page")).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        let new = folder.join(format!("{name}.{}", std::process::id()));
        fs::copy(file.path(), &new).unwrap();
        fs::rename(new, folder.join(name)).unwrap();
    }
    let mut command = Command::new("node");
    command.arg(folder.join(script));
    command
}

/// A server of the default model that keeps what it keeps in `data`.
fn serve(data: &Path, extra: &[&str]) -> Server {
    Server::spawn(keeping(data, default_model(), extra))
}

/// Runs a script to its end, which it has to reach.
fn drive(command: Command) {
    let about = format!("{command:?}");
    let (success, output, errors) = finish(command);
    assert!(success, "{about}:\n{output}\n{errors}");
}

#[test]
fn what_is_embedded_is_what_is_written() {
    let folder = BROWSER.node();
    let build = folder.join("build.mjs");
    fs::copy(repository("crates/page/build.mjs"), &build).unwrap();
    let target = folder.join("embedded");
    let mut command = Command::new("node");
    command
        .arg(build)
        .arg(&target)
        .arg(repository("crates/page/web"));
    drive(command);
    let mut compare = Command::new("diff");
    compare
        .arg("-rq")
        .arg(&target)
        .arg(repository("crates/page/embedded"));
    let (same, differs, _) = finish(compare);
    assert!(
        same,
        "run crates/page/build.mjs, and check in what comes out:\n{differs}"
    );
}

#[test]
fn a_first_visit_and_what_follows() {
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &[]);
    let mut chat = node("chat.mjs");
    chat.arg(&server.url);
    drive(chat);
}

#[test]
fn nothing_is_lost_when_things_go_wrong() {
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &[]);
    let mut recover = node("recover.mjs");
    recover.arg(&server.url);
    drive(recover);
}

#[test]
fn personas_are_made_and_talked_to_in_the_page() {
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &[]);
    let mut personas = node("personas.mjs");
    personas
        .arg(&server.url)
        .arg(repository("tests/clients/page/card.json"));
    drive(personas);
}

#[test]
fn what_a_model_writes_is_text() {
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &[]);
    let mut hostile = node("hostile.mjs");
    hostile.arg(&server.url);
    drive(hostile);
}

#[test]
fn without_history_the_browser_keeps_conversations() {
    let data = tempfile::tempdir().unwrap();
    let server = serve(data.path(), &["--no-history"]);
    let mut local = node("local.mjs");
    local.arg(&server.url);
    drive(local);
}

#[test]
fn over_https_the_page_installs_and_a_link_signs_in() {
    let data = tempfile::tempdir().unwrap();
    let mut command = keeping(data.path(), default_model(), &["--tls-self-signed"]);
    command.env("MATOU_API_KEY", "a key that is long enough");
    let server = Server::spawn(command);
    let mut https = node("https.mjs");
    https.arg(&server.url).arg(data.path().join("tls/ca.pem"));
    https.arg("a key that is long enough");
    drive(https);
}

/// A script that says when the server is to stop and to start.
struct Script {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Script {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Reads what it says next, which has to be this. Its own patience ends, so that this does.
    fn says(&mut self, word: &str) {
        let line = self.lines.next();
        assert_eq!(line.map(|line| line.unwrap()).as_deref(), Some(word));
    }

    fn go_on(&mut self) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(b"done\n").unwrap();
    }

    fn ends(mut self) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return assert!(status.success(), "the script fails");
            }
            assert!(start.elapsed() < PATIENCE, "the script does not end");
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // Gone already, if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn two_users_see_their_own_and_a_server_that_goes_comes_back() {
    const KEYS: [&str; 2] = ["the key of Ada Lovelace", "the key of Charles Babbage"];
    let data = tempfile::tempdir().unwrap();
    let start = |port: &str| {
        let mut command = keeping(data.path(), default_model(), &["--port", port]);
        command.env("MATOU_API_KEY", KEYS.join(","));
        Server::spawn(command)
    };
    let mut server = start("0");
    let url = server.url.clone();
    let port = url.rsplit(':').next().unwrap().to_owned();
    let mut command = node("users.mjs");
    command.arg(&url).args(KEYS);
    let mut script = Script::start(command);
    script.says("stop");
    server.signal("TERM");
    server.wait();
    script.go_on();
    script.says("start");
    let _again = start(&port);
    script.go_on();
    script.ends();
}
