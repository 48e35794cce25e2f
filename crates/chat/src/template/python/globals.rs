//! Jinja2's functions that minijinja lacks or has otherwise: `dict`, `joiner` and `cycler`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, ObjectRepr, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, State, Value};

use super::arguments::split;
use super::values::{collect, to_text, type_error};

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_function("dict", dict);
    environment.add_function("joiner", |separator: Option<Value>| {
        let separator = separator.unwrap_or_else(|| Value::from(", "));
        let calls = AtomicUsize::new(0);
        Ok::<_, Error>(Value::from_object(Joiner { separator, calls }))
    });
    environment.add_function("cycler", |items: Rest<Value>| {
        if items.is_empty() {
            return Err(type_error("at least one item has to be provided"));
        }
        let place = AtomicUsize::new(0);
        Ok(Value::from_object(Cycler {
            items: items.0,
            place,
        }))
    });
}

/// `dict(mapping or pairs, key=value…)`.
fn dict(given: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let given = given.into_values();
    let (by_place, by_name) = split(&given)?;
    let mut entries: Vec<(Value, Value)> = Vec::new();
    match by_place {
        [] => {}
        [from] => {
            for item in collect(from)? {
                entries.push(match from.kind() {
                    ValueKind::Map => (item.clone(), from.get_item(&item)?),
                    _ => (item.get_item_by_index(0)?, item.get_item_by_index(1)?),
                });
            }
        }
        _ => return Err(type_error("dict expected at most 1 argument")),
    }
    if let Some(by_name) = by_name {
        for name in by_name.args() {
            entries.push((Value::from(name), by_name.get(name)?));
        }
    }
    Ok(Value::from_pairs(entries))
}

/// Gives nothing the first time, and its separator from then on.
#[derive(Debug)]
struct Joiner {
    separator: Value,
    calls: AtomicUsize,
}

impl Object for Joiner {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        match self.calls.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Value::from("")),
            _ => to_text(&self.separator).map(Value::from),
        }
    }
}

/// Gives its items one after the other, again and again.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    place: AtomicUsize,
}

impl Cycler {
    fn current(&self) -> Value {
        let place = self.place.load(Ordering::Relaxed) % self.items.len();
        self.items[place].clone()
    }
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        (key.as_str() == Some("current")).then(|| self.current())
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        _: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "next" => {
                let current = self.current();
                self.place.fetch_add(1, Ordering::Relaxed);
                Ok(current)
            }
            "reset" => {
                self.place.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
