//! Tokens that are found in a text before the model sees it: control tokens such as
//! `<|im_end|>`, and user-defined ones such as `<tool_call>`.

use aho_corasick::{AhoCorasick, MatchKind};
use tokenizers::normalizer::Range;
use tokenizers::{AddedToken, NormalizedString, Token};

use super::error::TokenizerError;

/// A set of added tokens. Of several that match at one place, the longest is taken.
#[derive(Debug, Default)]
pub(super) struct AddedTokens {
    matcher: Option<AhoCorasick>,
    tokens: Vec<(u32, AddedToken)>,
}

impl AddedTokens {
    /// `tokens` are matched by their content, with the stripping flags that they carry. Tokens
    /// without content are ignored.
    pub(super) fn new(mut tokens: Vec<(u32, AddedToken)>) -> Result<Self, TokenizerError> {
        tokens.retain(|(_, token)| !token.content.is_empty());
        if tokens.is_empty() {
            return Ok(Self::default());
        }
        let matcher = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens.iter().map(|(_, token)| &token.content))
            .map_err(|error| TokenizerError::Invalid {
                origin: "added tokens".to_owned(),
                message: error.to_string(),
            })?;
        Ok(Self {
            matcher: Some(matcher),
            tokens,
        })
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(|(_, token)| token.content.as_str())
    }

    /// Cuts `text` at the tokens it contains: pieces of text and finished tokens, in order.
    pub(super) fn split(
        &self,
        text: NormalizedString,
    ) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
        let mut pieces = Vec::new();
        let mut end_of_last = 0;
        for (id, start, end) in self.find(text.get()) {
            pieces.extend(slice(&text, end_of_last, start).map(|piece| (piece, None)));
            pieces.extend(slice(&text, start, end).map(|piece| {
                let token = Token::new(id, piece.get().to_owned(), (0, end - start));
                (piece, Some(vec![token]))
            }));
            end_of_last = end;
        }
        if end_of_last == 0 {
            return vec![(text, None)];
        }
        let rest = slice(&text, end_of_last, text.get().len());
        pieces.extend(rest.map(|piece| (piece, None)));
        pieces
    }

    /// Ids and byte ranges of the tokens in `text`, from left to right, by the rules of Hugging
    /// Face: a `single_word` token does not touch other word characters, `lstrip` and `rstrip`
    /// tokens swallow the whitespace beside them.
    fn find(&self, text: &str) -> Vec<(u32, usize, usize)> {
        let mut found = Vec::new();
        let mut end_of_last = 0;
        let matches = self.matcher.iter().flat_map(|m| m.find_iter(text));
        for found_match in matches {
            let (id, token) = &self.tokens[found_match.pattern().as_usize()];
            let (mut start, mut end) = (found_match.start(), found_match.end());
            if start < end_of_last {
                continue;
            }
            if token.single_word {
                let before = text[..start].chars().next_back();
                let after = text[end..].chars().next();
                if before.into_iter().chain(after).any(is_word_character) {
                    continue;
                }
            }
            if token.lstrip {
                start = text[..start].trim_end().len().max(end_of_last);
            }
            if token.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            found.push((*id, start, end));
            end_of_last = end;
        }
        found
    }
}

fn is_word_character(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The bytes `start..end` of a text, `None` when there are none.
fn slice(text: &NormalizedString, start: usize, end: usize) -> Option<NormalizedString> {
    if start == end {
        return None;
    }
    text.slice(Range::Normalized(start..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(tokens: Vec<AddedToken>) -> AddedTokens {
        AddedTokens::new((0..).zip(tokens).collect()).unwrap()
    }

    fn pieces(tokens: &AddedTokens, text: &str) -> Vec<(String, Option<u32>)> {
        tokens
            .split(text.into())
            .into_iter()
            .map(|(piece, token)| (piece.get().to_owned(), token.map(|token| token[0].id)))
            .collect()
    }

    #[test]
    fn of_two_tokens_at_one_place_the_longer_is_taken() {
        let tokens = tokens(vec![
            AddedToken::from("<a>", true),
            AddedToken::from("<a><b>", true),
        ]);
        assert_eq!(
            pieces(&tokens, "x<a><b><a>y"),
            [
                ("x".to_owned(), None),
                ("<a><b>".to_owned(), Some(1)),
                ("<a>".to_owned(), Some(0)),
                ("y".to_owned(), None),
            ]
        );
    }

    #[test]
    fn stripping_tokens_swallow_the_whitespace_beside_them() {
        let token = AddedToken::from("<m>", true).lstrip(true).rstrip(true);
        assert_eq!(
            pieces(&tokens(vec![token]), "a \n<m>  <m> b"),
            [
                ("a".to_owned(), None),
                (" \n<m>  ".to_owned(), Some(0)),
                ("<m> ".to_owned(), Some(0)),
                ("b".to_owned(), None),
            ]
        );
    }

    #[test]
    fn a_single_word_token_is_not_found_inside_a_word() {
        let tokens = tokens(vec![AddedToken::from("cat", false).single_word(true)]);
        assert_eq!(pieces(&tokens, "concat"), [("concat".to_owned(), None)]);
        assert_eq!(pieces(&tokens, "cat"), [("cat".to_owned(), Some(0))]);
    }
}
