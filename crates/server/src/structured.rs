//! Structured output: grammars of requests as constraints of the engine.

use std::sync::Arc;
use std::time::Duration;

use matou_chat::Tokenizer;
use matou_chat::reasoning::ReasoningFormat;
use matou_engine::{ConstraintFactory, OutputConstraint, TokenConstraint};
use matou_grammar::{Compiler, Constraint, Grammar, GrammarError, Vocabulary, VocabularyToken};

use crate::error::ApiError;
use crate::request::OutputGrammar;
use crate::state::AppState;

/// When a place to compile in is likely to be free again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl AppState {
    /// The constraint of answers that follow `output`, compiled now or taken from the cache. Work
    /// for [`AppState::compute`]. If the prompt has opened a block of reasoning, what the model
    /// thinks is free, and the grammar holds for what comes after.
    ///
    /// # Errors
    ///
    /// 400 for a grammar that cannot be enforced as a whole, naming the keyword and its path; 429
    /// when too many grammars are being compiled.
    pub fn constraint(
        &self,
        output: &OutputGrammar,
        reasoning: Option<ReasoningFormat>,
    ) -> Result<OutputConstraint, ApiError> {
        let compiler = self.grammars.get_or_init(|| self.grammar_compiler());
        let compiled = match compiler {
            Ok(compiler) => compiler.compile(&output.spec),
            Err(error) => Err(error.clone()),
        };
        let grammar = compiled.map_err(|error| refusal(&output.param, &error))?;
        let factory = GrammarFactory {
            grammar,
            reasoning: reasoning.map(|format| Reasoning {
                free: self.free_words(),
                closer: format.closer(),
                tokenizer: Arc::clone(&self.tokenizer),
                tail: Vec::new(),
            }),
        };
        Ok(OutputConstraint::new(Arc::new(factory)))
    }

    /// The mask of all tokens but those that end an answer.
    fn free_words(&self) -> Vec<u32> {
        let mut words = vec![u32::MAX; self.engine.model_info().vocab_size.div_ceil(32)];
        for &id in &self.model.eos_token_ids {
            if let Some(word) = words.get_mut(id as usize / 32) {
                *word &= !(1 << (id % 32));
            }
        }
        words
    }

    fn grammar_compiler(&self) -> Result<Compiler, GrammarError> {
        let size = self.engine.model_info().vocab_size;
        Compiler::new(&vocabulary(
            &self.tokenizer,
            size,
            &self.model.eos_token_ids,
        )?)
    }
}

/// The tokens that the model has logits for, as grammars see them.
fn vocabulary(
    tokenizer: &Tokenizer,
    size: usize,
    eos_token_ids: &[u32],
) -> Result<Vocabulary, GrammarError> {
    let ids = 0..u32::try_from(size).unwrap_or(u32::MAX);
    let tokens = ids.clone().map(|id| {
        let is_control = tokenizer.is_special(id) || eos_token_ids.contains(&id);
        match (tokenizer.id_to_token(id), tokenizer.token_bytes(id)) {
            (Some(name), _) if is_control => VocabularyToken::Special(name),
            (_, Some(bytes)) => VocabularyToken::Text(bytes),
            _ => VocabularyToken::Unused,
        }
    });
    // A tokenizer may name an end token that this model has no logit for.
    let known = eos_token_ids.iter().filter(|id| ids.contains(id));
    let known: Vec<u32> = known.copied().collect();
    Vocabulary::new(tokens, &known)
}

fn refusal(param: &str, error: &GrammarError) -> ApiError {
    let message = format!("`{param}` cannot be enforced: {error}.");
    match error {
        GrammarError::Busy => ApiError::overloaded(message, RETRY_AFTER),
        GrammarError::Vocabulary(_) => ApiError::unsupported(param, message),
        _ => ApiError::invalid(param, message),
    }
}

/// A compiled grammar as the engine sees it.
struct GrammarFactory {
    grammar: Arc<Grammar>,
    reasoning: Option<Reasoning>,
}

impl ConstraintFactory for GrammarFactory {
    fn start(&self) -> Box<dyn TokenConstraint> {
        Box::new(GrammarConstraint {
            constraint: self.grammar.start(),
            reasoning: self.reasoning.clone(),
        })
    }
}

struct GrammarConstraint {
    constraint: Constraint,
    /// While the model thinks.
    reasoning: Option<Reasoning>,
}

/// A block of reasoning that has not been closed.
#[derive(Clone)]
struct Reasoning {
    /// What may be thought.
    free: Vec<u32>,
    closer: &'static str,
    tokenizer: Arc<Tokenizer>,
    /// The last bytes, in which the closer may have begun.
    tail: Vec<u8>,
}

impl Reasoning {
    fn allows(&self, token: u32) -> bool {
        let word = self.free.get(token as usize / 32);
        word.is_some_and(|word| word >> (token % 32) & 1 == 1)
    }

    /// Takes what was thought; true if it closes the block.
    fn is_closed_by(&mut self, token: u32) -> bool {
        let bytes = self.tokenizer.token_bytes(token).unwrap_or_default();
        self.tail.extend_from_slice(bytes);
        let closer = self.closer.as_bytes();
        let is_closed = self
            .tail
            .windows(closer.len())
            .any(|window| window == closer);
        let kept = self.tail.len().saturating_sub(closer.len() - 1);
        self.tail.drain(..kept);
        is_closed
    }
}

impl TokenConstraint for GrammarConstraint {
    fn mask(&mut self) -> Result<&[u32], String> {
        if let Some(reasoning) = &self.reasoning {
            return Ok(&reasoning.free);
        }
        let mask = self.constraint.mask().map_err(|error| error.to_string())?;
        Ok(mask.words())
    }

    fn try_accept(&mut self, token: u32) -> Result<bool, String> {
        if let Some(reasoning) = &mut self.reasoning {
            if !reasoning.allows(token) {
                return Ok(false);
            }
            if reasoning.is_closed_by(token) {
                self.reasoning = None;
            }
            return Ok(true);
        }
        self.constraint
            .try_accept(token)
            .map_err(|error| error.to_string())
    }

    fn must_stop(&self) -> bool {
        self.reasoning.is_none() && self.constraint.must_stop()
    }
}
