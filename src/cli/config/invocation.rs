//! A command line, with what stands behind it.

use std::ffi::OsString;

use anyhow::Result;
use clap::{ArgMatches, Command};

use super::entry;
use super::file::Config;
use super::layers::{layered, named_file};
use crate::cli::variables;

/// A command line, with what stands behind it.
pub(in crate::cli) struct Invocation {
    /// What was asked for, with where each value comes from.
    pub(in crate::cli) matches: ArgMatches,
    /// What the file says.
    pub(in crate::cli) config: Config,
    /// All commands and their flags.
    pub(in crate::cli) command: fn() -> Command,
}

impl Invocation {
    /// Reads a command line, the environment and the file.
    ///
    /// # Errors
    ///
    /// A [`clap::Error`] about the command line, or what is wrong with the file.
    pub(in crate::cli) fn read(line: Vec<OsString>, command: fn() -> Command) -> Result<Self> {
        let mut known = variables::with_variables(command());
        known.build();
        let named = named_file(&line);
        let config = Config::load(named.as_deref(), &known, &entry::command())?;
        let layered = layered(variables::with_variables(command()), "", &config);
        let matches = layered.try_get_matches_from(line)?;
        Ok(Self {
            matches,
            config,
            command,
        })
    }

    /// Reads everything again, as a running server does that is told to.
    ///
    /// # Errors
    ///
    /// As of [`read`](Self::read).
    pub(in crate::cli) fn again(&self) -> Result<Self> {
        Self::read(std::env::args_os().collect(), self.command)
    }

    /// What the command was given, with where each value comes from.
    pub(in crate::cli) fn own_matches(&self) -> &ArgMatches {
        self.matches
            .subcommand()
            .map_or(&self.matches, |(_, own)| own)
    }
}
