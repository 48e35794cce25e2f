//! The tokens of a vocabulary: their texts, what they stand for in bytes, and their kinds.

use std::collections::HashMap;
use std::sync::Arc;

/// How a vocabulary spells bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    /// GPT-2's alphabet: each byte is one printable character.
    ByteLevel,
    /// SentencePiece: `▁` is a space, `<0xNN>` is a byte.
    SentencePiece,
    /// A token is its text.
    Literal,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Part of ordinary text, in the vocabulary's spelling.
    Normal,
    /// Found in text as it stands, and shown: `<tool_call>`.
    UserDefined,
    /// Structure and not text: BOS, end of turn, padding.
    Control,
}

/// All tokens by id. Ids without a token (holes in a `tokenizer.json`) have an empty text.
#[derive(Debug)]
pub(super) struct TokenTable {
    texts: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, u32>,
    /// Every token's bytes, end to end; token `i` is `bytes[starts[i]..starts[i + 1]]`.
    bytes: Vec<u8>,
    starts: Vec<usize>,
    control: Vec<bool>,
}

impl TokenTable {
    /// From all tokens in the order of their ids. Of tokens with the same text, the first has it.
    pub(super) fn new<'a>(
        tokens: impl IntoIterator<Item = (&'a str, TokenKind)>,
        spelling: Spelling,
    ) -> Self {
        let mut vocabulary = Self {
            texts: Vec::new(),
            ids: HashMap::new(),
            bytes: Vec::new(),
            starts: vec![0],
            control: Vec::new(),
        };
        let unspell = byte_level_alphabet();
        for (id, (text, kind)) in (0..).zip(tokens) {
            let text: Arc<str> = text.into();
            match (kind, spelling) {
                (TokenKind::Normal, Spelling::ByteLevel) => {
                    byte_level_bytes(&text, &unspell, &mut vocabulary.bytes);
                }
                (TokenKind::Normal, Spelling::SentencePiece) => {
                    sentencepiece_bytes(&text, &mut vocabulary.bytes);
                }
                _ => vocabulary.bytes.extend_from_slice(text.as_bytes()),
            }
            vocabulary.starts.push(vocabulary.bytes.len());
            vocabulary.control.push(kind == TokenKind::Control);
            if !text.is_empty() {
                vocabulary.ids.entry(Arc::clone(&text)).or_insert(id);
            }
            vocabulary.texts.push(text);
        }
        vocabulary
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn text(&self, id: u32) -> Option<&str> {
        let text = self.texts.get(id as usize)?;
        (!text.is_empty()).then_some(text)
    }

    pub(super) fn id(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    pub(super) fn bytes(&self, id: u32) -> Option<&[u8]> {
        let start = *self.starts.get(id as usize)?;
        let end = *self.starts.get(id as usize + 1)?;
        Some(&self.bytes[start..end])
    }

    pub(super) fn is_control(&self, id: u32) -> bool {
        self.control.get(id as usize).copied().unwrap_or(false)
    }
}

/// Raw bytes in the byte-level alphabet.
pub(super) fn byte_level_text(bytes: &[u8], alphabet: &[char; 256]) -> String {
    bytes.iter().map(|&b| alphabet[usize::from(b)]).collect()
}

/// GPT-2's alphabet, from byte to character.
pub(super) fn byte_level_characters() -> [char; 256] {
    let mut characters = ['\0'; 256];
    for (character, byte) in byte_level_alphabet() {
        characters[usize::from(byte)] = character;
    }
    characters
}

/// GPT-2's alphabet, from character to byte: printable Latin-1 stands for itself, the other bytes
/// for U+0100 onwards (`bytes_to_unicode` in OpenAI's gpt-2, `encoder.py`).
fn byte_level_alphabet() -> HashMap<char, u8> {
    let mut others = '\u{100}'..;
    (0..=u8::MAX)
        .filter_map(|byte| {
            let printable = matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
            let character = if printable {
                char::from(byte)
            } else {
                others.next()?
            };
            Some((character, byte))
        })
        .collect()
}

/// Appends the bytes of a token in the byte-level alphabet. A token with a character outside of
/// it stands for itself.
fn byte_level_bytes(text: &str, alphabet: &HashMap<char, u8>, out: &mut Vec<u8>) {
    let start = out.len();
    for character in text.chars() {
        let Some(&byte) = alphabet.get(&character) else {
            out.truncate(start);
            out.extend_from_slice(text.as_bytes());
            return;
        };
        out.push(byte);
    }
}

/// Appends the bytes of a SentencePiece token.
fn sentencepiece_bytes(text: &str, out: &mut Vec<u8>) {
    match byte_token(text) {
        Some(byte) => out.push(byte),
        None => out.extend_from_slice(text.replace('▁', " ").as_bytes()),
    }
}

/// The byte that `<0xNN>` stands for.
pub(super) fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let two_digits = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    two_digits.then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_byte_level_alphabet_spells_all_bytes() {
        let alphabet = byte_level_alphabet();
        assert_eq!(alphabet.len(), 256);
        assert_eq!(alphabet[&'Ġ'], b' ');
        assert_eq!(alphabet[&'Ċ'], b'\n');
        assert_eq!(alphabet[&'é'], 0xE9);
        assert_eq!(alphabet[&'Ń'], 0xAD);
    }

    #[test]
    fn spelling_is_undone_for_normal_tokens_only() {
        let tokens = [
            ("ĠÃ©", TokenKind::Normal),
            ("<｜end｜>", TokenKind::Control),
            ("é", TokenKind::UserDefined),
        ];
        let vocabulary = TokenTable::new(tokens, Spelling::ByteLevel);
        assert_eq!(vocabulary.bytes(0).unwrap(), " é".as_bytes());
        assert_eq!(vocabulary.bytes(1).unwrap(), "<｜end｜>".as_bytes());
        assert_eq!(vocabulary.bytes(2).unwrap(), "é".as_bytes());
        assert_eq!(vocabulary.bytes(3), None);
        assert!(vocabulary.is_control(1) && !vocabulary.is_control(2));
    }

    #[test]
    fn byte_tokens_are_bytes() {
        assert_eq!(byte_token("<0x0A>"), Some(b'\n'));
        assert_eq!(byte_token("<0xFF>"), Some(0xFF));
        for text in ["<0x+1>", "<0x1>", "<0x100>", "0x0A", "<0xGG>", ""] {
            assert_eq!(byte_token(text), None, "{text}");
        }
    }
}
