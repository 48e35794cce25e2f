//! Structured output: grammars of requests as constraints of the engine.

use std::sync::Arc;
use std::time::Duration;

use matou_chat::Tokenizer;
use matou_engine::{ConstraintFactory, OutputConstraint, TokenConstraint};
use matou_grammar::{Compiler, Constraint, Grammar, GrammarError, Vocabulary, VocabularyToken};

use crate::error::ApiError;
use crate::request::OutputGrammar;
use crate::state::AppState;

/// When a place to compile in is likely to be free again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl AppState {
    /// The constraint of answers that follow `output`, compiled now or taken from the cache. Work
    /// for [`AppState::compute`].
    ///
    /// # Errors
    ///
    /// 400 for a grammar that cannot be enforced as a whole, naming the keyword and its path; 429
    /// when too many grammars are being compiled.
    pub fn constraint(&self, output: &OutputGrammar) -> Result<OutputConstraint, ApiError> {
        let compiler = self.grammars.get_or_init(|| self.grammar_compiler());
        let compiled = match compiler {
            Ok(compiler) => compiler.compile(&output.spec),
            Err(error) => Err(error.clone()),
        };
        let grammar = compiled.map_err(|error| refusal(&output.param, &error))?;
        Ok(OutputConstraint::new(Arc::new(GrammarFactory(grammar))))
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
struct GrammarFactory(Arc<Grammar>);

impl ConstraintFactory for GrammarFactory {
    fn start(&self) -> Box<dyn TokenConstraint> {
        Box::new(GrammarConstraint(self.0.start()))
    }
}

struct GrammarConstraint(Constraint);

impl TokenConstraint for GrammarConstraint {
    fn mask(&mut self) -> Result<&[u32], String> {
        let mask = self.0.mask().map_err(|error| error.to_string())?;
        Ok(mask.words())
    }

    fn accept(&mut self, token: u32) -> Result<(), String> {
        self.0.accept(token).map_err(|error| error.to_string())
    }

    fn must_stop(&self) -> bool {
        self.0.must_stop()
    }
}
