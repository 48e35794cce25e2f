//! Reads a card's fields.
//!
//! V1 is flat; V2 and V3 keep the fields in `data`. A V3 card is a V2 card with more fields, and
//! whatever a card has is read, whichever version it states: editors mix them.

use serde_json::{Number, Value};

use super::entry::Entry;
use super::fields::Fields;
use super::name;
use super::settings::Settings;
use crate::error::PersonaError;
use crate::limits::{DEFAULT_SCAN_DEPTH, DEFAULT_TOKEN_BUDGET, MAX_ENTRIES, MAX_GREETINGS};

/// Which specification a card follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spec {
    /// Flat, without a version.
    V1,
    /// `chara_card_v2`.
    V2,
    /// `chara_card_v3`.
    V3,
}

impl Spec {
    /// What the card's field `spec` says; V1 cards have none.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "chara_card_v1",
            Self::V2 => "chara_card_v2",
            Self::V3 => "chara_card_v3",
        }
    }
}

/// An asset as the card states it.
#[derive(Debug, Clone)]
pub(crate) struct Asset {
    pub(crate) path: String,
    pub(crate) kind: String,
    pub(crate) uri: String,
    pub(crate) name: String,
}

/// The book.
#[derive(Debug, Clone)]
pub(crate) struct Book {
    pub(crate) path: String,
    pub(crate) scan_depth: usize,
    pub(crate) token_budget: usize,
    pub(crate) is_recursive: bool,
    pub(crate) entries: Vec<Entry>,
}

/// A card.
#[derive(Debug, Clone)]
pub(crate) struct Card {
    pub(crate) spec: Spec,
    /// The JSON that it was read from, with all that is not known here.
    pub(crate) json: Value,
    /// Where the character's fields are: `data`, or nothing.
    pub(crate) path: &'static str,
    pub(crate) name: String,
    pub(crate) nickname: Option<String>,
    pub(crate) description: String,
    pub(crate) personality: String,
    pub(crate) scenario: String,
    pub(crate) examples: String,
    pub(crate) system_prompt: String,
    pub(crate) post_history_instructions: String,
    /// `first_mes`, then the alternate greetings; empty where there are none at all.
    pub(crate) greetings: Vec<String>,
    pub(crate) group_greetings: usize,
    pub(crate) creator: String,
    pub(crate) creator_notes: String,
    pub(crate) character_version: String,
    pub(crate) tags: Vec<String>,
    pub(crate) source: Vec<String>,
    pub(crate) creation_date: Option<Number>,
    pub(crate) modification_date: Option<Number>,
    pub(crate) assets: Vec<Asset>,
    pub(crate) book: Option<Book>,
    pub(crate) settings: Settings,
}

