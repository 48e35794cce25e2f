//! How much of a card is read, and how much work one may ask for.
//!
//! Cards come from strangers. Each bound lies far above what cards in use need, and low enough that
//! a card at all its bounds costs a moment and some megabytes, never the machine.

/// Bytes of a card file. Pictures of a few megabytes are usual; a book never comes near.
pub const MAX_CARD_BYTES: usize = 20_000_000;

/// Bytes of the JSON or TOML text inside. Five hundred times the usual, and some hundred times what
/// the context of a model holds.
pub const MAX_TEXT_BYTES: usize = 4_000_000;

/// Entries of a book.
pub(crate) const MAX_ENTRIES: usize = 10_000;

/// Greetings of a card.
pub(crate) const MAX_GREETINGS: usize = 1_000;

/// Characters of a name: it stands in every prompt many times, and in lists of models.
pub(crate) const MAX_NAME_CHARS: usize = 200;

/// Files in a CHARX archive; cards with a picture for each feeling have some hundreds.
pub(crate) const MAX_ARCHIVE_FILES: usize = 4_096;

/// How many times larger than the archive what is read from it may be. Prose shrinks to a fifth;
/// deflate can pack a thousand to one, which no honest card is.
pub(crate) const MAX_ARCHIVE_RATIO: usize = 100;

/// Bytes that the ratio is not asked about, so that a small card of one long line is still read.
pub(crate) const RATIO_FREE_BYTES: usize = 1_000_000;

/// Open macros inside each other. Deeper ones stay as they are written, so that reading a text
/// stays linear in its length.
pub(crate) const MAX_MACRO_NESTING: usize = 8;

/// How deep fields may name fields that name fields.
pub(crate) const MAX_FIELD_NESTING: usize = 8;

/// Bytes that all macros of one prompt may add up to. What would go beyond is left out.
pub(crate) const MAX_MACRO_BYTES: usize = 1 << 20;

/// Bytes of a message, counted from its end, that are looked through for keys of the book.
pub(crate) const MAX_SCANNED_BYTES: usize = 64 << 10;

/// Bytes that are looked through for keys in all, of messages and of entries: more than most contexts
/// hold.
pub(crate) const MAX_SCANNED_IN_ALL: usize = 256 << 10;

/// Bytes of a plain key. A longer one is a text that nobody says.
pub(crate) const MAX_KEY_BYTES: usize = 256;

/// Last messages that can be looked through, whatever depth a book states.
pub(crate) const MAX_SCAN_DEPTH: usize = 1_000;

/// Last messages that are looked through where the book does not say how many: the question, the
/// answer before it, and as much again, so that what is being talked about stays known.
pub(crate) const DEFAULT_SCAN_DEPTH: usize = 4;

/// Tokens that entries of a book may take where it does not say how many: a quarter of the shortest
/// contexts in use, 8,192 tokens.
pub(crate) const DEFAULT_TOKEN_BUDGET: usize = 2_048;

/// Rounds in which entries call further entries.
pub(crate) const MAX_RECURSION: usize = 4;

/// Regular expressions of a book, those that cannot be used among them. Each takes milliseconds to
/// compile at worst, and is run over each message that is looked through.
pub(crate) const MAX_REGEXES: usize = 500;

/// Bytes that one regular expression may take when compiled: one with an ordinary class or two of
/// Unicode letters fits, one that repeats a repetition does not.
pub(crate) const MAX_REGEX_BYTES: usize = 512 << 10;

/// Decorators that stand in for another that is not known; the specification asks for five.
pub(crate) const MAX_FALLBACKS: usize = 16;

/// Strings that end an answer. Each is looked for at every token.
pub(crate) const MAX_STOPS: usize = 64;

/// Findings of a card that are told. A hostile one could have a million.
pub(crate) const MAX_FINDINGS: usize = 1_000;
