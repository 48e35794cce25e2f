//! Python's ways for templates, which are written for Jinja2 in the settings of transformers:
//! operators, tests, filters and methods where minijinja's differ.
//!
//! What must come out is in `tests/fixtures/jinja`, made by Jinja2 itself.

mod arguments;
mod attributes;
mod collection_methods;
mod filter;
mod globals;
mod list_filters;
mod number_filters;
mod operators;
mod percent;
mod selection;
mod string_methods;
mod string_tests;
mod text_filters;
mod to_json;
mod type_tests;
mod values;

use minijinja::{Environment, Error, ErrorKind, Output, State, Value};

pub(super) use arguments::Arguments;
pub(super) use to_json::to_json;

/// Teaches an environment.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_formatter(print);
    environment.set_unknown_method_callback(call_method);
    operators::install(environment);
    type_tests::install(environment);
    selection::install(environment);
    globals::install(environment);
    environment.add_filter("format", text_filters::format);
    let filters = [
        text_filters::FILTERS,
        number_filters::FILTERS,
        list_filters::FILTERS,
    ];
    for filter in filters.into_iter().flatten() {
        filter.install(environment);
    }
}

/// `{{ value }}`.
fn print(output: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let written = match value.as_str() {
        Some(text) => output.write_str(text),
        None => output.write_str(&values::to_text(value)?),
    };
    written.map_err(|_| Error::from(ErrorKind::WriteFailure))
}

fn call_method(
    _: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    given: &[Value],
) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => string_methods::call(text, method, given),
        None => collection_methods::call(value, method, given),
    }
}
