//! The TOML form of cards, which people write by hand. It becomes the JSON of a V3 card and is read
//! as one, so that both forms mean the same.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::decorators::Role;
use super::entry::{Entry, Place};
use super::read::{Book, Card};
use super::settings::{Sampling, SystemMessages};
use crate::error::PersonaError;

/// A card in TOML. A key that is not known is an error: this form is our own, so it is a slip.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TomlCard {
    name: String,
    id: Option<String>,
    nickname: Option<String>,
    model: Option<String>,
    creator: String,
    creator_notes: String,
    version: String,
    tags: Vec<String>,
    user_name: Option<String>,
    system_messages: SystemMessages,
    stop: Vec<String>,
    description: String,
    personality: String,
    scenario: String,
    system_prompt: String,
    post_history_instructions: String,
    greeting: Option<String>,
    greetings: Vec<String>,
    examples: String,
    picture: Option<String>,
    sampling: Sampling,
    book: Option<TomlBook>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TomlBook {
    scan_depth: Option<usize>,
    token_budget: Option<usize>,
    recursive_scanning: Option<bool>,
    entries: Vec<TomlEntry>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TomlEntry {
    keys: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secondary_keys: Vec<String>,
    content: String,
    enabled: Option<bool>,
    constant: Option<bool>,
    selective: Option<bool>,
    case_sensitive: Option<bool>,
    use_regex: Option<bool>,
    insertion_order: Option<f64>,
    priority: Option<f64>,
    position: Option<String>,
    comment: Option<String>,
}

/// The JSON of the card that a TOML text states.
pub(crate) fn read(text: &str) -> Result<Value, PersonaError> {
    let card: TomlCard = toml::from_str(text).map_err(|error| PersonaError::Toml {
        problem: error.to_string(),
    })?;
    let mut greetings = card.greetings;
    let first = match card.greeting {
        Some(greeting) => greeting,
        None if greetings.is_empty() => String::new(),
        None => greetings.remove(0),
    };
    let mut matou = json!({
        "id": card.id,
        "model": card.model,
        "system_messages": card.system_messages,
        "user_name": card.user_name,
        "stop": card.stop,
        "sampling": card.sampling,
    });
    without_nulls(&mut matou);
    let mut data = json!({
        "name": card.name,
        "nickname": card.nickname,
        "description": card.description,
        "personality": card.personality,
        "scenario": card.scenario,
        "first_mes": first,
        "mes_example": card.examples,
        "creator_notes": card.creator_notes,
        "system_prompt": card.system_prompt,
        "post_history_instructions": card.post_history_instructions,
        "alternate_greetings": greetings,
        "group_only_greetings": [],
        "tags": card.tags,
        "creator": card.creator,
        "character_version": card.version,
        "assets": card.picture.map(|uri| json!([
            {"type": "icon", "uri": uri, "name": "main", "ext": "unknown"},
        ])),
        "character_book": card.book.map(book),
        "extensions": {"matou": matou},
    });
    without_nulls(&mut data);
    Ok(json!({"spec": "chara_card_v3", "spec_version": "3.0", "data": data}))
}

fn book(book: TomlBook) -> Value {
    let entries = book.entries.into_iter().map(|entry| {
        let mut entry = json!({
            "keys": entry.keys,
            "secondary_keys": entry.secondary_keys,
            "content": entry.content,
            "enabled": entry.enabled.unwrap_or(true),
            "constant": entry.constant,
            "selective": entry.selective,
            "case_sensitive": entry.case_sensitive,
            "use_regex": entry.use_regex.unwrap_or(false),
            "insertion_order": entry.insertion_order.unwrap_or(0.0),
            "priority": entry.priority,
            "position": entry.position,
            "comment": entry.comment,
            "extensions": {},
        });
        without_nulls(&mut entry);
        entry
    });
    let mut book = json!({
        "scan_depth": book.scan_depth,
        "token_budget": book.token_budget,
        "recursive_scanning": book.recursive_scanning,
        "extensions": {},
        "entries": entries.collect::<Vec<_>>(),
    });
    without_nulls(&mut book);
    book
}

fn without_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        let filled = std::mem::take(map)
            .into_iter()
            .filter(|(_, value)| !value.is_null());
        *map = filled.collect::<Map<_, _>>();
    }
}

