//! A JSON text, checked character by character.

/// Follows one JSON value.
#[derive(Debug)]
pub(super) struct JsonScanner {
    /// The open containers; true for an object.
    open: Vec<bool>,
    state: ScannerState,
}

/// The text is not JSON.
#[derive(Debug)]
pub(super) struct InvalidJson;

/// What a character meant to a [`JsonScanner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonProgress {
    /// It belongs to the value, which goes on.
    More,
    /// It is the value's last.
    Complete,
    /// It comes after the value: a number can't tell its end otherwise.
    CompleteBefore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScannerState {
    Value,
    /// After `[`: a value or `]`.
    FirstItem,
    /// After `{`: a key or `}`.
    FirstKey,
    /// After a comma in an object.
    Key,
    Colon,
    /// After a value inside of a container.
    Next,
    Text {
        is_key: bool,
    },
    Escape {
        is_key: bool,
    },
    Unicode {
        is_key: bool,
        digits_left: u8,
    },
    Number(Number),
    /// What is left of `true`, `false` or `null`.
    Word(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Sign,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl JsonScanner {
    pub(super) fn new() -> Self {
        Self {
            open: Vec::new(),
            state: ScannerState::Value,
        }
    }

    /// Takes the next character and appends it to `text`. Control characters inside of strings,
    /// which models write although JSON wants them escaped, are appended as escapes.
    pub(super) fn push(
        &mut self,
        character: char,
        text: &mut String,
    ) -> Result<JsonProgress, InvalidJson> {
        let in_text = matches!(self.state, ScannerState::Text { .. });
        let progress = self.step(character)?;
        match character {
            _ if progress == JsonProgress::CompleteBefore => {}
            '\n' if in_text => text.push_str("\\n"),
            '\r' if in_text => text.push_str("\\r"),
            '\t' if in_text => text.push_str("\\t"),
            '\0'..='\x1F' if in_text => text.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => text.push(character),
        }
        Ok(progress)
    }

    fn step(&mut self, character: char) -> Result<JsonProgress, InvalidJson> {
        let is_blank = matches!(character, ' ' | '\n' | '\r' | '\t');
        self.state = match self.state {
            ScannerState::Value
            | ScannerState::FirstItem
            | ScannerState::FirstKey
            | ScannerState::Key
            | ScannerState::Colon
            | ScannerState::Next
                if is_blank =>
            {
                return Ok(JsonProgress::More);
            }
            ScannerState::FirstItem if character == ']' => return self.close(),
            ScannerState::Value | ScannerState::FirstItem => self.begin(character)?,
            ScannerState::FirstKey if character == '}' => return self.close(),
            ScannerState::FirstKey | ScannerState::Key if character == '"' => {
                ScannerState::Text { is_key: true }
            }
            ScannerState::Colon if character == ':' => ScannerState::Value,
            ScannerState::Next => match (character, self.open.last()) {
                (',', Some(true)) => ScannerState::Key,
                (',', Some(false)) => ScannerState::Value,
                ('}', Some(true)) | (']', Some(false)) => return self.close(),
                _ => return Err(InvalidJson),
            },
            ScannerState::Text { is_key } => match character {
                '"' if is_key => ScannerState::Colon,
                '"' => return self.end_of_value(),
                '\\' => ScannerState::Escape { is_key },
                _ => ScannerState::Text { is_key },
            },
            ScannerState::Escape { is_key } => match character {
                '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' => ScannerState::Text { is_key },
                'u' => ScannerState::Unicode {
                    is_key,
                    digits_left: 4,
                },
                _ => return Err(InvalidJson),
            },
            ScannerState::Unicode {
                is_key,
                digits_left,
            } if character.is_ascii_hexdigit() => match digits_left {
                1 => ScannerState::Text { is_key },
                _ => ScannerState::Unicode {
                    is_key,
                    digits_left: digits_left - 1,
                },
            },
            ScannerState::Number(number) => match number.next(character) {
                Some(number) => ScannerState::Number(number),
                None if !number.may_end() => return Err(InvalidJson),
                None => {
                    return match self.end_of_value()? {
                        JsonProgress::Complete => Ok(JsonProgress::CompleteBefore),
                        _ => self.step(character),
                    };
                }
            },
            ScannerState::Word(rest) => match rest.strip_prefix(character) {
                Some("") => return self.end_of_value(),
                Some(rest) => ScannerState::Word(rest),
                None => return Err(InvalidJson),
            },
            _ => return Err(InvalidJson),
        };
        Ok(JsonProgress::More)
    }

    fn begin(&mut self, character: char) -> Result<ScannerState, InvalidJson> {
        Ok(match character {
            '{' => {
                self.open.push(true);
                ScannerState::FirstKey
            }
            '[' => {
                self.open.push(false);
                ScannerState::FirstItem
            }
            '"' => ScannerState::Text { is_key: false },
            '-' => ScannerState::Number(Number::Sign),
            '0' => ScannerState::Number(Number::Zero),
            '1'..='9' => ScannerState::Number(Number::Integer),
            't' => ScannerState::Word("rue"),
            'f' => ScannerState::Word("alse"),
            'n' => ScannerState::Word("ull"),
            _ => return Err(InvalidJson),
        })
    }

    fn close(&mut self) -> Result<JsonProgress, InvalidJson> {
        self.open.pop();
        self.end_of_value()
    }

    fn end_of_value(&mut self) -> Result<JsonProgress, InvalidJson> {
        self.state = ScannerState::Next;
        Ok(if self.open.is_empty() {
            JsonProgress::Complete
        } else {
            JsonProgress::More
        })
    }
}

impl Number {
    fn next(self, character: char) -> Option<Self> {
        Some(match (self, character) {
            (Self::Sign, '0') => Self::Zero,
            (Self::Sign, '1'..='9') | (Self::Integer, '0'..='9') => Self::Integer,
            (Self::Zero | Self::Integer, '.') => Self::Point,
            (Self::Point | Self::Fraction, '0'..='9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, 'e' | 'E') => Self::Exponent,
            (Self::Exponent, '+' | '-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, '0'..='9') => {
                Self::ExponentDigits
            }
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(
            self,
            Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Option<(String, JsonProgress)> {
        let mut scanner = JsonScanner::new();
        let mut out = String::new();
        let mut progress = JsonProgress::More;
        for character in text.chars() {
            if progress != JsonProgress::More {
                return None;
            }
            progress = scanner.push(character, &mut out).ok()?;
        }
        Some((out, progress))
    }

    #[test]
    fn whole_values_are_complete_and_prefixes_are_not() {
        let text = r#"{"a": [1, -2.5e+3, true, null, "x\"\u00e9", {}, []], "b": 0}"#;
        assert_eq!(scan(text), Some((text.to_owned(), JsonProgress::Complete)));
        for (end, _) in text.char_indices() {
            let (prefix, progress) = scan(&text[..end]).expect("a prefix is no fault");
            assert_eq!(
                (prefix.as_str(), progress),
                (&text[..end], JsonProgress::More)
            );
        }
    }

    #[test]
    fn a_number_ends_before_what_follows() {
        assert_eq!(
            scan("12,"),
            Some(("12".to_owned(), JsonProgress::CompleteBefore))
        );
    }

    #[test]
    fn faults_are_found_where_they_are() {
        for text in [
            "{1",
            "{\"a\" 1",
            "[1,]",
            "[01",
            "1.a",
            "tru ",
            "\"\\x",
            "{\"a\":1]",
            "}",
            "-,",
        ] {
            let fault = text.len() - 1;
            assert!(
                scan(&text[..fault]).is_some(),
                "{text} is fine up to the last"
            );
            assert!(scan(text).is_none(), "{text}");
        }
    }

    #[test]
    fn control_characters_in_strings_become_escapes() {
        let (text, _) = scan("[\"a\nb\tc\u{1}\",\n1]").expect("lenient here");
        assert_eq!(text, "[\"a\\nb\\tc\\u0001\",\n1]");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
