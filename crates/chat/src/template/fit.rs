//! Fits a conversation to a template that would refuse it, or lose some of it.
//!
//! | a template that | gets |
//! | --- | --- |
//! | knows no role `developer` | `system` instead |
//! | loses or refuses a system message that is not the first | all of them as one, at the beginning |
//! | prints no system message | its text in front of the user's first message |
//! | takes no two messages of one role in a row | these as one |
//! | refuses an assistant that speaks first | a user's greeting before it |
//!
//! What a template takes as it is is not touched.

use serde_json::{Map, Value, json};

use super::parts::text_part;

/// What is done to a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    /// The role `developer` becomes `system`.
    pub(super) developer_is_system: bool,
    /// Several system messages at the beginning become one.
    pub(super) one_system: bool,
    /// System messages that come later join the first.
    pub(super) gathers_system: bool,
    /// What the system says goes in front of the user's first message.
    pub(super) system_as_user: bool,
    /// Neighbours of one role become one message.
    pub(super) merges_roles: bool,
    /// Where the assistant speaks first, the user greets it before.
    pub(super) opens_with_user: bool,
}

impl Fit {
    /// The conversation as it fits.
    pub(super) fn apply(self, mut messages: Vec<Value>) -> Vec<Value> {
        if self.developer_is_system {
            for message in &mut messages {
                if message["role"] == "developer" {
                    message["role"] = "system".into();
                }
            }
        }
        let first = messages.iter().take_while(|it| is_system(it)).count();
        let comes_later = self.gathers_system && messages[first..].iter().any(is_system);
        if comes_later || self.one_system && first > 1 {
            gather_system(&mut messages);
        }
        if self.opens_with_user {
            open_with_user(&mut messages);
        }
        if self.system_as_user {
            hand_to_user(&mut messages);
        }
        if self.merges_roles {
            messages = merge_neighbours(messages);
        }
        messages
    }
}

fn is_system(message: &Value) -> bool {
    message["role"] == "system"
}

/// Makes one message at the beginning of all that the system says. What it says last, behind an
/// answer, is what is to be answered next: that becomes the user's.
fn gather_system(messages: &mut Vec<Value>) {
    let spoken = messages.iter().rposition(|message| !is_system(message));
    if let Some(last) = spoken.filter(|&last| messages[last]["role"] == "assistant") {
        for message in &mut messages[last + 1..] {
            message["role"] = "user".into();
        }
    }
    let (system, mut others): (Vec<Value>, Vec<Value>) =
        std::mem::take(messages).into_iter().partition(is_system);
    others.splice(0..0, system.into_iter().reduce(merged));
    *messages = others;
}

/// What a user is taken to have said who is greeted first.
const GREETING: &str = "Hello.";

/// Puts a user's greeting before what the assistant says first.
fn open_with_user(messages: &mut Vec<Value>) {
    let first = messages.iter().take_while(|it| is_system(it)).count();
    if messages
        .get(first)
        .is_some_and(|message| message["role"] == "assistant")
    {
        messages.insert(first, json!({"role": "user", "content": GREETING}));
    }
}

/// Puts what the system says at the beginning in front of the user's first message.
fn hand_to_user(messages: &mut Vec<Value>) {
    if !messages.first().is_some_and(is_system) {
        return;
    }
    let mut system = messages.remove(0);
    system["role"] = "user".into();
    match messages
        .iter_mut()
        .find(|message| message["role"] == "user")
    {
        Some(user) => *user = merged(system, user.take()),
        None => messages.insert(0, system),
    }
}

/// Makes one message of neighbours that are both the user's, the assistant's or the system's. The
/// results of calls stay apart: each answers a call of its own.
fn merge_neighbours(messages: Vec<Value>) -> Vec<Value> {
    let mut fitted: Vec<Value> = Vec::with_capacity(messages.len());
    for message in messages {
        let role = message["role"].as_str();
        let is_merged = matches!(role, Some("system" | "user" | "assistant"));
        match fitted.last_mut() {
            Some(last) if is_merged && last["role"] == message["role"] => {
                *last = merged(last.take(), message);
            }
            _ => fitted.push(message),
        }
    }
    fitted
}

/// Two messages as one: contents and thoughts one after the other, the calls of both.
fn merged(first: Value, second: Value) -> Value {
    let (Value::Object(mut fields), Value::Object(more)) = (first, second) else {
        return json!({});
    };
    for (key, value) in more {
        let joined = match (key.as_str(), fields.remove(&key)) {
            ("content" | "reasoning_content" | "reasoning", Some(before)) => {
                joined_content(before, value)
            }
            ("tool_calls", Some(before)) => joined_lists(before, value),
            (_, Some(before)) if !before.is_null() => before,
            _ => value,
        };
        fields.insert(key, joined);
    }
    Value::Object(reordered(fields))
}

/// `role` first and `content` second, as everywhere.
fn reordered(mut fields: Map<String, Value>) -> Map<String, Value> {
    let mut ordered = Map::new();
    for key in ["role", "content"] {
        ordered.extend(fields.remove_entry(key));
    }
    ordered.extend(fields);
    ordered
}

/// Texts with a blank line between them, or the parts of both.
fn joined_content(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::String(first), Value::String(second)) => {
            let joint = match first.is_empty() || second.is_empty() {
                true => "",
                false => "\n\n",
            };
            format!("{first}{joint}{second}").into()
        }
        (Value::Null, only) | (only, Value::Null) => only,
        (first, second) => joined_lists(as_parts(first), as_parts(second)),
    }
}