/// The card in TOML: all that a prompt is made of, with this picture.
pub(crate) fn write(card: &Card, picture: Option<String>) -> Result<String, PersonaError> {
    let settings = &card.settings;
    let mut greetings = card.greetings.clone();
    let greeting = match greetings.len() {
        1 => greetings.pop(),
        _ => None,
    };
    let form = TomlCard {
        name: card.name.clone(),
        id: settings.id.clone(),
        nickname: card.nickname.clone(),
        model: settings.model.clone(),
        creator: card.creator.clone(),
        creator_notes: card.creator_notes.clone(),
        version: card.character_version.clone(),
        tags: card.tags.clone(),
        user_name: settings.user_name.clone(),
        system_messages: settings.system_messages,
        stop: settings.stop.clone(),
        description: card.description.clone(),
        personality: card.personality.clone(),
        scenario: card.scenario.clone(),
        system_prompt: card.system_prompt.clone(),
        post_history_instructions: card.post_history_instructions.clone(),
        greeting,
        greetings,
        examples: card.examples.clone(),
        picture,
        sampling: settings.sampling.clone(),
        book: card.book.as_ref().map(written_book),
    };
    toml::to_string_pretty(&form).map_err(|error| PersonaError::Write {
        form: "TOML",
        problem: error.to_string(),
    })
}

fn written_book(book: &Book) -> TomlBook {
    TomlBook {
        scan_depth: Some(book.scan_depth),
        token_budget: Some(book.token_budget),
        recursive_scanning: Some(book.is_recursive),
        entries: book.entries.iter().map(written_entry).collect(),
    }
}

/// Places that only other programs' extensions can state become decorators.
fn written_entry(entry: &Entry) -> TomlEntry {
    let mut content = decorated(entry);
    content.push_str(&entry.content);
    let position = match entry.place {
        Place::BeforeCharacter => Some("before_char".to_owned()),
        _ => None,
    };
    TomlEntry {
        keys: entry.keys.clone(),
        secondary_keys: entry.secondary_keys.clone(),
        content,
        enabled: Some(entry.is_enabled),
        constant: Some(entry.is_constant),
        selective: Some(entry.is_selective),
        case_sensitive: Some(entry.is_case_sensitive),
        use_regex: Some(entry.uses_regex),
        insertion_order: Some(entry.order),
        priority: Some(entry.priority),
        position,
        comment: None,
    }
}

/// The entry's decorators, written anew.
fn decorated(entry: &Entry) -> String {
    let stated = &entry.decorators;
    let mut lines: Vec<String> = Vec::new();
    match entry.place {
        Place::Beside(beside) => lines.push(format!("position {}", beside.name())),
        Place::Depth(depth, role) => {
            lines.push(format!("depth {depth}"));
            match role {
                Role::System => {}
                Role::User => lines.push("role user".to_owned()),
                Role::Assistant => lines.push("role assistant".to_owned()),
            }
        }
        Place::BeforeCharacter | Place::AfterCharacter => {}
    }
    let numbers = [
        ("scan_depth", entry.scan_depth),
        ("activate_only_after", stated.only_after),
        ("activate_only_every", stated.only_every),
        ("is_greeting", stated.greeting),
    ];
    lines.extend(
        numbers
            .into_iter()
            .filter_map(|(name, number)| Some(format!("{name} {}", number?))),
    );
    lines.extend(stated.activates.then(|| "activate".to_owned()));
    lines.extend(stated.never_activates.then(|| "dont_activate".to_owned()));
    let lists = [
        ("additional_keys", &stated.additional_keys),
        ("exclude_keys", &stated.exclude_keys),
    ];
    let lists = lists.into_iter().filter(|(_, keys)| !keys.is_empty());
    lines.extend(lists.map(|(name, keys)| format!("{name} {}", keys.join(","))));
    lines.iter().map(|line| format!("@@{line}\n")).collect()
}
