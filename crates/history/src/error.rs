//! What can go wrong, and what to do about it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why something was not read or not kept. Whatever it is, what was kept before is intact.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The owner has nothing with this id.
    #[error("there is no {what} with this id")]
    NotFound {
        /// What was looked for: "conversation", "message".
        what: &'static str,
    },

    /// A value that cannot be kept.
    #[error("{field} {message}")]
    Invalid {
        /// The field that is wrong.
        field: &'static str,
        /// What is wrong with it; reads on from its name.
        message: String,
    },

    /// A bound is reached.
    #[error("{what} may have at most {limit} {unit}{advice}")]
    TooMuch {
        /// What is too large or too many.
        what: &'static str,
        /// The most that it may have.
        limit: u64,
        /// What is counted.
        unit: &'static str,
        /// What to do about it, with a leading ": "; may be empty.
        advice: &'static str,
    },

    /// The disk, or the owner's part of it, is full.
    #[error("the disk is full: \"{}\" cannot grow; free some space, or delete old conversations", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },

    /// Another program keeps the file locked.
    #[error("\"{}\" is locked by another program; close it, or wait until it is done", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },

    /// The file may only be read.
    #[error("\"{}\" cannot be written to; give this user the right to write it and its folder", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },

    /// The file cannot be made or opened.
    #[error("\"{}\" cannot be opened: {message}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },

    /// The file is something else.
    #[error(
        "\"{}\" is no history of matou ({message}); name another file, or move this one away",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it seems to be.
        message: String,
    },

    /// The file is damaged.
    #[error(
        "\"{}\" is damaged ({message}); restore a backup, or move it away to begin a new one",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },

    /// The file was made by a newer version of the program.
    #[error(
        "\"{}\" was made by a newer matou (its schema is {found}, this version knows up to {known}); \
         update matou, or name another file",
        path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest schema that is known.
        known: i64,
    },

    /// Anything else that the database reports.
    #[error("\"{}\" {message}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong; reads on from the file's name.
        message: String,
    },
}

impl HistoryError {
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Invalid { field, message }
    }

    /// The error of one of many conversations, the first of which is 1; it says which, if it can.
    pub(crate) fn of_conversation(self, place: usize) -> Self {
        match self {
            Self::Invalid { field, message } => {
                Self::invalid("conversation", format!("{place}: {field} {message}"))
            }
            error => error,
        }
    }

    pub(crate) fn too_long(what: &'static str, limit: usize, unit: &'static str) -> Self {
        Self::TooMuch {
            what,
            limit: limit as u64,
            unit,
            advice: "",
        }
    }
}

/// What work on a connection ends with: it does not know the file's path.
#[derive(Debug)]
pub(crate) enum Failure {
    History(HistoryError),
    Sqlite(rusqlite::Error),
}

/// The result of work on a connection.
pub(crate) type Attempt<T> = Result<T, Failure>;

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        Self::History(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Failure {
    /// As [`HistoryError::of_conversation`].
    pub(crate) fn of_conversation(self, place: usize) -> Self {
        match self {
            Self::History(error) => Self::History(error.of_conversation(place)),
            failure => failure,
        }
    }

    /// What callers are told.
    pub(crate) fn at(self, path: &Path) -> HistoryError {
        let error = match self {
            Self::History(error) => return error,
            Self::Sqlite(error) => error,
        };
        let path = path.to_owned();
        let message = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => HistoryError::Full { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                HistoryError::Locked { path }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                HistoryError::ReadOnly { path }
            }
            Some(ErrorCode::SystemIoFailure) => {
                let message = format!("cannot be read or written ({message}); look after the disk");
                HistoryError::Database { path, message }
            }
            Some(ErrorCode::CannotOpen) => HistoryError::Open { path, message },
            Some(ErrorCode::NotADatabase) => HistoryError::Foreign { path, message },
            Some(ErrorCode::DatabaseCorrupt) => HistoryError::Corrupt { path, message },
            Some(_) => other(path, &message),
            None if is_unreadable(&error) => HistoryError::Corrupt { path, message },
            None => other(path, &message),
        }
    }
}

fn other(path: PathBuf, message: &str) -> HistoryError {
    let message = format!("cannot be used: {message}");
    HistoryError::Database { path, message }
}

/// Whether a row holds something that nothing here has written.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error,
    };
    matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | Utf8Error(..)
    )
}
