//! Jinja2's filters over lists and mappings.

use std::cmp::Ordering;

use minijinja::value::{Tuple, ValueKind};
use minijinja::{Error, Value};

use super::arguments::Arguments;
use super::attributes::{Getter, Group};
use super::filter::{Filter, filter};
use super::number_filters::whole;
use super::values::{
    check_length, collect, compare, to_float, to_int, to_text, type_error, type_name, undefined,
};

pub(super) const FILTERS: &[Filter] = &[
    filter("length", &[], 0, length),
    filter("count", &[], 0, length),
    filter("first", &[], 0, |value, _| {
        Ok(collect(value)?.into_iter().next().unwrap_or_default())
    }),
    filter("last", &[], 0, |value, _| {
        Ok(collect(value)?.pop().unwrap_or_default())
    }),
    // Templates have to give the same text each time.
    filter("random", &[], 0, |value, _| {
        Ok(collect(value)?.into_iter().next().unwrap_or_default())
    }),
    filter("list", &[], 0, |value, _| Ok(Value::from(collect(value)?))),
    filter("join", &["d", "attribute"], 0, join),
    filter("default", &["default_value", "boolean"], 0, default),
    filter("d", &["default_value", "boolean"], 0, default),
    filter("attr", &["name"], 1, |value, _| {
        match value.is_undefined() {
            true => Err(undefined()),
            // What Jinja2 finds here are methods, not the entries of mappings.
            false => Ok(Value::UNDEFINED),
        }
    }),
    filter("sort", &["reverse", "case_sensitive", "attribute"], 0, sort),
    filter(
        "dictsort",
        &["case_sensitive", "by", "reverse"],
        0,
        dictsort,
    ),
    filter("unique", &["case_sensitive", "attribute"], 0, unique),
    filter(
        "min",
        &["case_sensitive", "attribute"],
        0,
        |value, arguments| extreme(value, arguments, Ordering::Less),
    ),
    filter(
        "max",
        &["case_sensitive", "attribute"],
        0,
        |value, arguments| extreme(value, arguments, Ordering::Greater),
    ),
    filter(
        "groupby",
        &["attribute", "default", "case_sensitive"],
        1,
        groupby,
    ),
    filter("sum", &["attribute", "start"], 0, sum),
    filter("items", &[], 0, |value, _| match value.kind() {
        ValueKind::Undefined => Ok(Value::from(Vec::<Value>::new())),
        ValueKind::Map => pairs(value).map(|pairs| pairs.into_iter().map(tuple).collect()),
        _ => Err(type_error("Can only get item pairs from a mapping.")),
    }),
    filter("batch", &["linecount", "fill_with"], 1, batch),
    filter("slice", &["slices", "fill_with"], 1, slice),
];

fn length(value: &Value, _: &Arguments) -> Result<Value, Error> {
    if value.is_undefined() {
        return Ok(Value::from(0));
    }
    match value.len() {
        Some(length) => Ok(length.into()),
        None if value.kind() == ValueKind::Iterable => Ok(collect(value)?.len().into()),
        None => {
            let found = type_name(value);
            Err(type_error(format!("object of type '{found}' has no len()")))
        }
    }
}

fn default(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let is_missing = value.is_undefined() || arguments.flag(1, false) && !value.is_true();
    Ok(match (is_missing, arguments.get(0)) {
        (true, Some(default)) => default.clone(),
        (true, None) => Value::from(""),
        (false, _) => value.clone(),
    })
}

fn join(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let separator = arguments
        .get(0)
        .map(to_text)
        .transpose()?
        .unwrap_or_default();
    let getter = Getter::new(arguments.some(1));
    let mut output = String::new();
    for (index, item) in collect(value)?.iter().enumerate() {
        if index > 0 {
            output.push_str(&separator);
        }
        output.push_str(&to_text(&getter.get(item)?)?);
        check_length(output.len())?;
    }
    Ok(output.into())
}

/// Sorts by keys, those that are equal in their order. The first comparison that fails is the outcome.
fn sort_by_keys<T>(items: &mut Vec<(Vec<Value>, T)>, reverse: bool) -> Result<(), Error> {
    *items = merge_sort(std::mem::take(items), &|left, right| {
        for (left, right) in left.0.iter().zip(&right.0) {
            if left != right {
                let order = compare(left, right, "<")?;
                return Ok(if reverse { order.reverse() } else { order });
            }
        }
        Ok(Ordering::Equal)
    })?;
    Ok(())
}

/// Sorts by an order that need not be one: the sorting of the standard library may panic on what
/// templates compare.
fn merge_sort<T>(
    mut items: Vec<T>,
    order: &impl Fn(&T, &T) -> Result<Ordering, Error>,
) -> Result<Vec<T>, Error> {
    if items.len() < 2 {
        return Ok(items);
    }
    let right = items.split_off(items.len() / 2);
    let mut left = merge_sort(items, order)?.into_iter().peekable();
    let mut right = merge_sort(right, order)?.into_iter().peekable();
    let mut merged = Vec::with_capacity(left.len() + right.len());
    while let (Some(first), Some(second)) = (left.peek(), right.peek()) {
        let from = match order(first, second)? {
            Ordering::Greater => &mut right,
            _ => &mut left,
        };
        merged.extend(from.next());
    }
    merged.extend(left);
    merged.extend(right);
    Ok(merged)
}

/// Texts without their case, unless it matters.
fn folded(value: Value, case_sensitive: bool) -> Value {
    match value.as_str() {
        Some(text) if !case_sensitive => Value::from(text.to_lowercase()),
        _ => value,
    }
}

