//! An entry of a book: what it says, when, and where it stands.

use super::decorators::{self, Beside, Decorators, Role};
use super::fields::{Fields, whole};
use crate::error::PersonaError;

/// Where an entry stands in the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    BeforeCharacter,
    AfterCharacter,
    Beside(Beside),
    /// So many messages from the end.
    Depth(usize, Role),
}

/// An entry as the card states it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its path in the card.
    pub(crate) path: String,
    pub(crate) keys: Vec<String>,
    pub(crate) secondary_keys: Vec<String>,
    /// The text, without decorators.
    pub(crate) content: String,
    pub(crate) decorators: Decorators,
    pub(crate) is_enabled: bool,
    pub(crate) is_constant: bool,
    pub(crate) is_selective: bool,
    pub(crate) is_case_sensitive: bool,
    /// Keys are regular expressions even where they do not look like one.
    pub(crate) uses_regex: bool,
    pub(crate) order: f64,
    pub(crate) priority: f64,
    pub(crate) place: Place,
    /// Its own scan depth, of whoever stated one.
    pub(crate) scan_depth: Option<usize>,
    /// What it asks for and does not get.
    pub(crate) unhonoured: Vec<(String, &'static str)>,
}

impl Entry {
    pub(crate) fn read(fields: &Fields<'_>, path: String) -> Result<Self, PersonaError> {
        let content = fields.text("content")?;
        let (decorators, content) = decorators::split(&content);
        let extensions = fields.foreign("extensions");
        let silly = extensions.as_ref();
        let silly_number = |key: &str| silly.and_then(|silly| silly.foreign_number(key));
        let mut unhonoured = Vec::new();
        let place = place(fields, silly, &decorators, &mut unhonoured);
        if let Some(silly) = silly {
            unhonoured_of_silly(silly, &mut unhonoured);
        }
        // SillyTavern writes `use_regex` into every entry and means only keys of the form /…/.
        let is_silly = silly_number("position").is_some();
        Ok(Self {
            path,
            keys: keys(fields, "keys")?,
            secondary_keys: keys(fields, "secondary_keys")?,
            content: content.to_owned(),
            is_enabled: fields.flag("enabled")?.unwrap_or(true),
            is_constant: fields.flag("constant")?.unwrap_or(false),
            is_selective: fields.flag("selective")?.unwrap_or(false),
            is_case_sensitive: fields
                .flag("case_sensitive")?
                .or_else(|| silly?.foreign_flag("case_sensitive"))
                .unwrap_or(false),
            uses_regex: fields.flag("use_regex")?.unwrap_or(false) && !is_silly,
            order: fields.number("insertion_order")?.unwrap_or(0.0),
            priority: fields.number("priority")?.unwrap_or(0.0),
            scan_depth: decorators
                .scan_depth
                .or_else(|| silly_number("scan_depth").map(whole)),
            decorators,
            place,
            unhonoured,
        })
    }
}

fn keys(fields: &Fields<'_>, key: &str) -> Result<Vec<String>, PersonaError> {
    let keys = fields
        .texts(key)?
        .into_iter()
        .map(|key| key.trim().to_owned());
    Ok(keys.filter(|key| !key.is_empty()).collect())
}

/// Decorators first, since the author wrote them for everybody; then SillyTavern's number, which is
/// finer than the field; then the field. An entry that says nothing stands behind the character.
fn place(
    fields: &Fields<'_>,
    silly: Option<&Fields<'_>>,
    decorators: &Decorators,
    unhonoured: &mut Vec<(String, &'static str)>,
) -> Place {
    if let Some(position) = decorators.position {
        return Place::Beside(position);
    }
    if let Some(depth) = decorators.depth {
        return Place::Depth(depth, decorators.role.unwrap_or(Role::System));
    }
    let of_silly =
        silly.and_then(|silly| Some((silly.foreign_number("position")?, silly.path("position"))));
    let number =
        of_silly.or_else(|| Some((fields.foreign_number("position")?, fields.path("position"))));
    if let Some((number, path)) = number {
        return match number as i64 {
            0 => Place::BeforeCharacter,
            1 => Place::AfterCharacter,
            4 => depth_of_silly(silly),
            5 => Place::Beside(Beside::BeforeExamples),
            6 => Place::Beside(Beside::AfterExamples),
            _ => {
                unhonoured.push((
                    path,
                    "a position that does not exist here; the entry stands behind the character",
                ));
                Place::AfterCharacter
            }
        };
    }
    match fields.value("position").and_then(serde_json::Value::as_str) {
        Some("before_char") => Place::BeforeCharacter,
        Some("after_char") | None => Place::AfterCharacter,
        Some(_) => {
            let problem =
                "neither before_char nor after_char; the entry stands behind the character";
            unhonoured.push((fields.path("position"), problem));
            Place::AfterCharacter
        }
    }
}

/// SillyTavern's `depth`, 4 where it is not stated, and `role`.
fn depth_of_silly(silly: Option<&Fields<'_>>) -> Place {
    let number = |key: &str| silly.and_then(|silly| silly.foreign_number(key));
    let role = match number("role").map(|role| role as i64) {
        Some(1) => Role::User,
        Some(2) => Role::Assistant,
        _ => Role::System,
    };
    Place::Depth(number("depth").map_or(4, whole), role)
}

/// What SillyTavern can do with entries and this server cannot.
fn unhonoured_of_silly(silly: &Fields<'_>, unhonoured: &mut Vec<(String, &'static str)>) {
    let number = |key: &str| silly.foreign_number(key).unwrap_or(0.0);
    let flag = |key: &str| silly.foreign_flag(key).unwrap_or(false);
    let is_text = |key: &str| {
        let text = silly.value(key).and_then(serde_json::Value::as_str);
        text.is_some_and(|text| !text.trim().is_empty())
    };
    let probability = silly.foreign_number("probability").unwrap_or(100.0);
    let uses_probability = silly.foreign_flag("useProbability").unwrap_or(true);
    let chances = [
        (
            "probability",
            probability < 100.0 && uses_probability,
            "chance is not used; the entry always counts",
        ),
        (
            "selectiveLogic",
            number("selectiveLogic") != 0.0,
            "secondary keys are only ever: one of them must occur",
        ),
        (
            "match_whole_words",
            flag("match_whole_words"),
            "keys match inside words too",
        ),
        (
            "exclude_recursion",
            flag("exclude_recursion"),
            "other entries can call this one",
        ),
        (
            "prevent_recursion",
            flag("prevent_recursion"),
            "this entry can call other entries",
        ),
        (
            "delay_until_recursion",
            flag("delay_until_recursion") || number("delay_until_recursion") > 0.0,
            "the entry does not wait for others",
        ),
        (
            "group",
            is_text("group"),
            "entries of a group are not chosen between",
        ),
        (
            "vectorized",
            flag("vectorized"),
            "entries are found by keys only",
        ),
        ("sticky", number("sticky") > 0.0, "the entry does not stay"),
        (
            "cooldown",
            number("cooldown") > 0.0,
            "the entry does not pause",
        ),
        ("delay", number("delay") > 0.0, "the entry does not wait"),
    ];
    let asked = chances.into_iter().filter(|(_, is_asked, _)| *is_asked);
    unhonoured.extend(asked.map(|(key, _, problem)| (silly.path(key), problem)));
}
