//! Attributes by path, as filters take them: `attribute='function.name'`.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr};
use minijinja::{Error, Value};

use super::values::undefined;

/// Gets an attribute of items, or the items themselves.
pub(super) struct Getter {
    path: Vec<Value>,
    default: Option<Value>,
}

impl Getter {
    /// Of a path with dots, an index, or nothing.
    pub(super) fn new(attribute: Option<&Value>) -> Self {
        let path = match attribute {
            None => Vec::new(),
            Some(attribute) => match attribute.as_str() {
                Some(path) => path.split('.').map(part).collect(),
                None => vec![attribute.clone()],
            },
        };
        Self {
            path,
            default: None,
        }
    }

    /// Of paths with commas between them.
    pub(super) fn several(attributes: Option<&Value>) -> Vec<Self> {
        match attributes.and_then(Value::as_str) {
            Some(paths) => paths
                .split(',')
                .map(|path| Self::new(Some(&Value::from(path))))
                .collect(),
            None => vec![Self::new(attributes)],
        }
    }

    /// With what stands for attributes that are not there.
    pub(super) fn with_default(self, default: Option<&Value>) -> Self {
        let default = default.cloned();
        Self { default, ..self }
    }

    pub(super) fn get(&self, item: &Value) -> Result<Value, Error> {
        let mut found = item.clone();
        for part in &self.path {
            if found.is_undefined() {
                return Err(undefined());
            }
            found = found.get_item(part).unwrap_or_default();
            if let (true, Some(default)) = (found.is_undefined(), &self.default) {
                found = default.clone();
            }
        }
        Ok(found)
    }
}

/// A part of a path: digits are an index.
fn part(text: &str) -> Value {
    text.parse::<u32>()
        .map_or_else(|_| Value::from(text), Value::from)
}

/// A group of the filter `groupby`: a tuple whose parts have names.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) grouper: Value,
    pub(super) items: Value,
}

impl Object for Group {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = match (key.as_str(), key.as_i64()) {
            (Some("grouper"), _) | (_, Some(0 | -2)) => &self.grouper,
            (Some("list"), _) | (_, Some(1 | -1)) => &self.items,
            _ => return None,
        };
        Some(found.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(2)
    }
}
