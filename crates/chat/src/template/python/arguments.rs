//! Arguments bound to parameters as Python binds them: by place or by name.

use minijinja::value::Kwargs;
use minijinja::{Error, ErrorKind, Value};

use super::values::{to_int, to_text, type_error, type_name};

/// The arguments of one call.
pub(in super::super) struct Arguments {
    names: &'static [&'static str],
    values: Vec<Option<Value>>,
}

impl Arguments {
    /// Binds `given` to the parameters called `names`, of which the first `required` have to be
    /// there.
    pub(in super::super) fn bind(
        names: &'static [&'static str],
        required: usize,
        given: &[Value],
    ) -> Result<Self, Error> {
        let mut values = vec![None; names.len()];
        let (by_place, by_name) = split(given)?;
        if by_place.len() > names.len() {
            let message = format!("takes {} arguments, not {}", names.len(), by_place.len());
            return Err(Error::new(ErrorKind::TooManyArguments, message));
        }
        for (slot, value) in values.iter_mut().zip(by_place) {
            *slot = Some(value.clone());
        }
        if let Some(by_name) = by_name {
            for name in by_name.args() {
                let slot = names.iter().position(|known| *known == name);
                let Some(slot) = slot.filter(|&slot| values[slot].is_none()) else {
                    let message = format!("unexpected keyword argument '{name}'");
                    return Err(Error::new(ErrorKind::TooManyArguments, message));
                };
                values[slot] = Some(by_name.get(name)?);
            }
        }
        if let Some(missing) = values.iter().take(required).position(Option::is_none) {
            let message = format!("missing argument '{}'", names[missing]);
            return Err(Error::new(ErrorKind::MissingArgument, message));
        }
        Ok(Self { names, values })
    }

    pub(super) fn get(&self, index: usize) -> Option<&Value> {
        self.values[index].as_ref()
    }

    /// The argument, unless it is left out or none.
    pub(in super::super) fn some(&self, index: usize) -> Option<&Value> {
        self.get(index).filter(|value| !value.is_none())
    }

    /// `str` of the argument.
    pub(super) fn text_of(&self, index: usize) -> Result<Option<String>, Error> {
        self.some(index).map(to_text).transpose()
    }

    /// The argument, which has to be a string.
    pub(super) fn string(&self, index: usize) -> Result<Option<&str>, Error> {
        let wrong = |value| {
            let (name, found) = (self.names[index], type_name(value));
            type_error(format!("'{name}' must be str, not {found}"))
        };
        self.some(index)
            .map(|value| value.as_str().ok_or_else(|| wrong(value)))
            .transpose()
    }

    /// The argument, which has to be a whole number.
    pub(in super::super) fn int(&self, index: usize) -> Result<Option<i64>, Error> {
        let wrong = |value| {
            let (name, found) = (self.names[index], type_name(value));
            type_error(format!(
                "'{name}': '{found}' cannot be interpreted as an integer"
            ))
        };
        self.some(index)
            .map(|value| {
                let int = to_int(value).and_then(|int| i64::try_from(int).ok());
                int.ok_or_else(|| wrong(value))
            })
            .transpose()
    }

    /// Whether the argument is true, or `default` where it is left out.
    pub(in super::super) fn flag(&self, index: usize, default: bool) -> bool {
        self.get(index).map_or(default, Value::is_true)
    }
}

/// Arguments by place and by name.
pub(super) fn split(given: &[Value]) -> Result<(&[Value], Option<Kwargs>), Error> {
    match given.split_last() {
        Some((last, others)) if last.is_kwargs() => {
            Ok((others, Some(Kwargs::try_from(last.clone())?)))
        }
        _ => Ok((given, None)),
    }
}
