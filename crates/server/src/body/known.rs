//! What reading an object takes to be known about its fields. Who knows is told by the type that is
//! read ([`Fields::known`](super::Fields::known)).

use serde_json::Value;

/// The names of a type's fields.
pub(crate) type Names = &'static [&'static str];

/// Finds what is known about the object whose own fields are the first argument. The second are those
/// of the types that the outermost object is shared out between.
pub(crate) type Lookup = fn(Names, &[Names]) -> Option<Box<dyn KnownFields>>;

/// What is known about the fields of an object.
pub(crate) trait KnownFields {
    /// Whether a field is known elsewhere and not a field of this object.
    fn skips(&self, name: &str) -> bool;

    /// Why a skipped field is refused, to be said after its name, if it asks for something.
    fn refusal(&self, name: &str, value: &Value) -> Option<String>;
}
