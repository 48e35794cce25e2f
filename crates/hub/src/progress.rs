//! Progress of a download: a bar on a terminal, log lines elsewhere.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use crate::options::{ProgressMode, Tell};

/// Log lines appear at each tenth of the file.
const LINES: u64 = 10;

/// The progress of one file.
pub(crate) struct Progress {
    bar: ProgressBar,
    log: Option<LogLines>,
    /// Who is told, and the bytes in all.
    told: Option<(Arc<Tell>, u64)>,
}

struct LogLines {
    name: String,
    total: u64,
    tenths: u64,
}

impl Progress {
    /// Begins to show a download of `total` bytes.
    pub(crate) fn bytes(mode: &ProgressMode, name: &str, total: u64) -> Self {
        if on_terminal(mode) {
            let bar = ProgressBar::new(total).with_message(name.to_owned());
            let template = "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
            bar.set_style(style(template));
            return Self {
                bar,
                log: None,
                told: None,
            };
        }
        let is_auto = matches!(mode, ProgressMode::Auto);
        if is_auto {
            tracing::info!(file = name, size = %HumanBytes(total), "downloading");
        }
        let log = is_auto.then(|| LogLines {
            name: name.to_owned(),
            total,
            tenths: 0,
        });
        Self {
            bar: ProgressBar::hidden(),
            log,
            told: match mode {
                ProgressMode::Told(tell) => Some((Arc::clone(tell), total)),
                _ => None,
            },
        }
    }

    /// Begins to show something that takes a while and whose length is unknown.
    pub(crate) fn spinner(mode: &ProgressMode, message: &str) -> Self {
        if on_terminal(mode) {
            let bar = ProgressBar::new_spinner().with_message(message.to_owned());
            bar.set_style(style("{spinner} {msg} ({elapsed})"));
            bar.enable_steady_tick(Duration::from_millis(100));
            return Self {
                bar,
                log: None,
                told: None,
            };
        }
        if matches!(mode, ProgressMode::Auto) {
            tracing::info!("{message}");
        }
        Self {
            bar: ProgressBar::hidden(),
            log: None,
            told: None,
        }
    }

    /// `done` bytes are on disk.
    pub(crate) fn set(&mut self, done: u64) {
        self.bar.set_position(done);
        if let Some((tell, total)) = &self.told {
            tell(done, *total);
        }
        if let Some(log) = &mut self.log {
            let tenths = (done * LINES).checked_div(log.total).unwrap_or(LINES);
            if tenths > log.tenths {
                log.tenths = tenths;
                tracing::info!(file = log.name, "downloaded {}%", tenths * 100 / LINES);
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn on_terminal(mode: &ProgressMode) -> bool {
    matches!(mode, ProgressMode::Auto) && std::io::stderr().is_terminal()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates in this file are well formed")
}