impl Card {
    pub(crate) fn read(json: Value) -> Result<Self, PersonaError> {
        let root = Fields::of(&json, "")?;
        let spec = spec(&root)?;
        let path = if spec == Spec::V1 { "" } else { "data" };
        let data = match spec {
            Spec::V1 => root,
            _ => root.object("data")?.ok_or(PersonaError::NoName {
                path: "data.name".into(),
            })?,
        };
        let Some(name) = name::read(&data, "name")? else {
            return Err(PersonaError::NoName {
                path: data.path("name"),
            });
        };
        // Extensions are other programs', and some write a list where there are none.
        let extensions = data.foreign("extensions");
        let matou = extensions.map(|extensions| extensions.object("matou"));
        let dates = |key: &str| match data.value(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number.clone())),
            Some(other) => Err(data.wrong(key, "a number (seconds since 1970)", other)),
        };
        Ok(Self {
            spec,
            path,
            name,
            nickname: name::read(&data, "nickname")?,
            description: data.text("description")?,
            personality: data.text("personality")?,
            scenario: data.text("scenario")?,
            examples: data.text("mes_example")?,
            system_prompt: data.text("system_prompt")?,
            post_history_instructions: data.text("post_history_instructions")?,
            greetings: greetings(&data)?,
            group_greetings: data.texts("group_only_greetings")?.len(),
            creator: data.text("creator")?,
            creator_notes: creator_notes(&data)?,
            character_version: data.text_or_number("character_version")?,
            tags: data.texts("tags")?,
            source: sources(&data)?,
            creation_date: dates("creation_date")?,
            modification_date: dates("modification_date")?,
            assets: assets(&data)?,
            book: data.object("character_book")?.map(Book::read).transpose()?,
            settings: Settings::read(matou.transpose()?.flatten())?,
            json,
        })
    }

    /// The character's fields in the JSON.
    pub(crate) fn data(&self) -> Option<Fields<'_>> {
        let value = match self.path {
            "" => &self.json,
            path => self.json.get(path)?,
        };
        Fields::of(value, self.path).ok()
    }

    /// The path of a field of the character.
    pub(crate) fn field(&self, key: &str) -> String {
        match self.path {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    /// What `{{char}}` is.
    pub(crate) fn char_name(&self) -> &str {
        self.nickname.as_deref().unwrap_or(&self.name)
    }

    /// The asset that is the character's picture.
    pub(crate) fn main_icon(&self) -> Option<&Asset> {
        let mut icons = self.assets.iter().filter(|asset| asset.kind == "icon");
        let first = icons.clone().next();
        icons.find(|icon| icon.name == "main").or(first)
    }
}

/// A card of a version that is not known yet is read as the newest that is, as the specification
/// asks. One without a version but with `data` lost the version on its way.
fn spec(root: &Fields<'_>) -> Result<Spec, PersonaError> {
    match root.filled("spec")?.as_deref() {
        Some("chara_card_v2") => Ok(Spec::V2),
        Some("lorebook_v3") => Err(root.invalid(
            "spec",
            "says that this is a book alone (lorebook_v3), without a character: put it into a card as `character_book`",
        )),
        Some(_) if root.value("data").is_some() => Ok(Spec::V3),
        Some(other) => {
            Err(root.invalid("spec", format!("is {other:?}, and such a card needs an object `data`")))
        }
        None if root.foreign("data").is_some_and(|data| data.value("name").is_some()) => Ok(Spec::V2),
        None => Ok(Spec::V1),
    }
}

fn greetings(data: &Fields<'_>) -> Result<Vec<String>, PersonaError> {
    let alternate = data.texts("alternate_greetings")?;
    at_most(
        data,
        "alternate_greetings",
        alternate.len(),
        MAX_GREETINGS - 1,
    )?;
    let mut greetings = vec![data.text("first_mes")?];
    greetings.extend(alternate);
    match greetings.iter().all(|greeting| greeting.trim().is_empty()) {
        true => Ok(Vec::new()),
        false => Ok(greetings),
    }
}

/// The English notes: those of other languages say the same.
fn creator_notes(data: &Fields<'_>) -> Result<String, PersonaError> {
    let english = match data.object("creator_notes_multilingual")? {
        Some(notes) => notes.filled("en")?,
        None => None,
    };
    match english {
        Some(notes) => Ok(notes),
        None => data.text("creator_notes"),
    }
}

/// A list, or one alone.
fn sources(data: &Fields<'_>) -> Result<Vec<String>, PersonaError> {
    match data.value("source") {
        Some(Value::String(one)) if one.trim().is_empty() => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        _ => data.texts("source"),
    }
}

fn assets(data: &Fields<'_>) -> Result<Vec<Asset>, PersonaError> {
    let elements = data.list("assets")?.iter().enumerate();
    elements
        .map(|(index, element)| {
            let path = data.path(&format!("assets[{index}]"));
            let fields = Fields::of(element, path.clone())?;
            Ok(Asset {
                path,
                kind: fields.text("type")?,
                uri: fields.text("uri")?,
                name: fields.text("name")?,
            })
        })
        .collect()
}

fn at_most(fields: &Fields<'_>, key: &str, count: usize, limit: usize) -> Result<(), PersonaError> {
    if count > limit {
        return Err(PersonaError::TooMany {
            path: fields.path(key),
            count,
            limit,
        });
    }
    Ok(())
}

impl Book {
    fn read(fields: Fields<'_>) -> Result<Self, PersonaError> {
        let elements = fields.list("entries")?;
        at_most(&fields, "entries", elements.len(), MAX_ENTRIES)?;
        let entries = elements.iter().enumerate().map(|(index, element)| {
            let path = fields.path(&format!("entries[{index}]"));
            Entry::read(&Fields::of(element, path.clone())?, path)
        });
        Ok(Self {
            path: fields.here().to_owned(),
            scan_depth: fields.count("scan_depth")?.unwrap_or(DEFAULT_SCAN_DEPTH),
            token_budget: fields
                .count("token_budget")?
                .unwrap_or(DEFAULT_TOKEN_BUDGET),
            is_recursive: fields.flag("recursive_scanning")?.unwrap_or(false),
            entries: entries.collect::<Result<_, PersonaError>>()?,
        })
    }
}
