//! The layers of a configuration: the file under the flags of a command.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Command};

use super::file::{CONFIG, Config, Settings};

/// The file that a command line or the environment names. It is looked for before the line is read,
/// because it decides what the line leaves out.
pub(super) fn named_file(line: &[OsString]) -> Option<PathBuf> {
    let flag = format!("--{CONFIG}");
    let mut words = line.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--") => break,
            Some(word) if word == flag => return words.next().map(PathBuf::from),
            Some(word) => {
                let value = word
                    .strip_prefix(&flag)
                    .and_then(|rest| rest.strip_prefix('='));
                if let Some(value) = value {
                    return Some(value.into());
                }
            }
            None => {}
        }
    }
    let set = std::env::var_os("MATOU_CONFIG")?;
    (!set.is_empty()).then(|| set.into())
}

/// The command, and those below it, with the file's settings as defaults.
pub(super) fn layered(command: Command, path: &str, config: &Config) -> Command {
    let settings = config.of(path);
    let command = with_defaults(command, &settings);
    command.mut_subcommands(|below| {
        let name = below.get_name();
        let path = match path {
            "" => name.to_owned(),
            path => format!("{path} {name}"),
        };
        layered(below, &path, config)
    })
}

/// The command, of whose flags these have other defaults.
pub(super) fn with_defaults(command: Command, settings: &Settings) -> Command {
    command.mut_args(|arg| {
        let setting = arg.get_long().and_then(|long| settings.get(long));
        match setting {
            Some(setting) if !matches!(arg.get_action(), ArgAction::Help | ArgAction::Version) => {
                arg.default_values(setting.values.clone())
            }
            _ => arg,
        }
    })
}
