//! A set of tokens that is asked for each token of a context.

/// Tokens, as bits.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenSet(Vec<u64>);

impl TokenSet {
    /// Whether `token` is one of them.
    pub(crate) fn contains(&self, token: &u32) -> bool {
        let word = self.0.get(*token as usize / 64);
        word.is_some_and(|word| word >> (token % 64) & 1 == 1)
    }
}

impl<'a> FromIterator<&'a u32> for TokenSet {
    fn from_iter<I: IntoIterator<Item = &'a u32>>(tokens: I) -> Self {
        let mut words = Vec::new();
        for &token in tokens {
            let word = token as usize / 64;
            if word >= words.len() {
                words.resize(word + 1, 0);
            }
            words[word] |= 1 << (token % 64);
        }
        Self(words)
    }
}
