//! The world that chat templates run in: that of `apply_chat_template` in transformers.

use std::io;
use std::sync::Arc;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Local};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, Serde, ValueOrKwargs};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Template, Value};
use serde_json::Map;

use super::{json, python};

/// Steps a template may take; the published ones take some hundred for a message. What one step may do is
/// bounded where it is done.
const MAX_STEPS: u64 = 5_000_000;
/// Bytes a template may write.
const MAX_OUTPUT: usize = 64 << 20;
/// How deeply macros and includes may call each other.
const MAX_RECURSION: usize = 100;

/// Tells the time to `strftime_now`.
pub(super) type Clock = Arc<dyn Fn() -> DateTime<Local> + Send + Sync>;

/// The words of a template's own `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

/// An environment without templates.
pub(super) fn new(clock: Clock) -> Environment<'static> {
    let mut environment = Environment::new();
    let whitespace = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the standard delimiters are valid");
    environment.set_syntax(whitespace);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_recursion_limit(MAX_RECURSION);
    python::install(&mut environment);
    environment.add_filter("tojson", tojson);
    environment.add_filter("from_json", from_json);
    environment.add_function("raise_exception", |words: String| -> Result<Value, Error> {
        let error = Error::new(
            ErrorKind::InvalidOperation,
            "the template raised an exception",
        );
        Err(error.with_source(Raised(words)))
    });
    environment.add_function("strftime_now", move |format: &str| {
        strftime(clock(), format)
    });
    environment
}

/// Renders a template, within the bounds on its output.
pub(super) fn render(
    template: &Template<'_, '_>,
    variables: &Map<String, serde_json::Value>,
) -> Result<String, Error> {
    let mut output = Bounded(Vec::new());
    template.render_captured_to(Value::from(Serde(variables)), &mut output)?;
    String::from_utf8(output.0)
        .map_err(|_| Error::new(ErrorKind::WriteFailure, "the output is not UTF-8"))
}

/// Collects output up to [`MAX_OUTPUT`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other(format!("more than {MAX_OUTPUT} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `tojson` as transformers defines it: the separators of Python's `json.dumps`, nothing escaped
/// for HTML, keys in their order.
fn tojson(value: Value, given: Rest<ValueOrKwargs>) -> Result<String, Error> {
    const PARAMETERS: &[&str] = &["ensure_ascii", "indent", "separators", "sort_keys"];
    let arguments = python::Arguments::bind(PARAMETERS, 0, &given.into_values())?;
    let separators = arguments.some(2).map(Value::try_iter).transpose()?;
    let separators: Option<Vec<String>> =
        separators.map(|pair| pair.take(3).map(|text| text.to_string()).collect());
    let style = json::Style {
        indent: indentation(&arguments)?,
        separators: separators.and_then(|pair| <[String; 2]>::try_from(pair).ok()),
        ensure_ascii: arguments.flag(0, false),
        sort_keys: arguments.flag(3, false),
    };
    let not_json =
        |message: String| Error::new(ErrorKind::BadSerialization, format!("tojson: {message}"));
    let value = python::to_json(&value).map_err(|error| not_json(error.to_string()))?;
    let text = json::to_string(&value, &style);
    if text.len() > json::MAX_LENGTH {
        let message = format!("tojson: more than {} bytes", json::MAX_LENGTH);
        return Err(Error::new(ErrorKind::InvalidOperation, message));
    }
    Ok(text)
}

/// What a level of `tojson` is indented by: so many spaces, or a text.
/// Most characters of an indentation: nothing that is read has more.
const MAX_INDENT: usize = 64;

fn indentation(arguments: &python::Arguments) -> Result<Option<String>, Error> {
    if let Some(text) = arguments.some(1).and_then(Value::as_str) {
        return Ok(Some(text.chars().take(MAX_INDENT).collect()));
    }
    let spaces = arguments.int(1)?;
    Ok(spaces.map(|spaces| " ".repeat(usize::try_from(spaces).unwrap_or(0).min(MAX_INDENT))))
}

/// The value that JSON text stands for, and any other text or value as it is. No template of
/// transformers has this; those of [`super::mistral`] do.
fn from_json(value: Value) -> Value {
    let parsed = value
        .as_str()
        .and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    parsed.map_or(value, |parsed| Value::from(Serde(parsed)))
}

