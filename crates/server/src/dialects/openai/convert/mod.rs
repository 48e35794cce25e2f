//! OpenAI's wire types to the server's own requests. Pure: no model, no tokenizer, no clock.

mod chat;
mod completion;
#[cfg(test)]
mod tests;

pub(crate) use chat::{chat_call, chat_request};
pub(crate) use completion::completion_call;
pub(crate) use completion::prompts;
