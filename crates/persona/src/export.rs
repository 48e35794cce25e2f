//! Writes a card in each of the forms, with all that is not known here kept in it.

use serde_json::{Map, Value, json};

use crate::card::decorators;
use crate::card::read::{Card, Spec};
use crate::container::charx::{self, EMBEDDED};
use crate::container::picture::Picture;
use crate::container::png;
use crate::error::PersonaError;
use crate::source::Source;

/// The card as V3. One that is V3 already is not changed.
pub(crate) fn v3(card: &Card) -> Value {
    match card.spec {
        Spec::V3 => card.json.clone(),
        Spec::V2 | Spec::V1 => with_data(card, Spec::V3),
    }
}

/// The card as V2. One that is V2 already is not changed. Of a V3 card the decorators go, which V2
/// programs would put before the model; fields that V2 does not know stay, as V2 asks for.
pub(crate) fn v2(card: &Card) -> Value {
    let mut json = match card.spec {
        Spec::V2 => return with_spec(card.json.clone(), Spec::V2),
        Spec::V1 => return with_data(card, Spec::V2),
        Spec::V3 => with_data(card, Spec::V2),
    };
    let entries = json
        .pointer_mut("/data/character_book/entries")
        .and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let content = entry.get("content").and_then(Value::as_str);
        if let Some(content) = content.map(|content| decorators::split(content).1.to_owned()) {
            entry["content"] = content.into();
        }
    }
    json
}

fn with_spec(mut json: Value, spec: Spec) -> Value {
    if json.get("spec").is_none_or(|stated| stated != spec.name()) {
        let version = if spec == Spec::V3 { "3.0" } else { "2.0" };
        json["spec"] = spec.name().into();
        json["spec_version"] = version.into();
    }
    json
}

/// The card with its fields in `data`, and those that the specification asks for.
fn with_data(card: &Card, spec: Spec) -> Value {
    let mut json = match card.spec {
        Spec::V1 => {
            let mut data = card.json.clone();
            if let Some(map) = data.as_object_mut() {
                map.shift_remove("spec");
                map.shift_remove("spec_version");
            }
            json!({"spec": spec.name(), "spec_version": "", "data": data})
        }
        _ => card.json.clone(),
    };
    json["spec"] = Value::Null;
    let mut json = with_spec(json, spec);
    let Some(data) = json.get_mut("data").and_then(Value::as_object_mut) else {
        return json;
    };
    let texts = [
        "description",
        "personality",
        "scenario",
        "first_mes",
        "mes_example",
        "creator_notes",
        "system_prompt",
        "post_history_instructions",
        "creator",
        "character_version",
    ];
    for key in texts {
        add(data, key, "".into());
    }
    add(data, "alternate_greetings", json!([]));
    add(data, "tags", json!([]));
    add(data, "extensions", json!({}));
    if spec == Spec::V3 {
        add(data, "group_only_greetings", json!([]));
    }
    json
}

fn add(data: &mut Map<String, Value>, key: &str, value: Value) {
    if !data.contains_key(key) {
        data.insert(key.to_owned(), value);
    }
}

/// The card in a PNG file: in `file`, or in its own picture, or in a plain one.
pub(crate) fn to_png(
    card: &Card,
    source: &Source,
    icon: Option<&Picture>,
    file: Option<&[u8]>,
) -> Result<Vec<u8>, PersonaError> {
    let icon = icon.filter(|icon| icon.media_type == "image/png");
    let (v2, v3) = (v2(card).to_string(), v3(card).to_string());
    let cards = [("chara", v2.as_str()), ("ccv3", v3.as_str())];
    match (file, source, icon) {
        (Some(file), _, _) => png::with_cards(file, &cards),
        (None, Source::Png(file), _) => png::with_cards(file, &cards),
        (None, _, Some(icon)) => png::with_cards(&icon.bytes, &cards),
        (None, _, None) => png::with_cards(&png::placeholder(), &cards),
    }
}

/// The card in a CHARX archive. Assets of one that it was read from stay as they are; else its
/// picture becomes one.
pub(crate) fn to_charx(
    card: &Card,
    source: &Source,
    picture: Option<&Picture>,
) -> Result<Vec<u8>, PersonaError> {
    let mut json = v3(card);
    if let Source::Charx(file) = source {
        return charx::with_card(file, &json.to_string());
    }
    let Some(picture) = picture else {
        return charx::write(&json.to_string(), &[]);
    };
    let extension = picture.extension();
    let path = format!("assets/icon/images/main.{extension}");
    let uri = format!("{}{path}", EMBEDDED[0]);
    let index = card
        .main_icon()
        .and_then(|icon| card.assets.iter().position(|asset| asset.path == icon.path));
    let data = &mut json["data"];
    match index {
        Some(index) => {
            data["assets"][index]["uri"] = uri.into();
            data["assets"][index]["ext"] = extension.into();
        }
        None => {
            let icon = json!({"type": "icon", "uri": uri, "name": "main", "ext": extension});
            match data.get_mut("assets").and_then(Value::as_array_mut) {
                Some(assets) => assets.push(icon),
                None => data["assets"] = json!([icon]),
            }
        }
    }
    charx::write(&json.to_string(), &[(&path, &picture.bytes)])
}
