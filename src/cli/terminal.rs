//! What people see of an answer: its text on standard output; thoughts, remarks and a spinner on
//! standard error, so that a script that reads the answer gets nothing else.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Prints a whole text; whoever closes the pipe, as `head` does, has seen enough.
pub(super) fn print_all(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Rows with their columns aligned; the last column is as long as it is.
pub(super) fn table<const N: usize>(rows: Vec<[String; N]>) -> String {
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut table = String::new();
    for row in rows {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"));
        table.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        table.push('\n');
    }
    table
}

/// Shows an answer as it comes.
pub(super) trait Display {
    /// More of the answer.
    fn text(&mut self, text: &str) -> io::Result<()>;

    /// More of what the model thinks before it answers.
    fn thought(&mut self, text: &str) -> io::Result<()>;
}

/// The terminal that this program runs in, or the pipes that stand in for it.
#[derive(Debug, Default)]
pub(super) struct Terminal {
    thinks: bool,
}

impl Display for Terminal {
    fn text(&mut self, text: &str) -> io::Result<()> {
        if std::mem::take(&mut self.thinks) {
            eprintln!("\n");
        }
        print(text)
    }

    fn thought(&mut self, text: &str) -> io::Result<()> {
        let mut stderr = io::stderr().lock();
        if !stderr.is_terminal() {
            return Ok(());
        }
        self.thinks = true;
        stderr.write_all(dim(&printable(text)).as_bytes())?;
        stderr.flush()
    }
}

/// Writes text to standard output at once. On a terminal, control characters are left out: what a
/// model says must not move the cursor or change the window's title.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        stdout.write_all(printable(text).as_bytes())?;
    } else {
        stdout.write_all(text.as_bytes())?;
    }
    stdout.flush()
}

fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// Writes a remark to the person at the terminal, if there is one.
pub(super) fn remark(text: &str) {
    let stderr = io::stderr();
    if !stderr.is_terminal() {
        return;
    }
    eprintln!("{}", dim(text));
}

/// `text` in a fainter colour, unless the person wants none.
fn dim(text: &str) -> String {
    match std::env::var_os("NO_COLOR") {
        Some(_) => text.to_owned(),
        None => format!("\x1b[2m{text}\x1b[0m"),
    }
}

/// Shows that something is being done, on a terminal, until it is dropped.
pub(super) struct Spinner(ProgressBar);

impl Spinner {
    pub(super) fn start() -> Self {
        // indicatif draws nothing where standard error is no terminal.
        let bar = ProgressBar::new_spinner().with_message("reading");
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        bar.set_style(style.expect("the template is well-formed"));
        bar.enable_steady_tick(Duration::from_millis(80));
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let row = |cells: [&str; 6]| cells.map(str::to_owned);
        let text = table(vec![
            row(["a", "", "1 GB", "-", "MIT", "x"]),
            row(["long", "l", "10 GB", "-", "L", "why"]),
        ]);
        assert_eq!(
            text,
            "a        1 GB   -  MIT  x\nlong  l  10 GB  -  L    why\n"
        );
    }

    #[test]
    fn what_a_model_says_cannot_control_the_terminal() {
        assert_eq!(
            printable("a\x1b]0;title\x07b\r\n\tü\u{9b}"),
            "a]0;titleb\n\tü"
        );
    }
}
