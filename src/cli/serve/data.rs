//! The folder in which a server keeps what is its users': conversations, personas that were made in the
//! page, and the authority of its certificate.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use etcetera::BaseStrategy;
use matou_history::{History, HistoryError};
use tracing::warn;

use super::args::ServeArgs;

/// Conversations, responses and sign-ins.
const HISTORY: &str = "history.db";
/// Personas that were made in the page.
const PERSONAS: &str = "personas";
/// The authority, and the server's certificate.
const TLS: &str = "tls";

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct DataFolder {
    /// None where nobody has named one and there is no home.
    path: Option<PathBuf>,
    /// Whether nobody has named it.
    is_default: bool,
}

impl DataFolder {
    /// The one that was named, else the user's: `~/.local/share/matou`, or what the system has for that.
    pub(super) fn of(args: &ServeArgs) -> Self {
        let is_default = args.data_dir.is_none();
        let own = || {
            let folders = etcetera::choose_base_strategy().ok()?;
            Some(folders.data_dir().join("matou"))
        };
        Self {
            path: args.data_dir.clone().or_else(own),
            is_default,
        }
    }

    /// Where personas are that were made in the page.
    pub(super) fn personas(&self) -> Option<PathBuf> {
        Some(self.path.as_ref()?.join(PERSONAS))
    }

    /// Where the authority is.
    ///
    /// # Errors
    ///
    /// When there is no folder.
    pub(super) fn tls(&self) -> Result<PathBuf> {
        let path = self.path.as_ref();
        let path =
            path.context("there is no home folder to keep it in; name one with --data-dir")?;
        Ok(path.join(TLS))
    }

    /// The history, if one is to be kept. Where nobody named a folder and none can be made, as in a
    /// container without a home, there is none, and the log says so.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be used, or was asked for and cannot be made.
    pub(super) fn history(&self, args: &ServeArgs) -> Result<Option<History>> {
        if args.no_history {
            return Ok(None);
        }
        let Some(folder) = &self.path else {
            warn!("no conversations are kept: there is no home folder; name one with --data-dir");
            return Ok(None);
        };
        let path = folder.join(HISTORY);
        match History::open(&path) {
            Ok(history) => Ok(Some(history)),
            Err(error @ (HistoryError::Open { .. } | HistoryError::ReadOnly { .. }))
                if self.is_default && !exists(&path) =>
            {
                warn!(
                    "no conversations are kept: {error}; name a folder with --data-dir, or say --no-history"
                );
                Ok(None)
            }
            Err(error) => Err(error).context("cannot open the history (--no-history does without)"),
        }
    }
}

fn exists(path: &Path) -> bool {
    path.try_exists().unwrap_or(false)
}
