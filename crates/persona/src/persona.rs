//! A persona: a character that is asked for as a model.

use crate::book::activate::ReadyBook;
use crate::card::name;
use crate::card::read::Card;
use crate::card::settings::{Sampling, SystemMessages};
use crate::card::toml_form;
use crate::compose::prompt::{compose, greeted};
use crate::compose::scene::{Composed, Scene, default_user};
use crate::container::charx::{self, EMBEDDED};
use crate::container::picture::Picture;
use crate::error::{ComposeError, PersonaError};
use crate::export;
use crate::findings::{self, Finding};
use crate::limits::MAX_TEXT_BYTES;
use crate::macros::choice::Seed;
use crate::macros::cycle;
use crate::macros::expand::expanded;
use crate::macros::values::Values;
use crate::profile::Profile;
use crate::source::{self, Source};

/// A character, read from its card.
#[derive(Debug)]
pub struct Persona {
    card: Card,
    id: String,
    source: Source,
    /// The main icon, of other files than PNG.
    icon: Option<Picture>,
    book: ReadyBook,
    stop: Vec<String>,
}

impl Persona {
    /// Reads a card: PNG, JSON, CHARX or TOML, told from the bytes. The file's name helps to tell
    /// TOML, and is the model name where neither the card nor the character's name makes one.
    ///
    /// # Errors
    ///
    /// When the file or a field of the card cannot be used, or it has no name.
    pub fn read(bytes: &[u8], file_name: &str) -> Result<Self, PersonaError> {
        let (source, json) = source::read(bytes, file_name)?;
        let in_its_words = |error: PersonaError| match source {
            Source::Toml => error.in_toml(),
            _ => error,
        };
        let card = Card::read(json).map_err(in_its_words)?;
        let id = id(&card, file_name);
        let icon = icon(&card, &source)?;
        let values = values(&card, &id, default_user(&card));
        cycle::check(&values)?;
        let stop = card
            .settings
            .stop
            .iter()
            .map(|stop| expanded(stop, "stop", &values));
        let stop = stop.filter(|stop| !stop.is_empty()).collect();
        let book = ReadyBook::of(&card, &values);
        Ok(Self {
            stop,
            book,
            icon,
            id,
            source,
            card,
        })
    }

    /// The model name: the card's own, else made of the character's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The character's name.
    pub fn name(&self) -> &str {
        &self.card.name
    }

    /// What the character is called, `{{char}}`: the nickname, else the name.
    pub fn char_name(&self) -> &str {
        self.card.char_name()
    }

    /// The base model or adapter that the card names.
    pub fn model(&self) -> Option<&str> {
        self.card.settings.model.as_deref()
    }

    /// How answers are chosen where a request does not say it.
    pub fn sampling(&self) -> &Sampling {
        &self.card.settings.sampling
    }

    /// Strings that end an answer. `{{user}}` in them is the default name.
    pub fn stop(&self) -> &[String] {
        &self.stop
    }

    /// What becomes of system messages that a client sends.
    pub fn system_messages(&self) -> SystemMessages {
        self.card.settings.system_messages
    }

    /// What anybody may see.
    pub fn profile(&self) -> Profile {
        let card = &self.card;
        Profile {
            id: self.id.clone(),
            name: card.name.clone(),
            nickname: card.nickname.clone(),
            creator: card.creator.clone(),
            creator_notes: card.creator_notes.clone(),
            character_version: card.character_version.clone(),
            tags: card.tags.clone(),
            source: card.source.clone(),
            creation_date: card.creation_date.clone(),
            modification_date: card.modification_date.clone(),
            model: card.settings.model.clone(),
            greetings: self.greetings(default_user(card)),
            has_picture: self.has_picture(),
            spec: card.spec.name(),
        }
    }

    fn has_picture(&self) -> bool {
        self.icon.is_some() || matches!(self.source, Source::Png(_))
    }

    /// The character's picture. Of a PNG card it is the file without any text in it: the card is there.
    pub fn picture(&self) -> Option<Picture> {
        match &self.source {
            Source::Png(file) => Picture::of(file.clone()),
            _ => self.icon.clone(),
        }
    }

