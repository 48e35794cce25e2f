//! Macros in a card's own texts, such as `{{char}}`. What clients send is never looked at here.

pub(crate) mod choice;
pub(crate) mod cycle;
pub(crate) mod expand;
pub(crate) mod values;

#[cfg(test)]
mod tests;
