//! What Jinja2 has and minijinja's syntax has not, written in minijinja's.
//!
//! - `{% generation %}` and `{% endgeneration %}`, with which training code finds the assistant's
//!   tokens, become a block that does nothing.
//! - Operators that Python gives a meaning of its own (`'%s' % x`, `+x`, comparisons, which refuse
//!   to compare a number with a text) become filters (see [`super::python`]):
//!
//! ```text
//! {{ 'n: %d' % n if 1 < n }}   ──▶   {{ ('n: %d')|__mod( n) if (1)|__compare("<", n) }}
//! ```
//!
//! Operands are found by Jinja2's own grammar, and only operators are replaced, so that lines stay
//! lines. A tag that cannot be read is left as it is, and so is what follows one that never ends:
//! minijinja says what is wrong with it.

mod escapes;
mod expression;
mod parser;
mod tokens;

use expression::Expression;

/// `source` with what minijinja lacks put into its words.
pub(super) fn translate(source: &str) -> String {
    let mut output = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = next_tag(rest) {
        let (before, tag) = rest.split_at(start);
        output.push_str(before);
        let length = translate_tag(tag, &mut output);
        rest = &tag[length..];
    }
    output.push_str(rest);
    output
}

/// Where the next `{{`, `{%` or `{#` is.
fn next_tag(text: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = text[from..].find('{') {
        let start = from + found;
        if matches!(text.as_bytes().get(start + 1), Some(b'{' | b'%' | b'#')) {
            return Some(start);
        }
        from = start + 1;
    }
    None
}

/// Writes the tag that `text` begins with and returns its length.
fn translate_tag(text: &str, output: &mut String) -> usize {
    let verbatim = |length: usize, output: &mut String| {
        output.push_str(&text[..length]);
        length
    };
    match &text[..2] {
        "{#" => {
            let end = text.find("#}").map_or(text.len(), |end| end + 2);
            verbatim(end, output)
        }
        "{{" => match Expression::read(&text[2..], "}}") {
            Some(expression) => {
                output.push_str("{{");
                output.push_str(&expression.translate_variable());
                2 + expression.length()
            }
            None => verbatim(text.len(), output),
        },
        _ => match Expression::read(&text[2..], "%}") {
            Some(expression) => {
                let length = 2 + expression.length();
                if expression.is_word("raw") {
                    return verbatim(end_of_raw(text, length), output);
                }
                output.push_str("{%");
                output.push_str(&expression.translate_statement());
                length
            }
            None => verbatim(text.len(), output),
        },
    }
}

/// Where the tag begins that ends the raw text behind `length` bytes.
fn end_of_raw(text: &str, length: usize) -> usize {
    let mut from = length;
    while let Some(found) = text[from..].find("{%") {
        let start = from + found;
        let inside = text[start + 2..].trim_start_matches(['-', '+']);
        if inside.trim_start().starts_with("endraw") {
            return start;
        }
        from = start + 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_translates(source: &str, expected: &str) {
        assert_eq!(translate(source), expected);
    }

    #[test]
    fn operators_become_filters_over_the_operands_of_jinja2() {
        assert_translates(
            "{{ a * b % c + d }}{{ a%b%c }}",
            "{{ (a * b )|__mod( c) + d }}{{ ((a)|__mod(b))|__mod(c) }}",
        );
        assert_translates("{{ +x | f }}", "{{ ((x)|__pos) | f }}");
        assert_translates(
            "{% if not a.b[1] < c | length and 'x' not in y %}",
            "{% if not (a.b[1] )|__compare(\"<\", c | length) and ('x' )|__compare(\"not in\", y) %}",
        );
        assert_translates(
            "{{ 1 < a <= 3 }}",
            "{{ (1 )|__compare(\"<\", a , \"<=\", 3) }}",
        );
        assert_translates(
            "{%- for a, b in c % 2 if a > b recursive -%}",
            "{%- for a, b in (c )|__mod( 2) if (a )|__compare(\">\", b) recursive -%}",
        );
        assert_translates(
            "{% set a = x % 2, +y %}",
            "{% set a = (x )|__mod( 2), ((y)|__pos) %}",
        );
        assert_translates(
            "{{ f(a % b, k=c % d)[e % f:] }}",
            "{{ f((a )|__mod( b), k=(c )|__mod( d))[(e )|__mod( f):] }}",
        );
    }

    #[test]
    fn escapes_are_pythons() {
        assert_translates(
            r"{{ '\a\v\/\n\'\\a' ~ '\U0001F980' }}",
            r"{{ '\x07\x0b\\/\n\'\\a' ~ '🦀' }}",
        );
        assert_translates("{{ 'a\\\nb' }}", "{{ 'ab' }}");
        assert_translates(r"{{ '\U00' }}", r"{{ '\U00' }}");
    }

    #[test]
    fn what_needs_no_translation_stays_as_it_is() {
        for source in [
            "{{ a == b and c != d ~ 'x % y' }}",
            "{% for a in b %}{{ a is divisibleby 3 }}{% endfor %}",
            "{# a % b #}{{ {'a': {'b': 1}} }}{{- x -}}",
            "{% raw %}{{ a % b }}{% endraw %}",
            "{{ a b % c }}",
            "{{ 'open",
            "{%}- endfor %}",
            "{%}",
            "{%",
            "a{%}b{% c %}",
            "{",
        ] {
            assert_translates(source, source);
        }
    }

    #[test]
    fn a_tag_behind_one_that_cannot_be_read_is_translated() {
        assert_translates("{{ a b }}{{ a % b }}", "{{ a b }}{{ (a )|__mod( b) }}");
        let deep = format!("{{{{ {}a % b }}}}", "(".repeat(5000));
        assert_translates(&deep, &deep);
    }

    #[test]
    fn generation_tags_become_a_block_that_does_nothing() {
        assert_translates(
            "a {%- generation -%} b {% endgeneration %}c",
            "a {%- if true -%} b {% endif %}c",
        );
    }
}
