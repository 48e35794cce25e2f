//! What an answer is held to, token by token: a grammar, and a budget for the reasoning before it.

mod grammar;
mod thinking;

pub(crate) use grammar::Constraints;
pub(crate) use thinking::ThinkingPlan;
