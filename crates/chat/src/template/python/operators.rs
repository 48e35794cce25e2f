//! The operators that [`super::super::dialect`] writes as filters.

use std::cmp::Ordering;

use minijinja::value::{Rest, ValueKind};
use minijinja::{Environment, Error, Value};

use super::percent::percent;
use super::values::{compare, contains, to_float, to_int, type_error, type_name, undefined};

pub(super) fn install(environment: &mut Environment<'static>) {
    environment.add_filter("__mod", modulo);
    environment.add_filter("__pos", positive);
    environment.add_filter("__compare", compare_chain);
}

/// `left % right`.
pub(super) fn modulo(left: Value, right: Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        return percent(text, &right).map(Value::from);
    }
    if left.is_undefined() || right.is_undefined() {
        return Err(undefined());
    }
    if let (Some(left), Some(right)) = (to_int(&left), to_int(&right)) {
        let remainder = left.checked_rem_euclid(right).map(|positive| {
            let has_other_sign = positive != 0 && right < 0;
            if has_other_sign {
                positive + right
            } else {
                positive
            }
        });
        let remainder = remainder.ok_or_else(|| type_error("integer modulo by zero"))?;
        return Ok(match i64::try_from(remainder) {
            Ok(small) => Value::from(small),
            Err(_) => Value::from(remainder),
        });
    }
    match (to_float(&left), to_float(&right)) {
        (Some(_), Some(0.0)) => Err(type_error("float modulo")),
        (Some(left), Some(right)) => {
            let remainder = left % right;
            let has_other_sign = remainder != 0.0 && (remainder < 0.0) != (right < 0.0);
            Ok(Value::from(if has_other_sign {
                remainder + right
            } else {
                remainder
            }))
        }
        _ => Err(type_error(format!(
            "unsupported operand type(s) for %: '{}' and '{}'",
            type_name(&left),
            type_name(&right)
        ))),
    }
}

/// `+value`.
fn positive(value: Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Number => Ok(value),
        ValueKind::Bool => Ok(Value::from(i64::from(value.is_true()))),
        ValueKind::Undefined => Err(undefined()),
        _ => {
            let found = type_name(&value);
            Err(type_error(format!(
                "bad operand type for unary +: '{found}'"
            )))
        }
    }
}

/// `first < second <= third …`, given as values with operators between them.
fn compare_chain(first: Value, rest: Rest<Value>) -> Result<bool, Error> {
    let mut left = &first;
    for pair in rest.chunks_exact(2) {
        let operator = pair[0].as_str().unwrap_or_default();
        if !holds(left, operator, &pair[1])? {
            return Ok(false);
        }
        left = &pair[1];
    }
    Ok(true)
}

fn holds(left: &Value, operator: &str, right: &Value) -> Result<bool, Error> {
    let order = |wanted: fn(Ordering) -> bool| compare(left, right, operator).map(wanted);
    match operator {
        "<" => order(Ordering::is_lt),
        "<=" => order(Ordering::is_le),
        ">" => order(Ordering::is_gt),
        ">=" => order(Ordering::is_ge),
        "==" => Ok(left == right),
        "!=" => Ok(left != right),
        "in" => contains(right, left),
        "not in" => contains(right, left).map(|found| !found),
        _ => Err(type_error(format!("no such operator: {operator}"))),
    }
}
