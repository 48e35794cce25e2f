//! The inside of a tag, and its translation.

use super::escapes;
use super::parser::Parser;
use super::tokens::{self, Token};

/// What stands between `{{` and `}}`, or `{%` and `%}`.
pub(super) struct Expression<'a> {
    /// From behind the opening to behind the closing.
    text: &'a str,
    tokens: Vec<Token<'a>>,
}

impl<'a> Expression<'a> {
    /// Reads the tag whose inside `text` begins with.
    pub(super) fn read(text: &'a str, closing: &str) -> Option<Self> {
        let (tokens, length) = tokens::read(text, closing)?;
        let text = &text[..length];
        Some(Self { text, tokens })
    }

    /// How long the text is, with the closing.
    pub(super) fn length(&self) -> usize {
        self.text.len()
    }

    /// Whether the tag is this word alone.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.tokens.as_slice(), [token] if token.text == word)
    }

    /// The text of a variable tag, translated.
    pub(super) fn translate_variable(&self) -> String {
        self.translated(|parser| parser.expressions())
    }

    /// The text of a statement tag, translated.
    pub(super) fn translate_statement(&self) -> String {
        for (word, block) in [("generation", "if true"), ("endgeneration", "endif")] {
            if self.is_word(word) {
                return self.text.replacen(word, block, 1);
            }
        }
        self.translated(|parser| match parser.next()?.text {
            "if" | "elif" => parser.ternary(),
            "for" => parser.for_loop(),
            "set" => parser.assignment(),
            _ => None,
        })
    }

    fn translated(&self, read: impl FnOnce(&mut Parser<'_, 'a>) -> Option<()>) -> String {
        let mut parser = Parser::new(&self.tokens);
        let edits = read(&mut parser).and_then(|()| parser.finish());
        let mut edits = edits.unwrap_or_default();
        edits.extend(self.tokens.iter().filter_map(escapes::edit));
        // Of edits at one place, insertions come before the replacement of what stands there.
        edits.sort_by_key(|edit| (edit.start, edit.end));
        let mut output = String::with_capacity(self.text.len());
        let mut copied = 0;
        for edit in edits {
            output.push_str(&self.text[copied..edit.start]);
            output.push_str(&edit.text);
            copied = edit.end;
        }
        output + &self.text[copied..]
    }
}
