//! SentencePiece's BPE, for vocabularies that have scores and no list of merges.
//!
//! Starting from single characters, the neighbours whose concatenation has the best score are
//! merged until no concatenation is in the vocabulary; of equal scores the leftmost goes first
//! (`bpe_model.cc` in google/sentencepiece). What is left and not in the vocabulary is spelled in
//! byte tokens. The byte-level BPE of tiktoken is the same thing with ranks for scores, the best
//! first ([`super::tekken`]).
//!
//! The symbols form a doubly linked list over the text, and the candidates a heap whose outdated
//! entries are recognised when they come up: O(n log n) for a text of n characters.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use tokenizers::Token;

/// A SentencePiece BPE model.
#[derive(Debug)]
pub(super) struct SentencePiece {
    /// Id and score of each piece that text may be made of: no control tokens.
    pub(super) pieces: HashMap<Box<str>, (u32, f32)>,
    /// Ids of the tokens `<0x00>` to `<0xFF>`, where the vocabulary has them.
    pub(super) byte_tokens: HashMap<u8, u32>,
    pub(super) unknown_token: Option<u32>,
    /// A text that is a piece as it stands is not built up by merges.
    pub(super) takes_whole_pieces: bool,
}

/// A run of text that is one symbol for now. Empty once merged into its left neighbour.
#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

/// Two neighbours that may be merged. Outdated when either has changed its length since.
#[derive(Debug)]
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    length: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then_with(|| other.left.cmp(&self.left))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

impl SentencePiece {
    /// The tokens of `text`, in which spaces are already written as `▁`.
    pub(super) fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        if self.takes_whole_pieces
            && let Some(&(id, _)) = self.pieces.get(text)
        {
            return Ok(vec![Token::new(id, text.to_owned(), (0, text.len()))]);
        }
        let mut tokens = Vec::new();
        for symbol in self.merge(text) {
            let piece = &text[symbol.start..symbol.end];
            let mut push = |id| {
                let offsets = (symbol.start, symbol.end);
                tokens.push(Token::new(id, piece.to_owned(), offsets));
            };
            if let Some(&(id, _)) = self.pieces.get(piece) {
                push(id);
                continue;
            }
            for byte in piece.bytes() {
                let id = self.byte_tokens.get(&byte).copied().or(self.unknown_token);
                push(id.ok_or_else(|| {
                    format!("no token for {piece:?}, no byte tokens and no unknown token")
                })?);
            }
        }
        Ok(tokens)
    }

    /// The symbols that are left when nothing can be merged any more, in order.
    fn merge(&self, text: &str) -> Vec<Symbol> {
        let mut symbols = characters(text);
        let mut candidates = BinaryHeap::new();
        for left in 0..symbols.len() {
            candidates.extend(self.candidate(text, &symbols, Some(left)));
        }
        while let Some(candidate) = candidates.pop() {
            let (left, right) = (symbols[candidate.left], symbols[candidate.right]);
            let outdated = left.next != Some(candidate.right)
                || left.start == left.end
                || right.end - left.start != candidate.length;
            if outdated {
                continue;
            }
            symbols[candidate.left].end = right.end;
            symbols[candidate.left].next = right.next;
            symbols[candidate.right].start = right.end;
            if let Some(next) = right.next {
                symbols[next].previous = Some(candidate.left);
            }
            candidates.extend(self.candidate(text, &symbols, left.previous));
            candidates.extend(self.candidate(text, &symbols, Some(candidate.left)));
        }
        symbols.retain(|symbol| symbol.start < symbol.end);
        symbols
    }

    /// `left` and its right neighbour, if together they are a piece.
    fn candidate(&self, text: &str, symbols: &[Symbol], left: Option<usize>) -> Option<Candidate> {
        let left = left?;
        let right = symbols[left].next?;
        let piece = &text[symbols[left].start..symbols[right].end];
        let &(_, score) = self.pieces.get(piece)?;
        Some(Candidate {
            score,
            left,
            right,
            length: piece.len(),
        })
    }
}

/// One symbol per character.
fn characters(text: &str) -> Vec<Symbol> {
    let count = text.chars().count();
    text.char_indices()
        .enumerate()
        .map(|(index, (start, character))| Symbol {
            start,
            end: start + character.len_utf8(),
            previous: index.checked_sub(1),
            next: (index + 1 < count).then_some(index + 1),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(pieces: &[(&str, f32)]) -> SentencePiece {
        SentencePiece {
            pieces: (0..)
                .zip(pieces)
                .map(|(id, (piece, score))| ((*piece).into(), (id, *score)))
                .collect(),
            byte_tokens: HashMap::from([(0xC3, 103), (0xA9, 109)]),
            unknown_token: None,
            takes_whole_pieces: false,
        }
    }

    fn ids(model: &SentencePiece, text: &str) -> Vec<u32> {
        let tokens = model.tokenize(text).unwrap();
        tokens.iter().map(|token| token.id).collect()
    }

    #[test]
    fn the_best_score_is_merged_first_and_of_equals_the_leftmost() {
        let model = model(&[
            ("a", 0.0),
            ("b", 0.0),
            ("ab", -2.0),
            ("ba", -1.0),
            ("aa", -3.0),
        ]);
        assert_eq!(ids(&model, "aba"), [0, 3]);
        assert_eq!(ids(&model, "aaa"), [4, 0]);
        assert_eq!(ids(&model, "abab"), [0, 3, 1]);
    }

    #[test]
    fn what_is_not_in_the_vocabulary_is_spelled_in_bytes() {
        let model = model(&[("a", 0.0)]);
        assert_eq!(ids(&model, "aé"), [0, 103, 109]);
        assert!(model.tokenize("x").is_err());
    }

    #[test]
    fn an_empty_text_has_no_tokens() {
        assert_eq!(ids(&model(&[]), ""), [0u32; 0]);
    }
}
