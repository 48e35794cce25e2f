//! The commands of a conversation: lines that begin with a slash.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use matou_engine::SamplingParams;

use crate::cli::session::SamplingArgs;

/// What `/help` says.
pub(super) const HELP: &str = "\
/system TEXT      begin anew with these instructions (none removes them); alone: show them
/reset            begin anew
/retry            answer the last message again
/set NAME VALUE   change the sampling, such as /set temperature 0.7; alone: show it
/help             this list
/bye              leave (so does Ctrl-D)

Ctrl-C            stop an answer
\\ at line's end   the message goes on in the next line
\"\"\"               begins and ends a message of several lines";

/// Names of the commands, for completion.
pub(super) const NAMES: [&str; 6] = ["/bye", "/help", "/reset", "/retry", "/set ", "/system "];

/// What a line that begins with a slash asks for.
#[derive(Debug)]
pub(super) enum Command {
    Help,
    ShowSystem,
    System(String),
    Reset,
    Retry,
    ShowSampling,
    Set(SamplingArgs),
    Leave,
    /// No command, and why.
    Wrong(String),
}

/// `/set` reads its parameters as the flags of the command line, so that both know the same ones.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Set {
    #[command(flatten)]
    sampling: SamplingArgs,
}

impl Command {
    /// Reads a line that begins with a slash.
    pub(super) fn parse(line: &str) -> Self {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match (name, rest.trim()) {
            ("/help" | "/?", _) => Self::Help,
            ("/bye" | "/exit" | "/quit", _) => Self::Leave,
            ("/reset" | "/clear", _) => Self::Reset,
            ("/retry", _) => Self::Retry,
            ("/system", "") => Self::ShowSystem,
            ("/system", text) => Self::System(text.to_owned()),
            ("/set", "") => Self::ShowSampling,
            ("/set", rest) => parse_set(rest),
            _ => Self::Wrong(format!(
                "there is no command {name} (/help lists them; a space before the slash makes it a message)"
            )),
        }
    }
}

fn parse_set(rest: &str) -> Command {
    let mut words = rest.splitn(2, [' ', '=']);
    let name = words
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
        .replace('_', "-");
    let Some(value) = words
        .next()
        .map(str::trim)
        .filter(|value| !value.is_empty())
    else {
        return Command::Wrong(format!("`/set {name}` lacks a value"));
    };
    match Set::try_parse_from([format!("--{name}={value}")]) {
        Ok(set) => Command::Set(set.sampling),
        Err(error) if error.kind() == ErrorKind::UnknownArgument => {
            let command = Set::command();
            let known: Vec<&str> = command
                .get_arguments()
                .filter_map(|arg| arg.get_long())
                .collect();
            Command::Wrong(format!(
                "there is no `{name}` to set, but {}",
                known.join(", ")
            ))
        }
        Err(_) => Command::Wrong(format!("`{value}` is no value of {name}")),
    }
}

/// The sampling parameters in one line.
pub(super) fn describe_sampling(sampling: &SamplingParams) -> String {
    let or = |value: Option<String>, absent: &str| value.unwrap_or_else(|| absent.to_owned());
    [
        format!("temperature {}", sampling.temperature),
        format!("top-p {}", sampling.top_p),
        format!("top-k {}", or(sampling.top_k.map(|k| k.to_string()), "off")),
        format!("min-p {}", sampling.min_p),
        format!("repetition-penalty {}", sampling.repetition_penalty),
        format!(
            "seed {}",
            or(sampling.seed.map(|seed| seed.to_string()), "random")
        ),
        format!(
            "max-tokens {}",
            or(
                sampling.max_tokens.map(|tokens| tokens.to_string()),
                "unlimited"
            )
        ),
    ]
    .join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(line: &str) -> SamplingParams {
        match Command::parse(line) {
            Command::Set(args) => args.apply(SamplingParams::default()),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn wrong(line: &str) -> String {
        match Command::parse(line) {
            Command::Wrong(reason) => reason,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn parameters_are_set_in_any_usual_spelling() {
        assert_eq!(set("/set temperature 0.7").temperature, 0.7);
        assert_eq!(set("/set top_p=0.5").top_p, 0.5);
        assert_eq!(set("/set  top-k  40").top_k, Some(40));
        assert_eq!(set("/set seed 7").seed, Some(7));
        assert_eq!(
            set("/set temperature -1").temperature,
            -1.0,
            "the engine knows the range"
        );
    }

    #[test]
    fn a_parameter_that_cannot_be_set_is_explained() {
        assert_eq!(
            wrong("/set temperature"),
            "`/set temperature` lacks a value"
        );
        assert_eq!(
            wrong("/set temperature warm"),
            "`warm` is no value of temperature"
        );
        assert_eq!(wrong("/set max-tokens 0"), "`0` is no value of max-tokens");
        assert!(
            wrong("/set tone friendly")
                .starts_with("there is no `tone` to set, but temperature, top-p,")
        );
    }

    #[test]
    fn instructions_keep_their_inner_space() {
        assert!(
            matches!(Command::parse("/system You are  a pirate. "), Command::System(text) if text == "You are  a pirate.")
        );
        assert!(matches!(Command::parse("/system"), Command::ShowSystem));
    }

    #[test]
    fn every_command_of_the_help_exists_and_others_do_not() {
        for name in NAMES {
            assert!(HELP.contains(name.trim()), "{name}");
            assert!(
                !matches!(Command::parse(name.trim()), Command::Wrong(_)),
                "{name}"
            );
        }
        assert!(wrong("/etc/passwd what is that?").contains("no command /etc/passwd"));
    }

    #[test]
    fn the_sampling_is_described_with_the_names_that_set_takes() {
        let sampling = SamplingParams {
            top_k: Some(40),
            seed: Some(7),
            ..SamplingParams::default()
        };
        let line = describe_sampling(&sampling);
        assert!(
            line.contains("top-k 40 · ") && line.contains("seed 7 · "),
            "{line}"
        );
        for part in line.split(" · ") {
            let name = part.split(' ').next().unwrap();
            assert!(
                Set::command()
                    .get_arguments()
                    .any(|arg| arg.get_long() == Some(name)),
                "{name}"
            );
        }
    }
}
