//! Keys of entries: plain ones, which match anywhere in a text, inside words too, as the
//! specification and SillyTavern have it; and regular expressions, `/…/flags` or by `use_regex`.
//!
//! Regular expressions run in linear time, so those that need to look around or back cannot be
//! had. Of JavaScript's flags `i`, `m` and `s` mean what they say; `g`, `u`, `v`, `y` and `d`
//! change nothing about whether a text matches.

use regex::{Regex, RegexBuilder};

use crate::limits::MAX_REGEX_BYTES;

/// How a key is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Pattern {
    /// Anywhere, as it is written.
    Exact(String),
    /// Anywhere, both in lower case.
    Lower(String),
    /// By a regular expression.
    Regex(RegexKey),
}

/// A regular expression and its flags.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RegexKey {
    source: String,
    ignores_case: bool,
    is_multi_line: bool,
    dot_is_all: bool,
}

impl Pattern {
    /// The pattern of a key.
    pub(crate) fn of(key: &str, uses_regex: bool, is_case_sensitive: bool) -> Self {
        if let Some(regex) = RegexKey::slashed(key) {
            return Self::Regex(regex);
        }
        match (uses_regex, is_case_sensitive) {
            (true, _) => Self::Regex(RegexKey {
                source: key.to_owned(),
                ignores_case: !is_case_sensitive,
                is_multi_line: false,
                dot_is_all: false,
            }),
            (false, true) => Self::Exact(key.to_owned()),
            (false, false) => Self::Lower(key.to_lowercase()),
        }
    }
}

impl RegexKey {
    /// A key of the form `/…/flags`. With a bare slash inside or letters that are no flags it is
    /// a path or the like, and plain.
    fn slashed(key: &str) -> Option<Self> {
        let (source, flags) = key.strip_prefix('/')?.rsplit_once('/')?;
        let are_flags = flags.chars().all(|flag| "dgimsuvy".contains(flag));
        if source.is_empty() || !are_flags || has_bare_slash(source) {
            return None;
        }
        Some(Self {
            source: source.to_owned(),
            ignores_case: flags.contains('i'),
            is_multi_line: flags.contains('m'),
            dot_is_all: flags.contains('s'),
        })
    }

    /// The expression, ready to run; else why it cannot be used.
    pub(crate) fn compile(&self) -> Result<Regex, String> {
        RegexBuilder::new(&self.source)
            .case_insensitive(self.ignores_case)
            .multi_line(self.is_multi_line)
            .dot_matches_new_line(self.dot_is_all)
            .size_limit(MAX_REGEX_BYTES)
            .dfa_size_limit(MAX_REGEX_BYTES)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(limit) => {
                    format!("needs more than {limit} bytes when compiled")
                }
                // The last line says what is wrong; those before it show where.
                other => {
                    let whole = other.to_string();
                    let problem = whole.lines().last().unwrap_or_default();
                    format!("cannot be used ({})", problem.trim_start_matches("error: "))
                }
            })
    }
}

fn has_bare_slash(source: &str) -> bool {
    let mut is_escaped = false;
    source.chars().any(|character| {
        let is_bare = character == '/' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        is_bare
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regex_of(key: &str, uses_regex: bool) -> Result<Regex, String> {
        match Pattern::of(key, uses_regex, false) {
            Pattern::Regex(regex) => regex.compile(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn slashes_and_flags_make_a_regular_expression() {
        assert!(
            regex_of("/^se[ae]$/im", false)
                .unwrap()
                .is_match("The\nSEA")
        );
        assert!(!regex_of("/sea/", false).unwrap().is_match("SEA"));
        assert!(regex_of("/a.b/sgu", false).unwrap().is_match("a\nb"));
        assert!(regex_of(r"/a\/b/", false).unwrap().is_match("a/b"));
        assert!(regex_of("sea|lake", true).unwrap().is_match("LAKE"));
        for plain in ["/usr/bin", "/a/b/", "//", "/", "sea"] {
            assert_eq!(
                Pattern::of(plain, false, true),
                Pattern::Exact(plain.into())
            );
        }
    }

    #[test]
    fn what_cannot_be_had_says_why() {
        assert!(
            regex_of("/(?=sea)/", false)
                .unwrap_err()
                .contains("look-around")
        );
        assert!(
            regex_of(r"/(a)\1/", false)
                .unwrap_err()
                .contains("backreferences")
        );
        assert!(
            regex_of("/(a{1000}){1000}/", false)
                .unwrap_err()
                .contains("bytes")
        );
        assert!(regex_of("/(/", false).unwrap_err().contains("unclosed"));
        // Backtracking would never end here.
        assert!(
            !regex_of("/^(a+)+$/", false)
                .unwrap()
                .is_match(&("a".repeat(60_000) + "!"))
        );
    }
}
