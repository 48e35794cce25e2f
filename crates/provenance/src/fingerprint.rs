//! Hashes of a text, made as it comes.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

/// Letters of a stretch that is hashed: five or six words, rarely the same in texts that know nothing of
/// each other.
pub const STRETCH: usize = 32;
/// Of so many stretches that follow each other one is kept.
pub const WINDOW: usize = 16;
/// Letters of a passage that is found wherever it stands, a sentence: two windows lie in it, and so it has
/// two of the hashes at least.
pub const SHORTEST: usize = STRETCH + 2 * WINDOW - 1;

/// What hashes are mixed with: those of one file say nothing about those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

/// The hashes of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// Letters and digits of the text.
    pub letters: usize,
    /// Of all of it.
    pub whole: u64,
    /// Of stretches of it, with the letter that each begins at, in order.
    pub passages: Vec<(usize, u64)>,
}

/// Makes a [`Fingerprint`] of a text that comes in pieces.
pub struct Fingerprinter {
    salt: Salt,
    whole: Sha256,
    letters: usize,
    /// The last letters, up to [`STRETCH`].
    recent: VecDeque<char>,
    /// Stretches of the current window that may be its least: their hashes ascend. Equal ones make place
    /// for the later.
    window: VecDeque<(usize, u64)>,
    passages: Vec<(usize, u64)>,
}

impl Fingerprinter {
    /// Begins a text.
    pub fn new(salt: Salt) -> Self {
        Self {
            salt,
            whole: Sha256::new_with_prefix(salt.0),
            letters: 0,
            recent: VecDeque::with_capacity(STRETCH + 1),
            window: VecDeque::with_capacity(WINDOW + 1),
            passages: Vec::new(),
        }
    }

    /// More of the text.
    pub fn push(&mut self, text: &str) {
        let letters = text.chars().filter(|letter| letter.is_alphanumeric());
        letters
            .flat_map(char::to_lowercase)
            .for_each(|letter| self.letter(letter));
    }

    fn letter(&mut self, letter: char) {
        self.whole.update(letter.encode_utf8(&mut [0; 4]));
        self.letters += 1;
        self.recent.push_back(letter);
        if self.recent.len() > STRETCH {
            self.recent.pop_front();
        }
        if self.recent.len() < STRETCH {
            return;
        }
        let begin = self.letters - STRETCH;
        let hash = self.stretch();
        while self.window.back().is_some_and(|(_, last)| *last >= hash) {
            self.window.pop_back();
        }
        self.window.push_back((begin, hash));
        if begin + 1 < WINDOW {
            return;
        }
        // The window ends here, and began so far back.
        let first = begin + 1 - WINDOW;
        while self.window.front().is_some_and(|(begin, _)| *begin < first) {
            self.window.pop_front();
        }
        if let Some(least) = self.window.front()
            && self.passages.last() != Some(least)
        {
            self.passages.push(*least);
        }
    }

    fn stretch(&self) -> u64 {
        let mut text = [0; 4 * STRETCH];
        let mut len = 0;
        for letter in &self.recent {
            len += letter.encode_utf8(&mut text[len..]).len();
        }
        shortened(Sha256::new_with_prefix(self.salt.0).chain_update(&text[..len]))
    }

    /// Whether there was nothing to hash.
    pub fn is_empty(&self) -> bool {
        self.letters == 0
    }

    /// The hashes of the text, which is at its end.
    pub fn finish(mut self) -> Fingerprint {
        // A text that is not as long as a window has one too, so that it is not without any.
        if self.passages.is_empty() {
            self.passages.extend(self.window.front().copied());
        }
        Fingerprint {
            letters: self.letters,
            whole: shortened(self.whole),
            passages: self.passages,
        }
    }
}

/// The first 64 bits of a hash.
fn shortened(hash: Sha256) -> u64 {
    let bytes = hash.finalize();
    bytes
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const SALT: Salt = Salt([7; 16]);

    fn of(text: &str) -> Fingerprint {
        let mut fingerprinter = Fingerprinter::new(SALT);
        fingerprinter.push(text);
        fingerprinter.finish()
    }

    fn letters(len: usize, seed: u64) -> String {
        let mut state = seed;
        (0..len)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                char::from(b'a' + (state >> 33) as u8 % 26)
            })
            .collect()
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(cut in 0usize..400) {
            let text = letters(400, 3);
            let mut pieces = Fingerprinter::new(SALT);
            pieces.push(&text[..cut]);
            pieces.push(&text[cut..]);
            prop_assert_eq!(pieces.finish(), of(&text));
        }

        #[test]
        fn a_passage_of_the_shortest_length_is_found_wherever_it_stands(
            place in 0usize..300, before in 0usize..100, after in 0usize..100, seed in 1u64..1000,
        ) {
            let text = letters(400, seed);
            let passage = &text[place..place + SHORTEST];
            let quoted = letters(before, seed + 5000) + passage + &letters(after, seed + 9000);
            let known: HashSet<u64> = of(&text).passages.into_iter().map(|(_, hash)| hash).collect();
            let common = of(&quoted).passages.iter().filter(|(_, hash)| known.contains(hash)).count();
            prop_assert!(common >= 2);
        }

        #[test]
        fn any_text_has_a_fingerprint(text in ".*") {
            let found = of(&text);
            prop_assert!(found.passages.len() <= found.letters);
        }
    }

    #[test]
    fn layout_and_case_make_no_difference() {
        let text = "The quick brown fox jumps over the lazy dog, and then it sleeps until noon.";
        let quoted = "> **The quick** brown fox\n> jumps over “the lazy dog”, AND then it sleeps until noon!";
        assert_eq!(of(text), of(quoted));
    }

    #[test]
    fn another_salt_makes_other_hashes() {
        let mut other = Fingerprinter::new(Salt([8; 16]));
        other.push("the same text");
        assert_ne!(other.finish().whole, of("the same text").whole);
    }
}
