//! What the person says: an edited line on a terminal, plain lines from a pipe.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Editor, Helper};
use tracing::debug;

use super::command::{Command, NAMES};
use crate::cli::terminal::remark;

/// Begins and ends a message of several lines.
const QUOTES: &str = "\"\"\"";

/// Where messages come from.
pub(super) enum Input {
    /// A person at a terminal; the path is where lines are remembered.
    Terminal(Box<Editor<Assistant, FileHistory>>, PathBuf),
    /// A pipe or a file.
    Pipe,
}

/// What was said.
#[derive(Debug)]
pub(super) enum Said {
    Message(String),
    Command(Command),
    /// An empty line, or one that was given up.
    Nothing,
    /// There is no more.
    End,
}

impl Input {
    /// Lines edited in a terminal and remembered in the file `history`.
    pub(super) fn terminal(history: PathBuf) -> Result<Self> {
        let mut editor = Editor::new()?;
        editor.set_helper(Some(Assistant));
        if let Err(error) = editor.load_history(&history) {
            debug!(%error, file = %history.display(), "no history of earlier conversations");
        }
        Ok(Self::Terminal(Box::new(editor), history))
    }

    /// Lines of standard input.
    pub(super) fn pipe() -> Self {
        Self::Pipe
    }

    /// Waits for what is said next, off the async workers; gives the input back with it.
    pub(super) async fn next(mut self) -> Result<(Self, Said)> {
        let waiting = tokio::task::spawn_blocking(move || {
            let said = match &mut self {
                Self::Terminal(editor, history) => read_terminal(editor, history),
                Self::Pipe => read_pipe(),
            };
            said.map(|said| (self, said))
        });
        waiting.await?
    }
}

fn read_terminal(editor: &mut Editor<Assistant, FileHistory>, history: &Path) -> Result<Said> {
    let line = match editor.readline(">>> ") {
        Ok(line) => line,
        Err(ReadlineError::Eof) => return Ok(Said::End),
        Err(ReadlineError::Interrupted) => {
            remark("Ctrl-D or /bye leaves.");
            return Ok(Said::Nothing);
        }
        Err(error) => return Err(error.into()),
    };
    let remembered = editor
        .add_history_entry(line.as_str())
        .and_then(|_| Ok(history.parent().map_or(Ok(()), std::fs::create_dir_all)?))
        .and_then(|()| editor.append_history(history));
    if let Err(error) = remembered {
        debug!(%error, file = %history.display(), "the line is not remembered");
    }
    Ok(understand(&line))
}

fn read_pipe() -> Result<Said> {
    let mut text = String::new();
    while io::stdin().read_line(&mut text)? > 0 {
        if is_complete(text.trim_end_matches(['\n', '\r'])) {
            return Ok(understand(&text));
        }
    }
    // What is unfinished at the end of the input counts as it is.
    Ok(if text.is_empty() {
        Said::End
    } else {
        understand(&text)
    })
}

/// Whether a message ends here: not after a backslash, and not inside quotes.
fn is_complete(text: &str) -> bool {
    match text.trim_start().strip_prefix(QUOTES) {
        Some(rest) => rest.contains(QUOTES),
        None => !text.ends_with('\\'),
    }
}

/// The message or command of a complete text.
fn understand(text: &str) -> Said {
    if let Some(quoted) = text.trim_start().strip_prefix(QUOTES) {
        let message = quoted
            .split_once(QUOTES)
            .map_or(quoted, |(message, _)| message);
        return message_or_nothing(message);
    }
    if text.starts_with('/') {
        return Said::Command(Command::parse(text.trim_end()));
    }
    message_or_nothing(&text.replace("\\\r\n", "\n").replace("\\\n", "\n"))
}

fn message_or_nothing(text: &str) -> Said {
    match text.trim() {
        "" => Said::Nothing,
        message => Said::Message(message.to_owned()),
    }
}

/// Helps with the editing: completes commands, and knows when a message goes on.
pub(super) struct Assistant;

impl Helper for Assistant {}
impl Highlighter for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = &'static str;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<&'static str>)> {
        let typed = &line[..position];
        let fits = |name: &&'static str| typed.starts_with('/') && name.starts_with(typed);
        Ok((0, NAMES.into_iter().filter(fits).collect()))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        if is_complete(context.input()) {
            Ok(ValidationResult::Valid(None))
        } else {
            Ok(ValidationResult::Incomplete)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        assert!(is_complete(text.trim_end_matches('\n')), "{text}");
        match understand(text) {
            Said::Message(message) => message,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_line_is_a_message() {
        assert_eq!(message(" Hello there \n"), "Hello there");
        assert_eq!(message(" /etc/passwd is what?"), "/etc/passwd is what?");
        assert!(matches!(understand("  \n"), Said::Nothing));
    }

    #[test]
    fn a_backslash_at_the_end_continues_the_message() {
        assert!(!is_complete("one\\"));
        assert_eq!(message("one\\\ntwo"), "one\ntwo");
    }

    #[test]
    fn quotes_hold_a_message_of_several_lines() {
        for open in ["\"\"\"", "\"\"\"one", "  \"\"\"one\ntwo"] {
            assert!(!is_complete(open), "{open}");
        }
        assert_eq!(message("\"\"\"\none\n/two \"\"\"\n"), "one\n/two");
        assert_eq!(message("say \"\"\" twice"), "say \"\"\" twice");
    }

    #[test]
    fn a_slash_begins_a_command() {
        assert!(matches!(
            understand("/reset\n"),
            Said::Command(Command::Reset)
        ));
    }
}
