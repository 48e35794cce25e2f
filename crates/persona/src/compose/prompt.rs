//! Puts a conversation together: system message, greeting, what was said, and what stands among it.

use serde_json::Value;

use crate::book::activate::{Active, ReadyBook, Talk};
use crate::card::decorators::Role;
use crate::card::entry::Place;
use crate::card::read::Card;
use crate::card::settings::SystemMessages;
use crate::error::ComposeError;
use crate::macros::choice::Seed;
use crate::macros::expand::{Expanded, expand, expanded};
use crate::macros::values::Values;

use super::message::{is_system, role, says, text};
use super::place::{Insertion, at_depth, insert};
use super::scene::{Composed, Scene, user_of};
use super::system;

/// Makes the prompt. `id` is the persona's model name.
pub(crate) fn compose(
    card: &Card,
    id: &str,
    book: &ReadyBook,
    scene: &Scene<'_>,
) -> Result<Composed, ComposeError> {
    check(card, id, scene)?;
    let user = user_of(card, scene);
    let greets = scene.messages.iter().find(|message| !is_system(message));
    let greeting = match greets {
        Some(first) if role(first) == "user" => card.greetings.get(scene.greeting),
        _ => None,
    };
    let mut values = Values {
        char_name: card.char_name(),
        user: &user,
        description: &card.description,
        personality: &card.personality,
        scenario: &card.scenario,
        now: scene.now,
        ..Values::default()
    };
    let said = Said::of(scene.messages);
    values.seed = Seed::of(id, &said.first_user);
    values.last_user_message = &said.last_user;
    // The greeting is shown before anything is said, and so cannot depend on it.
    let greeting = greeting.map(|greeting| greeted(id, greeting, scene.greeting, &values));
    let greeting = greeting.filter(|greeting| !greeting.text.trim().is_empty());
    let shown = greeting.as_ref().map_or("", |greeting| &greeting.text);
    values.last_message = said.last.as_deref().unwrap_or(shown);
    values.last_char_message = said.last_char.as_deref().unwrap_or(shown);

    let active = active(card, book, scene, greeting.as_ref(), &values);

    let leading = scene
        .messages
        .iter()
        .take_while(|message| is_system(message))
        .count();
    let (leading, rest) = scene.messages.split_at(leading);
    let mut head = vec![system::text(card, &values, &active)];
    head.extend(leading.iter().map(text));
    let mut talk: Vec<Value> = Vec::with_capacity(rest.len() + 1);
    talk.extend(
        greeting
            .as_ref()
            .map(|greeting| says("assistant", &greeting.text)),
    );
    talk.extend(rest.iter().cloned());

    let end = talk.len() - usize::from(scene.continues);
    let insertions = insertions(card, &values, &active, &talk, end);
    let mut messages = vec![says("system", &system::joined(head))];
    messages.extend(insert(talk, insertions));
    Ok(Composed {
        messages,
        book_entries: active.len(),
    })
}

/// The entries of the book that the conversation calls for.
fn active<'a>(
    card: &'a Card,
    book: &ReadyBook,
    scene: &Scene<'_>,
    greeting: Option<&Expanded>,
    values: &Values<'_>,
) -> Vec<Active<'a>> {
    let Some(card_book) = &card.book else {
        return Vec::new();
    };
    let messages = scene.messages.iter();
    let own = messages.filter(|message| role(message) == "assistant");
    let talk = Talk {
        latest: &latest_first(scene.messages, greeting, book.depth()),
        answers: own.count() + usize::from(greeting.is_some()),
        greeting: scene.greeting,
    };
    book.activate(card_book, &talk, values, scene.count_tokens)
}

fn check(card: &Card, id: &str, scene: &Scene<'_>) -> Result<(), ComposeError> {
    let persona = || id.to_owned();
    for (index, message) in scene.messages.iter().enumerate() {
        if role(message).is_empty() {
            return Err(ComposeError::NotAMessage { index });
        }
        if is_system(message) && card.settings.system_messages == SystemMessages::Refuse {
            return Err(ComposeError::SystemMessage {
                index,
                persona: persona(),
            });
        }
    }
    let there_are = card.greetings.len();
    if scene.greeting >= there_are.max(1) {
        return Err(ComposeError::Greeting {
            asked: scene.greeting,
            there_are,
            persona: persona(),
        });
    }
    let last = scene.messages.last().map(role);
    if scene.continues && last != Some("assistant") {
        return Err(ComposeError::NothingToContinue);
    }
    Ok(())
}

/// A greeting of the persona `id`, as it is shown.
pub(crate) fn greeted(id: &str, greeting: &str, index: usize, values: &Values<'_>) -> Expanded {
    let place = format!("greetings[{index}]");
    let unspoken = Values {
        seed: Seed::of(id, ""),
        last_message: "",
        last_user_message: "",
        last_char_message: "",
        ..values.clone()
    };
    let mut greeted = expand(greeting, &place, "", &unspoken);
    greeted.text = greeted.text.trim().to_owned();
    greeted
}

/// What macros can quote of a conversation.
struct Said {
    first_user: String,
    last_user: String,
    last_char: Option<String>,
    last: Option<String>,
}

impl Said {
    fn of(messages: &[Value]) -> Self {
        let by = |who: &'static str| move |message: &&Value| role(message) == who;
        let spoken = |message: &&Value| matches!(role(message), "user" | "assistant");
        Self {
            first_user: messages
                .iter()
                .find(by("user"))
                .map(text)
                .unwrap_or_default(),
            last_user: messages
                .iter()
                .rfind(by("user"))
                .map(text)
                .unwrap_or_default(),
            last_char: messages.iter().rfind(by("assistant")).map(text),
            last: messages.iter().rfind(spoken).map(text),
        }
    }
}

/// What the book looks through, the last first: so many messages of what the user and the character
/// say.
fn latest_first(messages: &[Value], greeting: Option<&Expanded>, count: usize) -> Vec<String> {
    let spoken = messages
        .iter()
        .rev()
        .filter(|message| matches!(role(message), "user" | "assistant"));
    let greeting = greeting.map(|greeting| format!("{}\n{}", greeting.text, greeting.hidden));
    spoken.map(text).chain(greeting).take(count).collect()
}

/// What stands among the messages: entries at a depth, and at the end the last instructions.
fn insertions(
    card: &Card,
    values: &Values<'_>,
    active: &[Active<'_>],
    talk: &[Value],
    end: usize,
) -> Vec<Insertion> {
    let deep = active.iter().filter_map(|active| match active.entry.place {
        Place::Depth(depth, role) => Some(Insertion {
            at: at_depth(talk, end, depth),
            role,
            text: active.text.clone(),
        }),
        _ => None,
    });
    let mut insertions: Vec<Insertion> = deep.collect();
    let last = expanded(
        &card.post_history_instructions,
        "post_history_instructions",
        values,
    );
    let last = last.trim();
    if !last.is_empty() {
        insertions.push(Insertion {
            at: at_depth(talk, end, 0),
            role: Role::System,
            text: last.to_owned(),
        });
    }
    insertions
}
