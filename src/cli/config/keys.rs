//! The table of all settings, made from the flags themselves.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use super::entry;
use super::file::CONFIG;
use crate::cli::variables;

/// A flag, and the commands that have it.
struct Row {
    arg: Arg,
    commands: Vec<String>,
}

/// All settings as a table in Markdown: `docs/configuration.md` has it, and a test that it does.
pub(super) fn table(mut command: Command) -> String {
    command.build();
    let mut rows = BTreeMap::new();
    collect(&command, "", &mut rows);
    let mut text = String::from(
        "| flag | variable | key | commands | default | |\n|---|---|---|---|---|---|\n",
    );
    for Row { arg, commands } in rows.values() {
        let Some(long) = arg.get_long() else { continue };
        let variable = variables::variable(arg).unwrap_or_default();
        let key = match long {
            // A file cannot say which file is read.
            CONFIG => String::new(),
            long => format!("`{long}`"),
        };
        let _ = writeln!(
            text,
            "| `--{long}{}` | `{variable}` | {key} | {} | {} | {} |",
            value_of(arg),
            commands.join(", "),
            default_of(arg),
            help_of(arg),
        );
    }
    text.push_str(
        "\nIn a table `[[model]]`, for that model:\n\n| key | default | |\n|---|---|---|\n",
    );
    let model = entry::command();
    let own = model
        .get_arguments()
        .filter(|arg| variables::variable(arg).is_some());
    for arg in own.filter(|arg| arg.get_long().is_some_and(|long| !long.starts_with("not-"))) {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            arg.get_long().unwrap_or_default(),
            default_of(arg),
            help_of(arg)
        );
    }
    text
}

fn collect(command: &Command, path: &str, rows: &mut BTreeMap<(String, String), Row>) {
    for arg in command.get_arguments() {
        let Some(long) = arg
            .get_long()
            .filter(|_| variables::variable(arg).is_some())
        else {
            continue;
        };
        // The same flag may mean another thing elsewhere.
        let key = (long.to_owned(), help_of(arg));
        let row = rows.entry(key).or_insert_with(|| Row {
            arg: arg.clone(),
            commands: Vec::new(),
        });
        let is_global = arg.is_global_set();
        let name = match (is_global, path) {
            (true, _) | (_, "") => "all".to_owned(),
            (_, path) => format!("`{path}`"),
        };
        if !row.commands.contains(&name) {
            row.commands.push(name);
        }
    }
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
    {
        let name = below.get_name();
        let path = match path {
            "" => name.to_owned(),
            path => format!("{path} {name}"),
        };
        collect(below, &path, rows);
    }
}

fn value_of(arg: &Arg) -> String {
    if !arg.get_action().takes_values() {
        return String::new();
    }
    let names = arg.get_value_names().unwrap_or_default();
    let name = names.first().map_or("VALUE", |name| name.as_str());
    format!(" {}", name.replace('|', "\\|"))
}

fn default_of(arg: &Arg) -> String {
    let values = arg.get_default_values().iter();
    let values: Vec<String> = values
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    match (values.is_empty(), arg.get_action()) {
        (_, ArgAction::SetTrue) => "`false`".to_owned(),
        (true, _) => String::new(),
        (false, _) => format!("`{}`", values.join(",")),
    }
}

fn help_of(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    help.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}
