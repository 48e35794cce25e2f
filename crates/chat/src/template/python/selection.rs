//! The filters that call filters and tests by name: `map`, `select`, `selectattr` and their
//! opposites.

use minijinja::value::{Kwargs, Rest, ValueOrKwargs};
use minijinja::{Environment, Error, State, Value};

use super::arguments::split;
use super::attributes::Getter;
use super::values::{collect, type_error};

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_filter("map", map);
    for (name, by_attribute, keeps) in [
        ("select", false, true),
        ("reject", false, false),
        ("selectattr", true, true),
        ("rejectattr", true, false),
    ] {
        environment.add_filter(
            name,
            move |state: &mut State<'_, '_>, value: Value, given: Rest<ValueOrKwargs>| {
                select(state, &value, &given.into_values(), by_attribute, keeps)
            },
        );
    }
}

fn map(
    state: &mut State<'_, '_>,
    value: Value,
    given: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let given = given.into_values();
    let (by_place, by_name) = split(&given)?;
    let items = collect_true(&value)?;
    if by_place.is_empty() {
        let named = |name: &str| by_name.as_ref().map(|by_name: &Kwargs| by_name.get(name));
        let attribute: Option<Value> = named("attribute").transpose()?.flatten();
        let default: Option<Value> = named("default").transpose()?.flatten();
        if let Some(by_name) = &by_name {
            by_name.assert_all_used()?;
        }
        let Some(attribute) = attribute else {
            return Err(type_error("map requires a filter argument"));
        };
        let default = default.filter(|default| !default.is_none());
        let getter = Getter::new(Some(&attribute)).with_default(default.as_ref());
        let found = items.iter().map(|item| getter.get(item));
        return found.collect::<Result<Vec<_>, _>>().map(Value::from);
    }
    let filter = name(by_place, 0)?;
    let mapped = items.into_iter().map(|item| {
        let arguments = [&[item], &given[1..]].concat();
        state.apply_filter(filter, &arguments)
    });
    mapped.collect::<Result<Vec<_>, _>>().map(Value::from)
}

fn select(
    state: &mut State<'_, '_>,
    value: &Value,
    given: &[Value],
    by_attribute: bool,
    keeps: bool,
) -> Result<Value, Error> {
    let first = usize::from(by_attribute);
    if given.len() < first {
        return Err(type_error("Missing parameter for attribute name"));
    }
    let getter = Getter::new(given.first().filter(|_| by_attribute));
    let mut kept = Vec::new();
    for item in collect_true(value)? {
        let subject = getter.get(&item)?;
        let holds = if given.len() > first {
            let arguments = [&[subject], &given[first + 1..]].concat();
            state.perform_test(name(given, first)?, &arguments)?
        } else {
            subject.is_true()
        };
        if holds == keeps {
            kept.push(item);
        }
    }
    Ok(Value::from(kept))
}

/// The items of a list; what is false has none.
fn collect_true(value: &Value) -> Result<Vec<Value>, Error> {
    match value.is_true() {
        true => collect(value),
        false => Ok(Vec::new()),
    }
}

/// The name of a filter or test among the arguments.
fn name(given: &[Value], index: usize) -> Result<&str, Error> {
    let name = given.get(index).and_then(Value::as_str);
    name.ok_or_else(|| type_error("the name of a filter or a test is a text"))
}