fn as_parts(content: Value) -> Value {
    match content {
        Value::String(text) if text.is_empty() => json!([]),
        Value::String(text) => json!([text_part(&text)]),
        parts => parts,
    }
}

fn joined_lists(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Array(mut items), Value::Array(more)) => {
            items.extend(more);
            Value::Array(items)
        }
        (Value::Null, only) | (only, _) => only,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Fit = Fit {
        developer_is_system: false,
        one_system: false,
        gathers_system: false,
        system_as_user: false,
        merges_roles: false,
        opens_with_user: false,
    };
    const GATHERS: Fit = Fit {
        gathers_system: true,
        ..NOTHING
    };

    fn fitted(fit: Fit, messages: Value) -> Value {
        let Value::Array(messages) = messages else {
            panic!("messages are a list");
        };
        fit.apply(messages).into()
    }

    fn says(role: &str, content: &str) -> Value {
        json!({"role": role, "content": content})
    }

    #[test]
    fn neighbours_of_one_role_become_one_message_with_all_that_they_hold() {
        let fit = Fit {
            merges_roles: true,
            ..NOTHING
        };
        let call = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": {}}});
        let messages = json!([
            says("user", "a"),
            {"role": "user", "content": [{"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null, "tool_calls": [call("1")]},
            {"role": "assistant", "content": "c", "tool_calls": [call("2")]},
            {"role": "tool", "content": "1", "tool_call_id": "1"},
            {"role": "tool", "content": "2", "tool_call_id": "2"},
            says("assistant", ""),
            says("assistant", "d"),
            says("assistant", "e"),
        ]);
        let expected = json!([
            {"role": "user", "content": [
                {"type": "text", "text": "a"}, {"type": "text", "text": "b"},
            ]},
            {"role": "assistant", "content": "c", "tool_calls": [call("1"), call("2")]},
            {"role": "tool", "content": "1", "tool_call_id": "1"},
            {"role": "tool", "content": "2", "tool_call_id": "2"},
            says("assistant", "d\n\ne"),
        ]);
        assert_eq!(fitted(fit, messages), expected);
    }

    #[test]
    fn all_that_the_system_says_is_one_message_at_the_beginning() {
        let messages = json!([says("system", "a"), says("user", "b"), says("system", "c")]);
        assert_eq!(
            fitted(GATHERS, messages),
            json!([says("system", "a\n\nc"), says("user", "b")])
        );
        let messages = json!([says("user", "b"), says("system", "c"), says("user", "d")]);
        assert_eq!(
            fitted(GATHERS, messages),
            json!([says("system", "c"), says("user", "b"), says("user", "d")])
        );
    }

    #[test]
    fn several_system_messages_at_the_beginning_are_one_where_only_one_is_read() {
        let messages = json!([says("system", "a"), says("system", "b"), says("user", "c")]);
        assert_eq!(fitted(NOTHING, messages.clone()), messages);
        let fit = Fit {
            one_system: true,
            ..NOTHING
        };
        assert_eq!(
            fitted(fit, messages),
            json!([says("system", "a\n\nb"), says("user", "c")])
        );
    }

    #[test]
    fn what_the_system_says_behind_an_answer_is_to_be_answered() {
        let messages = json!([
            says("system", "a"),
            says("user", "b"),
            says("assistant", "c"),
            says("system", "d"),
        ]);
        let expected = json!([
            says("system", "a"),
            says("user", "b"),
            says("assistant", "c"),
            says("user", "d"),
        ]);
        assert_eq!(fitted(GATHERS, messages), expected);
    }

    #[test]
    fn a_system_message_without_a_place_of_its_own_begins_what_the_user_says() {
        let fit = Fit {
            system_as_user: true,
            developer_is_system: true,
            ..NOTHING
        };
        let messages = json!([
            says("developer", "a"),
            says("assistant", "b"),
            says("user", "c")
        ]);
        assert_eq!(
            fitted(fit, messages),
            json!([says("assistant", "b"), says("user", "a\n\nc")])
        );
        assert_eq!(
            fitted(fit, json!([says("system", "a")])),
            json!([says("user", "a")])
        );
    }

    #[test]
    fn an_assistant_that_speaks_first_is_greeted_before() {
        let fit = Fit {
            opens_with_user: true,
            ..NOTHING
        };
        let begun = json!([
            says("system", "a"),
            says("assistant", "b"),
            says("user", "c")
        ]);
        let opened = json!([
            says("system", "a"),
            says("user", "Hello."),
            says("assistant", "b"),
            says("user", "c"),
        ]);
        assert_eq!(fitted(fit, begun.clone()), opened);
        assert_eq!(fitted(fit, opened.clone()), opened);
        let without_system = Fit {
            system_as_user: true,
            ..fit
        };
        assert_eq!(
            fitted(without_system, begun)[0],
            says("user", "a\n\nHello.")
        );
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        let messages = json!([
            says("system", "a"), says("user", "b"), says("user", "c"), says("developer", "d"),
            {"content": "e", "name": "x", "role": "assistant"},
        ]);
        let before = messages.to_string();
        assert_eq!(fitted(GATHERS, messages).to_string(), before);
    }
}
