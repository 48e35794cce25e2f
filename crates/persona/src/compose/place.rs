//! Puts texts among the messages of a conversation.
//!
//! A text joins the user's message that it stands behind, because many models lose what a system
//! says in the middle of a conversation. Behind anybody else's it is a message of its own.

use serde_json::Value;

use crate::card::decorators::Role;

use super::message::{append, role, says};

/// A text and where it stands.
pub(crate) struct Insertion {
    /// Messages before it.
    pub(crate) at: usize,
    pub(crate) role: Role,
    pub(crate) text: String,
}

/// Where a text stands that is to be `depth` messages before `end`. Between a call of a tool and its
/// result nothing can stand: there it is before the call.
pub(crate) fn at_depth(messages: &[Value], end: usize, depth: usize) -> usize {
    let mut at = end.saturating_sub(depth);
    while at > 0
        && messages
            .get(at)
            .is_some_and(|message| role(message) == "tool")
    {
        at -= 1;
    }
    at
}

/// The messages with the texts among them. Of those at one place the first stands first.
pub(crate) fn insert(messages: Vec<Value>, mut insertions: Vec<Insertion>) -> Vec<Value> {
    insertions.sort_by_key(|insertion| insertion.at); // keeps the order at one place
    let mut placed: Vec<Value> = Vec::with_capacity(messages.len() + insertions.len());
    let mut insertions = insertions.into_iter().peekable();
    let mut messages = messages.into_iter();
    for count in 0.. {
        // A message of the client's is not followed by one of ours yet.
        let mut is_bare = count > 0;
        while let Some(insertion) = insertions.next_if(|insertion| insertion.at == count) {
            let text = insertion.text.as_str();
            match placed.last_mut() {
                Some(last) if is_bare && joins(last, insertion.role) => append(last, text),
                _ => {
                    placed.push(says(role_name(insertion.role), text));
                    is_bare = false;
                }
            }
        }
        match messages.next() {
            Some(message) => placed.push(message),
            None => break,
        }
    }
    placed
}

fn joins(last: &Value, inserted: Role) -> bool {
    role(last) == "user" && inserted != Role::Assistant
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn placed(messages: Value, insertions: &[(usize, Role, &str)]) -> Value {
        let Value::Array(messages) = messages else {
            panic!("messages are a list")
        };
        let insertions = insertions.iter().map(|&(at, role, text)| Insertion {
            at,
            role,
            text: text.to_owned(),
        });
        insert(messages, insertions.collect()).into()
    }

    #[test]
    fn a_text_joins_the_users_message_before_it_and_nobody_elses() {
        let messages = json!([says("user", "a"), says("assistant", "b"), says("user", "c")]);
        let insertions = [
            (3, Role::System, "end"),
            (0, Role::System, "begin"),
            (1, Role::User, "one"),
            (2, Role::System, "two"),
            (3, Role::Assistant, "prefill"),
            (3, Role::System, "last"),
        ];
        let expected = json!([
            says("system", "begin"),
            says("user", "a\n\none"),
            says("assistant", "b"),
            says("system", "two"),
            says("user", "c\n\nend"),
            says("assistant", "prefill"),
            says("system", "last"),
        ]);
        assert_eq!(placed(messages, &insertions), expected);
    }

    #[test]
    fn contents_of_all_forms_are_added_to() {
        let parts = json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]);
        let messages =
            json!([{"role": "user", "content": parts}, {"role": "user", "content": null}]);
        let expected = json!([
            {"role": "user", "content": [parts[0], parts[1], {"type": "text", "text": "x"}]},
            {"role": "user", "content": "y"},
        ]);
        assert_eq!(
            placed(messages, &[(1, Role::System, "x"), (2, Role::System, "y")]),
            expected
        );
    }

    #[test]
    fn nothing_stands_between_a_call_and_its_results() {
        let messages = [
            says("user", ""),
            says("assistant", ""),
            says("tool", ""),
            says("tool", ""),
            says("user", ""),
        ];
        let places: Vec<_> = (0..7).map(|depth| at_depth(&messages, 5, depth)).collect();
        assert_eq!(places, [5, 4, 1, 1, 1, 0, 0]);
    }
}