fn sort(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let case_sensitive = arguments.flag(1, false);
    let getters = Getter::several(arguments.some(2));
    let mut keyed = Vec::new();
    for item in collect(value)? {
        let keys = getters
            .iter()
            .map(|getter| Ok(folded(getter.get(&item)?, case_sensitive)));
        keyed.push((keys.collect::<Result<Vec<_>, Error>>()?, item));
    }
    sort_by_keys(&mut keyed, arguments.flag(0, false))?;
    Ok(keyed.into_iter().map(|(_, item)| item).collect())
}

/// The entries of a mapping.
fn pairs(value: &Value) -> Result<Vec<[Value; 2]>, Error> {
    if value.is_undefined() {
        return Err(undefined());
    }
    if value.kind() != ValueKind::Map {
        let found = type_name(value);
        return Err(type_error(format!(
            "'{found}' object has no attribute 'items'"
        )));
    }
    let keys = collect(value)?.into_iter();
    keys.map(|key| Ok([key.clone(), value.get_item(&key)?]))
        .collect()
}

fn tuple(pair: [Value; 2]) -> Value {
    Value::from(Tuple::from(pair))
}

fn dictsort(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let place = match arguments.string(1)?.unwrap_or("key") {
        "key" => 0,
        "value" => 1,
        _ => {
            return Err(type_error(
                "You can only sort by either \"key\" or \"value\"",
            ));
        }
    };
    let case_sensitive = arguments.flag(0, false);
    let keyed = pairs(value)?.into_iter();
    let mut keyed: Vec<_> = keyed
        .map(|pair| (vec![folded(pair[place].clone(), case_sensitive)], pair))
        .collect();
    sort_by_keys(&mut keyed, arguments.flag(2, false))?;
    Ok(keyed.into_iter().map(|(_, pair)| tuple(pair)).collect())
}

fn unique(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let getter = Getter::new(arguments.some(1));
    let mut seen = std::collections::HashSet::new();
    let mut kept = Vec::new();
    for item in collect(value)? {
        if seen.insert(folded(getter.get(&item)?, arguments.flag(0, false))) {
            kept.push(item);
        }
    }
    Ok(Value::from(kept))
}

/// The first of the smallest or of the largest items.
fn extreme(value: &Value, arguments: &Arguments, wanted: Ordering) -> Result<Value, Error> {
    let getter = Getter::new(arguments.some(1));
    let mut best: Option<(Value, Value)> = None;
    for item in collect(value)? {
        let key = folded(getter.get(&item)?, arguments.flag(0, false));
        let is_better = match &best {
            Some((best, _)) => {
                compare(&key, best, if wanted.is_lt() { "<" } else { ">" })? == wanted
            }
            None => true,
        };
        if is_better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Value::UNDEFINED, |(_, item)| item))
}

fn groupby(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let getter = Getter::new(arguments.get(0)).with_default(arguments.some(1));
    let case_sensitive = arguments.flag(2, false);
    let mut keyed = Vec::new();
    for item in collect(value)? {
        keyed.push((vec![folded(getter.get(&item)?, case_sensitive)], item));
    }
    sort_by_keys(&mut keyed, false)?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (mut key, item) in keyed {
        let key = key.pop().unwrap_or_default();
        match groups.last_mut() {
            Some((last, items)) if *last == key => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let groups = groups.into_iter().map(|(_, items)| {
        let grouper = getter.get(&items[0])?;
        Ok(Value::from_object(Group {
            grouper,
            items: items.into(),
        }))
    });
    groups.collect::<Result<Vec<_>, Error>>().map(Value::from)
}

/// `left + right`, of numbers and of lists.
fn add(left: &Value, right: &Value) -> Result<Value, Error> {
    if left.is_undefined() || right.is_undefined() {
        return Err(undefined());
    }
    if let (Some(left), Some(right)) = (to_int(left), to_int(right)) {
        return Ok(whole(left.saturating_add(right)));
    }
    if let (Some(left), Some(right)) = (to_float(left), to_float(right)) {
        return Ok(Value::from(left + right));
    }
    let names = [left, right].map(type_name);
    if names == ["list", "list"] {
        let mut both = collect(left)?;
        both.extend(collect(right)?);
        return Ok(Value::from(both));
    }
    Err(type_error(format!(
        "unsupported operand type(s) for +: '{}' and '{}'",
        names[0], names[1]
    )))
}

fn sum(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let getter = Getter::new(arguments.some(0));
    let mut total = arguments.get(1).cloned().unwrap_or(Value::from(0));
    for item in collect(value)? {
        let item = getter.get(&item)?;
        total = add(&total, &item)?;
    }
    Ok(total)
}

/// How many lists there are to be, at least one.
fn count(arguments: &Arguments) -> Result<usize, Error> {
    let count = arguments
        .int(0)?
        .and_then(|count| usize::try_from(count).ok());
    count
        .filter(|count| (1..=1 << 16).contains(count))
        .ok_or_else(|| type_error("there have to be 1 to 65536 items or slices"))
}

fn batch(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let count = count(arguments)?;
    let items = collect(value)?;
    let batches = items.chunks(count).map(|batch| {
        let mut batch = batch.to_vec();
        if let Some(filler) = arguments.some(1) {
            batch.resize(count, filler.clone());
        }
        Value::from(batch)
    });
    Ok(batches.collect())
}

fn slice(value: &Value, arguments: &Arguments) -> Result<Value, Error> {
    let count = count(arguments)?;
    let items = collect(value)?;
    let (each, longer) = (items.len() / count, items.len() % count);
    let mut rest = items.as_slice();
    let slices = (0..count).map(|index| {
        let (slice, behind) = rest.split_at(each + usize::from(index < longer));
        rest = behind;
        let mut slice = slice.to_vec();
        slice.extend(arguments.some(1).filter(|_| index >= longer).cloned());
        Value::from(slice)
    });
    Ok(slices.collect())
}
