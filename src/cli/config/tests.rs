use std::ffi::OsString;

use anyhow::Result;
use clap::{ArgMatches, CommandFactory};

use super::file::Config;
use super::layers::{layered, named_file};
use super::{entries, entry, keys};
use crate::cli::{Cli, variables};

fn parse(text: &str) -> Result<Config> {
    let mut command = variables::with_variables(Cli::command());
    command.build();
    Config::parse(text, "matou.toml", &command, &entry::command())
}

fn serve(text: &str, line: &[&str]) -> ArgMatches {
    let config = parse(text).unwrap();
    let command = layered(variables::with_variables(Cli::command()), "", &config);
    let line = ["matou", "serve"].iter().chain(line);
    let matches = command.try_get_matches_from(line).unwrap();
    matches.subcommand_matches("serve").unwrap().clone()
}

#[test]
fn a_flag_comes_before_the_file_and_the_file_before_the_default() {
    let text = "port = 9000\nmax-num-seqs = 3\nany_model_name = true\n[serve]\nmax-num-seqs = 4\n";
    let matches = serve(text, &["--port", "9001"]);
    assert_eq!(matches.get_one::<u16>("port"), Some(&9001));
    assert_eq!(matches.get_one::<usize>("max_num_seqs"), Some(&4));
    assert!(matches.get_flag("any_model_name"));
    assert_eq!(matches.get_one::<u64>("body_timeout"), Some(&60));
    assert_eq!(serve(text, &[]).get_one::<u16>("port"), Some(&9000));
}

#[test]
fn lists_are_flags_that_are_given_several_times() {
    let matches = serve("api-key = [\"a\", \"b\"]\nallowed-hosts = \"one,two\"", &[]);
    let of = |id: &str| -> Vec<String> { matches.get_many(id).unwrap().cloned().collect() };
    assert_eq!(of("api_key"), ["a", "b"]);
    assert_eq!(of("allowed_hosts"), ["one", "two"]);
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_what_was_meant() {
    for (text, parts) in [
        (
            "\nmax-model-lem = 1",
            &["matou.toml:2", "did you mean `max-model-len`?"][..],
        ),
        (
            "port = 70000",
            &["matou.toml:1", "`port` cannot be \"70000\"", "65535"],
        ),
        ("port = [1, 2]", &["matou.toml:1", "one value"]),
        (
            "device = \"tpu\"",
            &["matou.toml:1", "`device` cannot be \"tpu\""],
        ),
        ("any-model-name = \"maybe\"", &["true or false"]),
        (
            "[sevre]\nport = 1",
            &["matou.toml:1", "did you mean `serve`?"],
        ),
        ("[run]\nport = 1", &["matou.toml:2", "no setting `port`"]),
        ("port = 1\nport = 2", &["matou.toml:2", "duplicate key"]),
        ("port = ", &["matou.toml:1"]),
        ("model = \"smollm2\"", &["matou.toml:1", "[[model]]"]),
        (
            "[[model]]\nmodel = \"a\"\nthreads = 2",
            &["matou.toml:3", "no setting `threads`"],
        ),
        (
            "[[model]]\nmodel = \"a\"\nkeep-alive = \"soon\"",
            &["matou.toml:3", "soon"],
        ),
        ("port = { a = 1 }", &["matou.toml:1"]),
        (
            "config = \"other.toml\"",
            &["matou.toml:1", "no setting `config`"],
        ),
        ("host = 1979-05-27", &["matou.toml:1", "must be a text"]),
    ] {
        let error = format!("{:#}", parse(text).unwrap_err());
        for part in parts {
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}

#[test]
fn a_model_has_settings_of_its_own_and_else_those_of_all() {
    let text = "max-model-len = 100\nquantize = \"q8_0\"\n\
        [[model]]\nmodel = \"a\"\n\
        [[model]]\nmodel = \"b\"\nname = [\"x\", \"y\"]\nmax-model-len = 50\npinned = true\nkeep-alive = \"5m\"\n";
    let config = parse(text).unwrap();
    let models = entries(&config, &serve(text, &["--kv-cache-dtype", "q8"])).unwrap();
    let lengths: Vec<_> = models
        .iter()
        .map(|model| model.options.max_model_len)
        .collect();
    assert_eq!(lengths, [Some(100), Some(50)]);
    assert!(
        models
            .iter()
            .all(|model| model.options.weights.quantize.is_some())
    );
    assert_eq!(models[1].name, ["x", "y"]);
    assert!(models[1].pinned && !models[0].pinned);
    let kept = models
        .iter()
        .map(|model| model.keep_alive.unwrap().to_string());
    assert_eq!(kept.collect::<Vec<_>>(), ["-1", "300s"]);
    let nameless = entries(&parse("[[model]]\npinned = true").unwrap(), &serve("", &[]));
    assert!(format!("{:#}", nameless.unwrap_err()).contains("matou.toml:1"));
}

#[test]
fn the_file_that_is_named_is_found_before_the_line_is_read() {
    let named = |line: &[&str]| named_file(&line.iter().map(OsString::from).collect::<Vec<_>>());
    assert_eq!(
        named(&["matou", "--config", "a", "serve"]),
        Some("a".into())
    );
    assert_eq!(named(&["matou", "serve", "--config=b"]), Some("b".into()));
    assert_eq!(named(&["matou", "run", "--", "--config", "c"]), None);
}

#[test]
fn the_documentation_lists_every_setting() {
    const DOCS: &str = include_str!("../../../docs/configuration.md");
    assert!(
        DOCS.contains(&keys::table(Cli::command())),
        "docs/configuration.md is not what `matou config keys` prints"
    );
}
