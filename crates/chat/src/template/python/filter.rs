//! A filter as its name, its parameters and what it does.

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Environment, Error, Value};

use super::arguments::Arguments;

type Apply = fn(&Value, &Arguments) -> Result<Value, Error>;

/// A filter whose arguments are bound as Python binds them.
pub(super) struct Filter {
    name: &'static str,
    parameters: &'static [&'static str],
    required: usize,
    apply: Apply,
}

/// A filter, the first `required` of whose parameters have to be given.
pub(super) const fn filter(
    name: &'static str,
    parameters: &'static [&'static str],
    required: usize,
    apply: Apply,
) -> Filter {
    Filter {
        name,
        parameters,
        required,
        apply,
    }
}

impl Filter {
    pub(super) fn install(&self, environment: &mut Environment<'static>) {
        let Self {
            name,
            parameters,
            required,
            apply,
        } = *self;
        environment.add_filter(name, move |value: Value, given: Rest<ValueOrKwargs>| {
            let arguments = Arguments::bind(parameters, required, &given.into_values());
            let arguments = arguments.map_err(|error| {
                let detail = error.detail().unwrap_or("wrong arguments");
                Error::new(error.kind(), format!("{name}: {detail}"))
            })?;
            apply(&value, &arguments)
        });
    }
}
