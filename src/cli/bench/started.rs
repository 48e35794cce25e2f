//! A server that is started to be measured.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow};

/// A server of this program's, for as long as it is needed.
pub(super) struct Started {
    child: Child,
    /// Where it listens.
    pub(super) url: String,
}

impl Started {
    /// Starts a server of a model, and waits until it listens.
    pub(super) fn start(model: &str, flags: &[String]) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        if std::env::var_os("RUST_LOG").is_none() {
            // A line for each request is not what is looked for here.
            command.env("RUST_LOG", "warn");
        }
        let mut child = command
            .args(["serve", model, "--port", "0", "--no-history"])
            .args(flags)
            // It hears Ctrl-C too, so that it never outlives this program.
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut started = Self {
            child,
            url: String::new(),
        };
        while let Some(Ok(line)) = lines.next() {
            if let Some((_, rest)) = line.split_once("listening on ") {
                started.url = rest
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                // It must never wait for somebody to read on.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(started);
            }
        }
        let status = started.child.wait()?;
        Err(anyhow!(
            "the server of {model} ended before it listened ({status})"
        ))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
