//! A character card as its JSON states it: V1, V2 and V3 as one, checked field by field.

pub(crate) mod decorators;
pub(crate) mod entry;
pub(crate) mod fields;
pub(crate) mod name;
pub(crate) mod read;
pub(crate) mod settings;
pub(crate) mod toml_form;