/// Python's `datetime.strftime`.
fn strftime(now: DateTime<Local>, format: &str) -> Result<String, Error> {
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    if items.contains(&Item::Error) {
        return Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now: {format:?} is not a date format"),
        ));
    }
    Ok(now.format_with_items(items.into_iter()).to_string())
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;

    use super::super::dialect::translate;

    use super::*;

    fn render_source(source: &str) -> Result<String, Error> {
        let clock = || Local.with_ymd_and_hms(2024, 7, 6, 9, 5, 0).unwrap();
        let mut environment = new(Arc::new(clock));
        environment.add_template_owned("t", translate(source))?;
        let variables = serde_json::json!({
            "text": "a<b>'é'", "number": 1.0, "flag": true, "nothing": null,
            "map": {"b": [1, {"c": "<"}], "a": {}},
        });
        let template = environment.get_template("t")?;
        render(&template, variables.as_object().unwrap())
    }

    #[track_caller]
    fn assert_renders(source: &str, expected: &str) {
        assert_eq!(render_source(source).unwrap(), expected, "{source}");
    }

    #[test]
    fn values_print_as_in_python() {
        assert_renders(
            "{{ flag }} {{ nothing }} {{ number }} {{ missing }}",
            "True None 1.0 ",
        );
        assert_renders("{{ 'x' ~ flag ~ nothing }}", "xTrueNone");
        assert_renders("{{ map }}", "{'b': [1, {'c': '<'}], 'a': {}}");
        assert_renders("{{ flag | string + 'x' }}", "Truex");
    }

    #[test]
    fn tojson_is_pythons() {
        assert_renders("{{ map | tojson }}", r#"{"b": [1, {"c": "<"}], "a": {}}"#);
        assert_renders(
            "{{ map | tojson(indent=2) }}",
            "{\n  \"b\": [\n    1,\n    {\n      \"c\": \"<\"\n    }\n  ],\n  \"a\": {}\n}",
        );
        assert_renders(
            "{{ map | tojson(sort_keys=true, separators=(',', ':')) }}",
            r#"{"a":{},"b":[1,{"c":"<"}]}"#,
        );
        assert_renders("{{ text | tojson }}", r#""a<b>'é'""#);
        assert_renders(
            "{{ text | tojson(ensure_ascii=true) }}",
            r#""a<b>'\u00e9'""#,
        );
        assert!(render_source("{{ missing | tojson }}").is_err());
    }

    #[test]
    fn python_methods_slices_and_tests_work() {
        assert_renders("{{ ' ab '.strip() }}|{{ 'a,b'.split(',')[-1] }}", "ab|b");
        assert_renders("{{ [1, 2, 3][1:] }}{{ 'abc'[::-1] }}", "[2, 3]cba");
        assert_renders("{% for k, v in map.items() %}{{ k }}{% endfor %}", "ba");
        assert_renders("{{ map.get('x', 'no') }}{{ 'b' in map }}", "noTrue");
        assert_renders(
            "{{ map is mapping }}{{ text is string }}{{ map is iterable }}",
            "TrueTrueTrue",
        );
        assert_renders("{{ 'x'.startswith('x') and 'x'.upper() == 'X' }}", "True");
        assert_renders(
            "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "01",
        );
        assert_renders(
            "{% set ns = namespace(a=1) %}{% for i in [1] %}{% set ns.a = 5 %}{% endfor %}{{ ns.a }}",
            "5",
        );
    }

    #[test]
    fn blocks_take_their_line_with_them() {
        assert_renders("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc");
    }

    #[test]
    fn generation_tags_are_transparent() {
        assert_renders("a {%- generation -%} b {% endgeneration %}c", "ab c");
    }

    #[test]
    fn the_clock_is_the_one_given() {
        assert_renders("{{ strftime_now('%d %b %Y, %-d') }}", "06 Jul 2024, 6");
        assert!(render_source("{{ strftime_now('%Q') }}").is_err());
    }

    #[test]
    fn what_is_too_large_or_has_no_order_is_an_error() {
        let mixed =
            "[1, 'a', 3, 'b', 2, 'c', 9, 'd', 8, 'e', 7, 'f', 6, 'g', 5, 'h', 4, 'i', 3, 'j', 2]";
        for source in [
            "{{ '%65536s' % 'a' }}".to_owned(),
            "{{ 'a' | truncate(-9223372036854775807) }}".to_owned(),
            "{{ (['x' * 1000000] * 1000) | tojson }}".to_owned(),
            "{{ ('{0}' * 100000).format('x' * 100000) }}".to_owned(),
            format!("{{{{ ({mixed} * 3) | sort }}}}"),
        ] {
            assert!(render_source(&source).is_err(), "{source}");
        }
        assert_renders("{{ ('%65535s' % 'a') | length }}", "65535");
        assert_renders("{{ [3, 1, 2] | sort(reverse=true) }}", "[3, 2, 1]");
        // Not a number is not in any order, and no reason to panic.
        let nan = "(range(30) | list) + [1e308 * 10 - 1e308 * 10] + (range(30) | list)";
        assert!(render_source(&format!("{{{{ ({nan}) | sort | length }}}}")).is_ok());
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let nested = "{% for i in range(9999) %}".repeat(3) + &"{% endfor %}".repeat(3);
        let error = render_source(&nested).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfFuel);
        let recursion = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
        assert!(render_source(recursion).is_err());
        let output = "{% set x = 'x' * 1000000 %}{% for i in range(100) %}{{ x }}{% endfor %}";
        assert!(render_source(output).is_err());
    }

    #[test]
    fn nothing_makes_more_than_a_template_may_write() {
        for expression in [
            "([1] * 90000000) | list | length",
            "([1] * 90000000) | tojson",
            "(['x' * 1000000] * 1000) | join | length",
            "('x'.join(['y' * 1000000] * 1000)) | length",
            "('\\n' * 1000000) | indent(60000) | length",
            "('%(a)60000s' * 10000) % {'a': 1}",
            "'%999999999d' % 1",
            "'{:999999999}'.format(1)",
            "('{0:60000}' * 10000).format(1)",
            "'x'.center(999999999)",
            "('\\t' * 1000000).expandtabs(1000)",
            "('x' * 1000000).replace('x', 'y' * 1000)",
        ] {
            let source = format!("{{{{ {expression} }}}}");
            assert!(render_source(&source).is_err(), "{expression}");
        }
        let shared = "{% set a = [1] %}{% set ns = namespace(a=a) %}{% for i in range(60) %}\
                      {% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a";
        for end in [" }}", " | tojson }}"] {
            assert!(render_source(&format!("{shared}{end}")).is_err());
        }
    }
}
