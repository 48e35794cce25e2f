//! Jinja2's tests (`is …`) where minijinja's differ.

use minijinja::value::ValueKind;
use minijinja::{Environment, Error, Value};

use super::operators::modulo;
use super::values::{compare, contains, to_text};

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_test("sequence", |value: Value| {
        use ValueKind::{Bytes, Map, Seq, String, Undefined};
        matches!(value.kind(), Seq | Map | String | Bytes | Undefined)
            // What `range`, slices and sums of lists give are lists that are not made yet.
            || value.kind() == ValueKind::Iterable && value.len().is_some()
    });
    environment.add_test("iterable", |value: Value| {
        !value.is_none() && value.try_iter().is_ok()
    });
    environment.add_test("integer", |value: Value| value.is_integer());
    environment.add_test("callable", is_callable);
    environment.add_test("escaped", |value: Value| value.is_safe());
    environment.add_test("odd", |value: Value| is_remainder(value, 2, 1));
    environment.add_test("even", |value: Value| is_remainder(value, 2, 0));
    environment.add_test("divisibleby", |value: Value, by: Value| {
        modulo(value, by).map(|remainder| remainder == Value::from(0))
    });
    environment.add_test("in", |item: Value, container: Value| {
        contains(&container, &item)
    });
    environment.add_test("lower", |value: Value| is_cased(&value, char::is_lowercase));
    environment.add_test("upper", |value: Value| is_cased(&value, char::is_uppercase));
    for (names, operator, holds) in ORDERS {
        for name in *names {
            environment.add_test(*name, move |left: Value, right: Value| {
                compare(&left, &right, operator).map(holds)
            });
        }
    }
}

type Holds = fn(std::cmp::Ordering) -> bool;

const ORDERS: &[(&[&str], &str, Holds)] = &[
    (&["lt", "lessthan"], "<", std::cmp::Ordering::is_lt),
    (&["le"], "<=", std::cmp::Ordering::is_le),
    (&["gt", "greaterthan"], ">", std::cmp::Ordering::is_gt),
    (&["ge"], ">=", std::cmp::Ordering::is_ge),
];

fn is_remainder(value: Value, by: i64, wanted: i64) -> Result<bool, Error> {
    Ok(modulo(value, Value::from(by))? == Value::from(wanted))
}

/// Functions and macros, and what is undefined, whose class has a `__call__`.
fn is_callable(value: Value) -> bool {
    match value.kind() {
        ValueKind::Undefined => true,
        ValueKind::Plain => true,
        // Macros have fields, as mappings do.
        _ => value.as_str().is_none() && value.to_string().starts_with("<macro "),
    }
}

/// `str(value).islower()` and the like: there is a letter with a case, and all are of this one.
fn is_cased(value: &Value, wanted: fn(char) -> bool) -> Result<bool, Error> {
    let text = to_text(value)?;
    let mut cased = text
        .chars()
        .filter(|c| c.is_lowercase() || c.is_uppercase())
        .peekable();
    Ok(cased.peek().is_some() && cased.all(wanted))
}
