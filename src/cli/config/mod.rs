//! One configuration: a flag before a variable of the environment before `matou.toml`.
//!
//! The file's settings become the defaults of the flags that they are named after ([`layers`]), so that
//! nothing behind the command line knows where a value comes from.

mod command;
mod entry;
mod file;
mod invocation;
mod keys;
mod layers;

pub(super) use command::ConfigArgs;
pub(super) use command::run;
pub(super) use entry::{ModelEntry, entries};
pub(super) use invocation::Invocation;

#[cfg(test)]
mod tests;
