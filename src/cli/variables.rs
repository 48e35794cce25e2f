//! Every flag is an environment variable too: `MATOU_` and the flag's name in capitals, so that
//! `--max-model-len` is `MATOU_MAX_MODEL_LEN`. A flag on the command line wins.

use std::env;

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};

/// The command with a variable for each flag of it and of the commands below it.
pub(super) fn with_variables(command: Command) -> Command {
    command
        .mut_args(with_variable)
        .mut_subcommands(with_variables)
}

/// The variable of a flag; none for `--help` and `--version`, and for arguments without a dash.
pub(super) fn variable(arg: &Arg) -> Option<String> {
    let does_not_ask = !matches!(
        arg.get_action(),
        ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
    );
    let flag = arg.get_long().filter(|_| does_not_ask)?;
    Some(format!("MATOU_{}", flag.to_uppercase().replace('-', "_")))
}

fn with_variable(arg: Arg) -> Arg {
    let Some(name) = variable(&arg) else {
        return arg;
    };
    let arg = match arg.get_action() {
        // `1` and `yes` are what people write into variables.
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    };
    // A variable that is set to nothing is not set.
    if env::var_os(&name).is_some_and(|value| value.is_empty()) {
        return arg;
    }
    arg.env(name)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    /// The flags of a command and of all below it.
    fn flags(command: &Command) -> Vec<Arg> {
        let own = command.get_arguments().filter(|arg| !arg.is_positional());
        let below = command.get_subcommands().flat_map(flags);
        own.cloned().chain(below).collect()
    }

    #[test]
    fn every_flag_is_a_variable_by_one_rule() {
        let mut command = with_variables(Cli::command());
        command.build();
        let flags = flags(&command);
        assert!(flags.len() > 60, "only {} flags", flags.len());
        for flag in flags {
            let Some(long) = flag.get_long() else {
                panic!("{flag} has no long name");
            };
            if ["help", "version"].contains(&long) {
                continue;
            }
            let expected = format!("MATOU_{}", long.to_uppercase().replace('-', "_"));
            let variable = flag.get_env().and_then(|name| name.to_str());
            assert_eq!(variable, Some(expected.as_str()), "--{long}");
        }
    }

    #[test]
    fn a_flag_keeps_its_meaning_on_the_command_line() {
        let line = [
            "matou",
            "serve",
            "m",
            "--port",
            "1",
            "--no-enable-prefix-caching",
        ];
        let matches = with_variables(Cli::command())
            .try_get_matches_from(line)
            .unwrap();
        let (_, serve) = matches.subcommand().unwrap();
        assert_eq!(serve.get_one::<u16>("port"), Some(&1));
        assert!(serve.get_flag("no_enable_prefix_caching"));
        assert!(!serve.get_flag("allow_unauthenticated"));
    }
}
