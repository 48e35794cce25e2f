//! `matou persona`: character cards, looked at, checked, taken in and handed on.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use matou_persona::{Persona, Scene, SystemMessages};
use serde_json::json;

use super::cards;
use super::terminal::print_all;

/// Options of `matou persona`.
#[derive(Debug, Args)]
pub struct PersonaArgs {
    #[command(subcommand)]
    command: PersonaCommand,
}

/// What is done with cards.
#[derive(Debug, Subcommand)]
enum PersonaCommand {
    /// Check cards, and put them into a folder of personas, as they are.
    Import {
        /// The cards: PNG, JSON, CHARX or TOML.
        #[arg(value_name = "CARD", required = true)]
        cards: Vec<PathBuf>,
        /// The folder, which `matou serve --personas` serves.
        #[arg(long, value_name = "DIR")]
        into: PathBuf,
        /// Replace cards of the same name.
        #[arg(long)]
        force: bool,
    },
    /// Say what is wrong with cards, and what of them is not honoured.
    Check {
        /// The cards, or folders of them.
        #[arg(value_name = "CARD", required = true)]
        cards: Vec<PathBuf>,
    },
    /// Show who a card is, and what the model is told.
    Show {
        /// The card.
        #[arg(value_name = "CARD")]
        card: PathBuf,
        /// Print the open part of the card as JSON, as `GET /v1/personas/{name}` tells it.
        #[arg(long)]
        json: bool,
        /// Print the messages that a conversation begins with.
        #[arg(long)]
        prompt: bool,
    },
    /// Write a card in another form; nothing that both forms have is lost.
    Export {
        /// The card.
        #[arg(value_name = "CARD")]
        card: PathBuf,
        /// The file to write.
        #[arg(value_name = "FILE")]
        to: PathBuf,
        /// The form [default: by the file's name].
        #[arg(long, value_enum)]
        form: Option<Form>,
        /// A PNG file to put the card into, of the form png.
        #[arg(long, value_name = "PNG")]
        picture: Option<PathBuf>,
        /// Replace the file if it is there.
        #[arg(long)]
        force: bool,
    },
}

/// Forms of cards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A picture with the card in it, as V2 and V3.
    Png,
    /// Character Card V3.
    Json,
    /// Character Card V2.
    JsonV2,
    /// An archive with the card and its assets.
    Charx,
    /// This program's own.
    Toml,
}

/// Runs the command.
pub(super) fn run(args: PersonaArgs) -> Result<ExitCode> {
    match args.command {
        PersonaCommand::Import { cards, into, force } => {
            std::fs::create_dir_all(&into)
                .with_context(|| format!("cannot make the folder {}", into.display()))?;
            for card in &cards {
                import(card, &into, force)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        PersonaCommand::Check { cards } => check(&cards),
        PersonaCommand::Show { card, json, prompt } => {
            let persona = cards::read(&card)?;
            let text = match (json, prompt) {
                (true, _) => serde_json::to_string_pretty(&persona.profile())? + "\n",
                (false, true) => serde_json::to_string_pretty(&beginning(&persona)?)? + "\n",
                (false, false) => described(&persona),
            };
            print_all(&text)?;
            Ok(ExitCode::SUCCESS)
        }
        PersonaCommand::Export {
            card,
            to,
            form,
            picture,
            force,
        } => {
            export(&card, &to, form, picture.as_deref(), force)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn import(card: &Path, into: &Path, force: bool) -> Result<()> {
    let persona = cards::read(card).with_context(|| card.display().to_string())?;
    let file = card.file_name().context("a card is a file with a name")?;
    let to = into.join(file);
    ensure!(
        force || !to.exists(),
        "{} is there already; --force replaces it",
        to.display()
    );
    std::fs::copy(card, &to)
        .with_context(|| format!("cannot copy {} to {}", card.display(), to.display()))?;
    print_all(&format!(
        "{} is `{}`; {}\n",
        to.display(),
        persona.id(),
        match persona.findings().len() {
            0 => "all of it is honoured".to_owned(),
            n => format!("{n} of its parts are not honoured (matou persona check)"),
        }
    ))
}

fn check(paths: &[PathBuf]) -> Result<ExitCode> {
    let mut text = String::new();
    let mut is_sound = true;
    for path in paths {
        for file in cards::found(path)? {
            match cards::read(&file) {
                Ok(persona) => {
                    let _ = writeln!(text, "{}: `{}`", file.display(), persona.id());
                    for finding in persona.findings() {
                        let _ = writeln!(text, "  not honoured: {finding}");
                    }
                }
                Err(error) => {
                    is_sound = false;
                    let _ = writeln!(text, "{}: {error:#}", file.display());
                }
            }
        }
    }
    print_all(&text)?;
    Ok(ExitCode::from(u8::from(!is_sound)))
}

/// What a conversation with the persona begins with.
fn beginning(persona: &Persona) -> Result<Vec<serde_json::Value>> {
    let messages = [json!({"role": "user", "content": "…"})];
    let composed = persona.compose(&Scene {
        messages: &messages,
        user: None,
        greeting: 0,
        continues: false,
        now: None,
        // About so many letters are a token.
        count_tokens: &|text| text.len() / 4,
    })?;
    Ok(composed.messages)
}

fn described(persona: &Persona) -> String {
    let profile = persona.profile();
    let mut text = format!("{} (`{}`, {})\n", profile.name, profile.id, profile.spec);
    let mut line = |what: &str, value: &str| {
        if !value.trim().is_empty() {
            let _ = writeln!(
                text,
                "{what:16}{}",
                value.trim().replace('\n', "\n                ")
            );
        }
    };
    line("nickname", profile.nickname.as_deref().unwrap_or_default());
    line(
        "model",
        profile.model.as_deref().unwrap_or("the server's first"),
    );
    line("creator", &profile.creator);
    line("version", &profile.character_version);
    line("tags", &profile.tags.join(", "));
    line("notes", &profile.creator_notes);
    line("picture", if profile.has_picture { "yes" } else { "no" });
    line(
        "system messages",
        match persona.system_messages() {
            SystemMessages::Add => "of clients are added",
            SystemMessages::Refuse => "of clients are refused",
        },
    );
    for (i, greeting) in profile.greetings.iter().enumerate() {
        line(&format!("greeting {i}"), greeting);
    }
    text
}

fn export(
    card: &Path,
    to: &Path,
    form: Option<Form>,
    picture: Option<&Path>,
    force: bool,
) -> Result<()> {
    let persona = cards::read(card)?;
    let form = match (form, to.extension().and_then(|it| it.to_str())) {
        (Some(form), _) => form,
        (None, Some("png")) => Form::Png,
        (None, Some("json")) => Form::Json,
        (None, Some("charx")) => Form::Charx,
        (None, Some("toml")) => Form::Toml,
        _ => bail!(
            "{} does not say which form it is: give --form",
            to.display()
        ),
    };
    ensure!(
        picture.is_none() || form == Form::Png,
        "--picture is for the form png"
    );
    let picture = picture
        .map(std::fs::read)
        .transpose()
        .context("cannot read the picture")?;
    let bytes = match form {
        Form::Png => persona.to_png(picture.as_deref())?,
        Form::Json => persona.to_json().into_bytes(),
        Form::JsonV2 => persona.to_json_v2().into_bytes(),
        Form::Charx => persona.to_charx()?,
        Form::Toml => persona.to_toml()?.into_bytes(),
    };
    ensure!(
        force || !to.exists(),
        "{} is there already; --force replaces it",
        to.display()
    );
    std::fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()))
}