    /// What a conversation can begin with, in the order of [`Scene::greeting`].
    pub fn greetings(&self, user: &str) -> Vec<String> {
        let user = name::of_client(user);
        let user = user.as_deref().unwrap_or(default_user(&self.card));
        let values = values(&self.card, &self.id, user);
        let greetings = self.card.greetings.iter().enumerate();
        greetings
            .map(|(index, greeting)| greeted(&self.id, greeting, index, &values).text)
            .collect()
    }

    /// Makes what is put before the model of a conversation. The same makes the same, byte for byte.
    ///
    /// # Errors
    ///
    /// When the conversation has a message that is none or that this persona takes none of, when
    /// there is no such greeting, or nothing to continue.
    pub fn compose(&self, scene: &Scene<'_>) -> Result<Composed, ComposeError> {
        compose(&self.card, &self.id, &self.book, scene)
    }

    /// What the card has and does not get.
    pub fn findings(&self) -> Vec<Finding> {
        let values = Values {
            is_dry: true,
            ..values(&self.card, &self.id, default_user(&self.card))
        };
        findings::of(&self.card, &self.book, self.has_picture(), &values)
    }

    /// The card as JSON of V3. A V3 card is as it was, value for value.
    pub fn to_json(&self) -> String {
        format!("{:#}", export::v3(&self.card))
    }

    /// The card as JSON of V2. A V2 card is as it was, value for value; decorators of a V3 card go.
    pub fn to_json_v2(&self) -> String {
        format!("{:#}", export::v2(&self.card))
    }

    /// The card in a PNG file, as V2 and as V3: in the given picture, else in its own, else in a plain
    /// one. Cards that the picture had are replaced; its other chunks are not changed.
    ///
    /// # Errors
    ///
    /// When the picture is no whole PNG file.
    pub fn to_png(&self, picture: Option<&[u8]>) -> Result<Vec<u8>, PersonaError> {
        export::to_png(&self.card, &self.source, self.icon.as_ref(), picture)
    }

    /// The card in a CHARX archive. Of one that was read from CHARX all assets stay, byte for byte; of
    /// others the picture becomes the main icon.
    ///
    /// # Errors
    ///
    /// When the archive that it was read from has a member that cannot be carried over.
    pub fn to_charx(&self) -> Result<Vec<u8>, PersonaError> {
        export::to_charx(&self.card, &self.source, self.picture().as_ref())
    }

    /// The card as TOML: what prompts are made of, what anybody may see, and the picture, unless it is
    /// larger than such a card can be. Assets and extensions of other programs are not in it.
    ///
    /// # Errors
    ///
    /// When it has a number that TOML cannot state.
    pub fn to_toml(&self) -> Result<String, PersonaError> {
        let picture = self.picture().map(|picture| picture.data_uri());
        toml_form::write(
            &self.card,
            picture.filter(|uri| uri.len() < MAX_TEXT_BYTES / 2),
        )
    }
}

fn values<'a>(card: &'a Card, id: &str, user: &'a str) -> Values<'a> {
    Values {
        seed: Seed::of(id, ""),
        char_name: card.char_name(),
        user,
        description: &card.description,
        personality: &card.personality,
        scenario: &card.scenario,
        ..Values::default()
    }
}

fn id(card: &Card, file_name: &str) -> String {
    let stem = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
    let stated = card.settings.id.clone();
    let made = stated
        .or_else(|| name::slug(&card.name))
        .or_else(|| name::slug(stem));
    made.unwrap_or_else(|| "persona".to_owned())
}

/// The main icon, where it is in the card itself.
fn icon(card: &Card, source: &Source) -> Result<Option<Picture>, PersonaError> {
    let Some(asset) = card.main_icon() else {
        return Ok(None);
    };
    let path = EMBEDDED
        .iter()
        .find_map(|scheme| asset.uri.strip_prefix(scheme));
    match (source, path) {
        (Source::Png(_), _) => Ok(None),
        (Source::Charx(file), Some(path)) => Ok(charx::asset(file, path)?.and_then(Picture::of)),
        _ => Ok(Picture::of_data_uri(&asset.uri)),
    }
}
