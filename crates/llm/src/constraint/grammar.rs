//! Grammars of requests, and budgets for their reasoning, as constraints of the engine.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use matou_chat::Tokenizer;
use matou_engine::{ConstraintFactory, OutputConstraint, TokenConstraint};
use matou_grammar::{
    Compiler, Constraint, Grammar, GrammarError, GrammarSpec, Vocabulary, VocabularyToken,
};

use super::thinking::{Thinking, ThinkingPlan};
use crate::error::LlmError;
use crate::isolation::{GrammarTrial, Isolation};
use crate::request::OutputGrammar;

/// When a place to compile in is likely to be free again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Makes the constraints of one model's answers.
pub(crate) struct Constraints {
    tokenizer: Arc<Tokenizer>,
    /// Tokens that the model has logits for.
    vocab_size: usize,
    eos_token_ids: Vec<u32>,
    /// Compiles and keeps grammars; made for the first request that needs one, as it takes a while
    /// for a large vocabulary.
    compiler: OnceLock<Result<Compiler, GrammarError>>,
    /// Where grammars are compiled before they are here: what never ends, ends there.
    trial: Option<GrammarTrial>,
}

impl Constraints {
    /// For a model with logits for `vocab_size` tokens.
    pub(crate) fn new(
        tokenizer: Arc<Tokenizer>,
        vocab_size: usize,
        eos_token_ids: Vec<u32>,
    ) -> Self {
        Self {
            tokenizer,
            vocab_size,
            eos_token_ids,
            compiler: OnceLock::new(),
            trial: None,
        }
    }

    /// The same, with grammars tried in an isolation first.
    pub(crate) fn tried_in(self, isolation: Option<&Isolation>) -> Self {
        Self {
            trial: isolation.map(Isolation::grammars),
            ..self
        }
    }

    /// The constraint of answers that follow `output`, compiled now or taken from the cache. If the
    /// prompt has opened a block of reasoning, what the model thinks is free within its budget, and
    /// the grammar holds for what comes after.
    ///
    /// # Errors
    ///
    /// For a grammar that cannot be enforced as a whole, naming the keyword and its path; when too
    /// many grammars are being compiled.
    pub(crate) fn output(
        &self,
        output: &OutputGrammar,
        thinking: Option<ThinkingPlan>,
    ) -> Result<OutputConstraint, LlmError> {
        let compiled = match self.compiler.get_or_init(|| self.new_compiler()) {
            Ok(compiler) => self.compile(compiler, &output.spec),
            Err(error) => Err(error.clone()),
        };
        let grammar = compiled.map_err(|error| refusal(&output.param, &error))?;
        let open = thinking.filter(|plan| plan.is_open);
        Ok(OutputConstraint::new(Arc::new(GrammarFactory {
            grammar,
            thinking: open.map(|plan| self.thinking(plan, false)).transpose()?,
        })))
    }

    fn compile(
        &self,
        compiler: &Compiler,
        spec: &GrammarSpec,
    ) -> Result<Arc<Grammar>, GrammarError> {
        if let Some(trial) = &self.trial
            && *spec != GrammarSpec::JsonObject
            && !compiler.has(spec)
        {
            trial.check(spec)?;
        }
        compiler.compile(spec)
    }

    /// The constraint of answers that are free but for the length of their reasoning.
    ///
    /// # Errors
    ///
    /// When the vocabulary cannot express the end of a block.
    pub(crate) fn budget(&self, plan: ThinkingPlan) -> Result<OutputConstraint, LlmError> {
        let thinking = self.thinking(plan, true)?;
        Ok(OutputConstraint::new(Arc::new(BudgetFactory(thinking))))
    }

    /// A block of reasoning at its beginning. With `may_end`, the answer may end within it.
    fn thinking(&self, plan: ThinkingPlan, may_end: bool) -> Result<Thinking, LlmError> {
        let ends = match may_end {
            true => &[][..],
            false => &self.eos_token_ids,
        };
        Thinking::new(plan, &self.tokenizer, self.vocab_size, ends)
    }

    fn new_compiler(&self) -> Result<Compiler, GrammarError> {
        let tokens = vocabulary(&self.tokenizer, self.vocab_size, &self.eos_token_ids)?;
        Compiler::new(&tokens)
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

fn refusal(param: &str, error: &GrammarError) -> LlmError {
    let message = format!("`{param}` cannot be enforced: {error}.");
    match error {
        GrammarError::Busy => LlmError::overloaded(message, RETRY_AFTER),
        GrammarError::Vocabulary(_) => LlmError::unsupported(param, message),
        _ => LlmError::invalid(param, message),
    }
}

/// A compiled grammar as the engine sees it.
struct GrammarFactory {
    grammar: Arc<Grammar>,
    thinking: Option<Thinking>,
}

impl ConstraintFactory for GrammarFactory {
    fn start(&self) -> Box<dyn TokenConstraint> {
        Box::new(GrammarConstraint {
            constraint: self.grammar.start(),
            thinking: self.thinking.clone(),
        })
    }
}

struct GrammarConstraint {
    constraint: Constraint,
    /// While the model thinks.
    thinking: Option<Thinking>,
}

impl TokenConstraint for GrammarConstraint {
    fn mask(&mut self) -> Result<&[u32], String> {
        if let Some(thinking) = &mut self.thinking {
            return Ok(thinking.mask());
        }
        let mask = self.constraint.mask().map_err(|error| error.to_string())?;
        Ok(mask.words())
    }

    fn try_accept(&mut self, token: u32) -> Result<bool, String> {
        if let Some(thinking) = &mut self.thinking {
            let is_allowed = thinking.try_accept(token);
            if thinking.is_over() {
                self.thinking = None;
            }
            return Ok(is_allowed);
        }
        self.constraint
            .try_accept(token)
            .map_err(|error| error.to_string())
    }

    fn must_stop(&self) -> bool {
        self.thinking.is_none() && self.constraint.must_stop()
    }

    fn forced(&mut self) -> Result<Option<u32>, String> {
        if let Some(thinking) = &self.thinking {
            return Ok(thinking.forced());
        }
        if !self.constraint.must_stop() {
            return Ok(None);
        }
        // A text that is complete before it has begun: only the end is left.
        let mask = self.constraint.mask().map_err(|error| error.to_string())?;
        Ok(mask.iter().next())
    }
}

/// A budget for reasoning as the engine sees it.
struct BudgetFactory(Thinking);

impl ConstraintFactory for BudgetFactory {
    fn start(&self) -> Box<dyn TokenConstraint> {
        Box::new(BudgetConstraint(self.0.clone()))
    }
}

struct BudgetConstraint(Thinking);

impl TokenConstraint for BudgetConstraint {
    fn mask(&mut self) -> Result<&[u32], String> {
        Ok(self.0.mask())
    }

    fn try_accept(&mut self, token: u32) -> Result<bool, String> {
        Ok(self.0.is_over() || self.0.try_accept(token))
    }

    fn must_stop(&self) -> bool {
        false
    }

    fn forced(&mut self) -> Result<Option<u32>, String> {
        Ok(self.0.forced())
    }
}
