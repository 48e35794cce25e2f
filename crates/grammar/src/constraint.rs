//! Following a grammar, token by token.

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use crate::ConstraintError;

/// A compiled grammar: where every sequence that it constrains starts from.
pub struct Grammar {
    /// Has consumed nothing, but computed the first mask, so that its lexer states are there.
    start: Matcher,
    /// Nothing but the empty text satisfies it.
    is_empty: bool,
}

impl Grammar {
    pub(crate) fn new(start: Matcher, is_empty: bool) -> Self {
        Self { start, is_empty }
    }

    /// A constraint for one sequence, at the start of the grammar.
    ///
    /// Sequences share nothing that grows, so that a grammar in use for days doesn't fill its
    /// lexer's limit of states.
    pub fn start(&self) -> Constraint {
        Constraint {
            matcher: self.start.deep_clone(),
            mask: None,
            is_empty: self.is_empty,
        }
    }
}

/// Where one sequence is in its grammar.
///
/// Clones go on independently of each other; they share the lexer's memory of visited states.
#[derive(Clone)]
pub struct Constraint {
    matcher: Matcher,
    /// The mask of the current position, if it was computed already.
    mask: Option<TokenMask>,
    /// The text has ended before it has begun, of which the matcher says nothing.
    is_empty: bool,
}

impl Constraint {
    /// The tokens that may come next. Computed at most once a position; until [`Self::accept`] is
    /// called, further calls cost nothing. Where the grammar must stop, only the end-of-turn tokens
    /// are allowed.
    ///
    /// # Errors
    ///
    /// [`ConstraintError::Failed`] if the grammar is too complex at this point or no token of the
    /// vocabulary continues it. The constraint stays failed.
    pub fn mask(&mut self) -> Result<&TokenMask, ConstraintError> {
        let mask = match self.mask.take() {
            Some(mask) => mask,
            None => TokenMask(self.matcher.compute_mask_or_eos().map_err(failed)?),
        };
        Ok(self.mask.insert(mask))
    }

    /// Moves on by a token that was sampled from [`Self::mask`]. An end-of-turn token, where it is
    /// allowed, ends the sequence.
    ///
    /// # Errors
    ///
    /// [`ConstraintError::TokenNotAllowed`] if the grammar doesn't allow the token here; the
    /// constraint stays where it was. [`ConstraintError::Failed`] as in [`Self::mask`].
    pub fn accept(&mut self, token: u32) -> Result<(), ConstraintError> {
        if self.try_accept(token)? {
            Ok(())
        } else {
            Err(ConstraintError::TokenNotAllowed { token })
        }
    }

    /// Like [`Self::accept`], but a token that is not allowed is no error. Without a mask the
    /// grammar is asked about this token alone.
    ///
    /// # Errors
    ///
    /// [`ConstraintError::Failed`] as in [`Self::mask`].
    pub fn try_accept(&mut self, token: u32) -> Result<bool, ConstraintError> {
        if !self.allows(token)? {
            return Ok(false);
        }
        if !self.must_stop() {
            self.mask = None;
            self.matcher.consume_token(token).map_err(failed)?;
        }
        Ok(true)
    }

    /// True if the text so far satisfies the grammar, whether or not it could go on.
    pub fn is_complete(&mut self) -> bool {
        self.must_stop() || self.matcher.is_accepting().unwrap_or(false)
    }

    /// True if nothing may follow the text so far: the sequence has ended.
    pub fn must_stop(&self) -> bool {
        !self.matcher.is_error() && (self.is_empty || self.matcher.is_stopped())
    }

    /// Asks the mask if there is one; computing one for a single token would be slower than asking
    /// the parser.
    fn allows(&mut self, token: u32) -> Result<bool, ConstraintError> {
        if self.mask.is_some() || self.must_stop() {
            return Ok(self.mask()?.allows(token));
        }
        let env = self.matcher.tok_env().map_err(failed)?;
        let trie = env.tok_trie();
        if trie.eos_tokens().contains(&token) {
            return self.matcher.is_accepting().map_err(failed);
        }
        if token as usize >= trie.vocab_size() {
            return Ok(false);
        }
        let accepted = self.matcher.validate_tokens(&[token]).map_err(failed)?;
        Ok(accepted == 1)
    }
}

/// A set of token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenMask(SimpleVob);

impl TokenMask {
    /// The set as bits: token `i` is in it if bit `i % 32` of word `i / 32` is set. Ids that have
    /// no word are not in it.
    pub fn words(&self) -> &[u32] {
        self.0.as_slice()
    }

    /// True if the token is in the set.
    pub fn allows(&self, token: u32) -> bool {
        let word = self.words().get(token as usize / 32);
        word.is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// How many tokens are in the set.
    pub fn count(&self) -> usize {
        self.0.num_set()
    }

    /// The tokens of the set in order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter()
    }
}

/// The engine's message without its dump of the parser's state.
fn failed(error: impl std::fmt::Display) -> ConstraintError {
    ConstraintError::Failed(crate::error::first_part(&error.to_string()))
}
