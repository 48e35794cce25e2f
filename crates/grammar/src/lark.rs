//! Small texts in llguidance's dialect of Lark.

use llguidance::regex_to_lark;

use crate::GrammarError;

/// The compiler recurses along chains of rules and nested groups; its stack is made for these.
const MAX_SOURCE: usize = 128 << 10;
const MAX_NESTING: usize = 200;

/// Refuses grammars that could exhaust the compiler's stack.
pub(crate) fn check_size(kind: &'static str, source: &str) -> Result<(), GrammarError> {
    if source.len() > MAX_SOURCE {
        return Err(GrammarError::TooLarge(format!(
            "a {kind} may have at most {MAX_SOURCE} bytes"
        )));
    }
    if nesting(source) > MAX_NESTING {
        return Err(GrammarError::TooLarge(format!(
            "a {kind} may nest at most {MAX_NESTING} groups"
        )));
    }
    Ok(())
}

/// The deepest nesting of brackets outside of quoted strings.
fn nesting(source: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in source.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// A grammar whose texts are those that the regex matches as a whole.
pub(crate) fn regex(regex: &str) -> Result<String, GrammarError> {
    let backslashes = regex.len() - regex.trim_end_matches('\\').len();
    if backslashes % 2 == 1 {
        return Err(GrammarError::InvalidGrammar {
            kind: "regex",
            reason: "it ends in a backslash that escapes nothing".to_owned(),
        });
    }
    if regex.is_empty() {
        return Ok("start: \"\"".to_owned());
    }
    Ok(format!("start: /{}/", regex_to_lark(regex, "")))
}

/// A grammar of a few fixed texts.
pub(crate) fn choice(choices: &[String]) -> Result<String, GrammarError> {
    if choices.is_empty() {
        return Err(GrammarError::InvalidGrammar {
            kind: "choice",
            reason: "there is nothing to choose from".to_owned(),
        });
    }
    let alternatives: Vec<String> = choices.iter().map(|choice| literal(choice)).collect();
    Ok(format!("start: {}", alternatives.join(" | ")))
}

/// A string literal. Lark takes JSON's escapes, and of the control characters wants DEL escaped
/// too, which JSON doesn't.
pub(crate) fn literal(text: &str) -> String {
    serde_json::Value::from(text)
        .to_string()
        .replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_ignores_quoted_brackets() {
        assert_eq!(nesting(r#"a: "((((" ( "\"(" [ b ] )"#), 2);
    }

    #[test]
    fn deep_and_long_grammars_are_refused() {
        assert!(check_size("Lark grammar", &"(".repeat(1000)).is_err());
        assert!(check_size("Lark grammar", &"a".repeat(MAX_SOURCE + 1)).is_err());
        assert!(check_size("Lark grammar", "start: (\"a\")").is_ok());
    }
}
