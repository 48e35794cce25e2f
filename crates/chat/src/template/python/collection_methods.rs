//! The methods of Python's lists, tuples, mappings and numbers that change nothing.

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, ErrorKind, Value};

use super::arguments::Arguments;
use super::values::{collect, to_float, type_error, type_name};

/// Calls `value.method(given…)`.
pub(super) fn call(value: &Value, method: &str, given: &[Value]) -> Result<Value, Error> {
    let bind = |names, required| Arguments::bind(names, required, given);
    match (value.kind(), method) {
        (ValueKind::Map, "get") => {
            let arguments = bind(&["key", "default"], 1)?;
            let key = arguments.get(0).unwrap_or(&Value::UNDEFINED);
            let found = value.get_item(key)?;
            let default = || arguments.get(1).cloned().unwrap_or(Value::from(()));
            Ok(if found.is_undefined() {
                default()
            } else {
                found
            })
        }
        (ValueKind::Map, "keys") => {
            bind(&[], 0)?;
            collect(value).map(Value::from)
        }
        (ValueKind::Map, "values" | "items") => {
            bind(&[], 0)?;
            let entry = |key: Value| {
                let entry = value.get_item(&key)?;
                Ok(if method == "items" {
                    Value::from(Tuple::from([key, entry]))
                } else {
                    entry
                })
            };
            collect(value)?
                .into_iter()
                .map(entry)
                .collect::<Result<Vec<_>, Error>>()
                .map(Value::from)
        }
        (ValueKind::Map | ValueKind::Seq | ValueKind::Iterable, "copy") => {
            bind(&[], 0)?;
            Ok(value.clone())
        }
        (ValueKind::Seq | ValueKind::Iterable, "count") => {
            let arguments = bind(&["value"], 1)?;
            let same = |item: &&Value| Some(*item) == arguments.get(0);
            Ok(collect(value)?.iter().filter(same).count().into())
        }
        (ValueKind::Seq | ValueKind::Iterable, "index") => {
            let arguments = bind(&["value"], 1)?;
            let items = collect(value)?;
            let found = items.iter().position(|item| Some(item) == arguments.get(0));
            let missing = || type_error(format!("the item is not in {}", type_name(value)));
            found.map(Value::from).ok_or_else(missing)
        }
        (ValueKind::Number, "is_integer") => {
            bind(&[], 0)?;
            Ok(Value::from(
                to_float(value).is_some_and(|float| float.fract() == 0.0),
            ))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}
