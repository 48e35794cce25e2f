//! Vocabularies to test with, and a sampler that follows a grammar at random.

use matou_grammar::{Constraint, Vocabulary, VocabularyToken};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Every byte, the pieces that a tokenizer would merge in JSON, and two control tokens.
pub(crate) struct ToyVocabulary {
    words: Vec<Vec<u8>>,
}

pub(crate) const TOOL_TOKEN: &str = "[TOOL_CALLS]";
pub(crate) const PYTHON_TOKEN: &str = "<|python_tag|>";

impl ToyVocabulary {
    pub(crate) fn new() -> Self {
        const PIECES: &[&str] = &[
            "{\"",
            "\":",
            "\": ",
            "\": \"",
            "\",",
            "\", \"",
            "\"}",
            "},",
            "}, {",
            "[{",
            "}]",
            "[]",
            "{}",
            "true",
            "false",
            "null",
            "name",
            "arguments",
            "the",
            " the",
            " a",
            "10",
            "-1",
            "0.",
            "\n  ",
            "\n    ",
            "é",
            "日本",
            " 世",
            "\\n",
            "\\u00",
            "http",
            "://",
            "2024-",
            "T12:",
            "<tool_call>",
            "</tool_call>",
        ];
        let bytes = (0..=255).map(|byte| vec![byte]);
        let pieces = PIECES.iter().map(|piece| piece.as_bytes().to_vec());
        Self {
            words: bytes.chain(pieces).collect(),
        }
    }

    pub(crate) fn tool_token(&self) -> u32 {
        self.words.len() as u32
    }

    pub(crate) fn python_token(&self) -> u32 {
        self.words.len() as u32 + 1
    }

    pub(crate) fn eos(&self) -> u32 {
        self.words.len() as u32 + 2
    }

    pub(crate) fn vocabulary(&self) -> Vocabulary {
        let text = self.words.iter().map(|word| VocabularyToken::Text(word));
        let special = [TOOL_TOKEN, PYTHON_TOKEN, "<|end|>"].map(VocabularyToken::Special);
        Vocabulary::new(text.chain(special), &[self.eos()]).expect("a valid vocabulary")
    }

    pub(crate) fn decode(&self, tokens: &[u32]) -> String {
        let mut bytes = Vec::new();
        for &token in tokens {
            match self.words.get(token as usize) {
                Some(word) => bytes.extend_from_slice(word),
                None if token == self.tool_token() => bytes.extend(TOOL_TOKEN.bytes()),
                None => bytes.extend(PYTHON_TOKEN.bytes()),
            }
        }
        String::from_utf8(bytes).expect("grammars allow whole characters only")
    }

    /// One token a byte.
    pub(crate) fn encode(&self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }

    /// A random text of the grammar, or `None` if it did not end within `max_tokens`.
    ///
    /// Ends as soon as it can with some probability, which grows over time, and then prefers what
    /// closes things.
    pub(crate) fn sample(
        &self,
        mut constraint: Constraint,
        seed: u64,
        max_tokens: usize,
    ) -> Option<String> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut tokens = Vec::new();
        while tokens.len() < max_tokens {
            let hurry = tokens.len() * 2 > max_tokens;
            let mask = constraint.mask().expect("the grammar goes on");
            if mask.allows(self.eos()) && (mask.count() == 1 || hurry || random.random_bool(0.3)) {
                return Some(self.decode(&tokens));
            }
            let allowed: Vec<u32> = mask.iter().filter(|&token| token != self.eos()).collect();
            let closing = b"\"}]".map(u32::from);
            let closing = closing.iter().find(|token| allowed.contains(token));
            let token = match closing {
                Some(token) if hurry || random.random_bool(0.2) => *token,
                _ => allowed[random.random_range(0..allowed.len())],
            };
            constraint.accept(token).expect("the mask allowed it");
            tokens.push(token);
            if constraint.must_stop() {
                return Some(self.decode(&tokens));
            }
        }
        None
    }

    /// Whether the grammar allows exactly this text, byte by byte.
    pub(crate) fn accepts(&self, mut constraint: Constraint, text: &str) -> bool {
        let tokens = self.encode(text);
        tokens.iter().all(|&token| constraint.accept(token).is_ok()) && constraint.is_complete()
    }
}
