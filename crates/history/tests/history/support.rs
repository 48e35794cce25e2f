//! What all tests begin with.

use matou_history::{Conversation, History, NewConversation, NewMessage, Owner, Role};

pub(crate) fn me() -> Owner {
    Owner::new("me")
}

pub(crate) fn other() -> Owner {
    Owner::new("other")
}

pub(crate) fn titled(history: &History, title: &str, now: u64) -> Conversation {
    let new = NewConversation {
        title: title.to_owned(),
        ..NewConversation::default()
    };
    history.create(&me(), &new, now).unwrap()
}

/// Adds a message of mine after `parent`, and gives its id.
pub(crate) fn say(
    history: &History,
    conversation: &str,
    parent: Option<&str>,
    role: Role,
    content: &str,
) -> String {
    let new = NewMessage::new(parent.map(str::to_owned), role, content);
    let message = history.add_message(&me(), conversation, &new, 1000);
    message.unwrap().id
}
