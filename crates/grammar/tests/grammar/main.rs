//! Grammars from the outside: what they let through, what they cost, what they refuse.

mod kinds;
mod limits;
mod schemas;
mod tool_calls;
mod toy;
