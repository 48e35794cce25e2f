//! The inside of a tag, in tokens.

#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) start: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Name,
    Number,
    Text,
    Operator,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// `text` in the place of what is from `start` to `end`.
pub(super) struct Edit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: String,
}

/// The tokens up to the `closing`, which does not count inside of texts and brackets, and how long
/// the text is with it. `None` if it never comes, or a character does that begins no token.
pub(super) fn read<'a>(text: &'a str, closing: &str) -> Option<(Vec<Token<'a>>, usize)> {
    let mut tokens = Vec::new();
    let mut depth = 0_usize;
    // Whitespace control.
    let mut at = usize::from(text.starts_with(['-', '+']));
    loop {
        let rest = &text[at..];
        if depth == 0 {
            let control = usize::from(rest.starts_with(['-', '+']));
            if rest[control..].starts_with(closing) {
                return Some((tokens, at + control + closing.len()));
            }
        }
        let first = rest.chars().next()?;
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (kind, length) = token(rest, first)?;
        match &rest[..length] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.checked_sub(1)?,
            _ => {}
        }
        let text = &rest[..length];
        tokens.push(Token {
            kind,
            text,
            start: at,
        });
        at += length;
    }
}

/// The token that `text` begins with, of which `first` is the first character.
fn token(text: &str, first: char) -> Option<(Kind, usize)> {
    const OPERATORS: [&str; 26] = [
        "**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")",
        "[", "]", "{", "}", ",", ":", ".", "|", ";",
    ];
    let run = |belongs: fn(char) -> bool| text.find(|c| !belongs(c)).unwrap_or(text.len());
    match first {
        '\'' | '"' => {
            let mut escaped = false;
            let end = text.char_indices().skip(1).find(|&(_, character)| {
                let ends = character == first && !escaped;
                escaped = character == '\\' && !escaped;
                ends
            });
            end.map(|(end, _)| (Kind::Text, end + 1))
        }
        '0'..='9' => {
            let whole = run(|c| c.is_alphanumeric() || c == '_');
            let bytes = text.as_bytes();
            let is_decimal = bytes[..whole]
                .iter()
                .all(|b| b.is_ascii_digit() || *b == b'_');
            let fraction = is_decimal
                && bytes.get(whole) == Some(&b'.')
                && bytes.get(whole + 1).is_some_and(u8::is_ascii_digit);
            let mut end = whole;
            if fraction {
                let digits = &text[whole + 1..];
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                end += 1 + digits.find(|c| !is_part(c)).unwrap_or(digits.len());
            }
            // The sign of an exponent.
            if text[..end].ends_with(['e', 'E'])
                && !text.starts_with("0x")
                && matches!(bytes.get(end), Some(b'-' | b'+'))
            {
                let digits = &text[end + 1..];
                end += 1 + digits
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(digits.len());
            }
            Some((Kind::Number, end))
        }
        _ if first.is_alphabetic() || first == '_' => {
            Some((Kind::Name, run(|c| c.is_alphanumeric() || c == '_')))
        }
        _ => {
            let operator = OPERATORS.iter().find(|it| text.starts_with(**it))?;
            Some((Kind::Operator, operator.len()))
        }
    }
}
