//! From a [`GrammarSpec`] to a [`Grammar`]: checked, bounded, cached.
//!
//! Compiling runs on a thread of its own. Its stack is large, because the engine recurses along the
//! nesting of what a client wrote, and the caller waits for it only so long: work that the limits on
//! size did not foresee ends in [`GrammarError::Timeout`], and the few threads that may be at it at
//! a time bound what such work can cost the rest of the server.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use llguidance::api::{GrammarInit, TopLevelGrammar};
use llguidance::{Matcher, ParserFactory, panic_utils};
use serde_json::{Value, json};

use crate::error::first_part;
use crate::{Grammar, GrammarError, GrammarSpec, Vocabulary, gbnf, lark, schema};

/// What compiling one grammar may cost.
#[derive(Clone, Debug)]
pub struct CompileLimits {
    /// The largest grammar or schema, in bytes of its source.
    pub source_bytes: usize,
    /// How long a caller waits for a place to compile in, and then for the grammar.
    pub timeout: Duration,
    /// How many grammars may be in compilation at a time, abandoned ones included.
    pub concurrent: usize,
    /// How many compiled grammars are kept.
    pub cached: usize,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            source_bytes: 1 << 20,
            timeout: Duration::from_secs(10),
            concurrent: 2,
            cached: 64,
        }
    }
}

/// Compiles grammars for one vocabulary and remembers those used last. Shared by all requests.
pub struct Compiler {
    factory: Arc<ParserFactory>,
    limits: CompileLimits,
    cache: Mutex<Cache>,
    places: Arc<Places>,
}

impl Compiler {
    /// A compiler with the default limits.
    ///
    /// # Errors
    ///
    /// [`GrammarError::Vocabulary`] if the vocabulary can't be sliced for fast masks.
    pub fn new(vocabulary: &Vocabulary) -> Result<Self, GrammarError> {
        Self::with_limits(vocabulary, CompileLimits::default())
    }

    /// A compiler with other limits.
    ///
    /// # Errors
    ///
    /// As [`Compiler::new`].
    pub fn with_limits(
        vocabulary: &Vocabulary,
        limits: CompileLimits,
    ) -> Result<Self, GrammarError> {
        let mut factory = ParserFactory::new_simple(vocabulary.env())
            .map_err(|error| GrammarError::Vocabulary(first_part(&error.to_string())))?;
        let limits_of_parsers = factory.quiet().limits_mut();
        limits_of_parsers.verbose_errors = false;
        limits_of_parsers.max_lexer_states = MAX_LEXER_STATES;
        limits_of_parsers.step_lexer_fuel = STEP_LEXER_FUEL;
        Ok(Self {
            factory: Arc::new(factory),
            limits,
            cache: Mutex::default(),
            places: Arc::default(),
        })
    }

    /// The grammar, from the cache or compiled now. Takes milliseconds, or longer for a large
    /// schema: not for an async worker.
    ///
    /// # Errors
    ///
    /// A [`GrammarError`]; see there which are the request's fault.
    pub fn compile(&self, spec: &GrammarSpec) -> Result<Arc<Grammar>, GrammarError> {
        let key = spec.cache_key();
        if key.len() > self.limits.source_bytes {
            return Err(GrammarError::TooLarge(format!(
                "{} bytes of source, at most {} are allowed",
                key.len(),
                self.limits.source_bytes
            )));
        }
        if let Some(grammar) = self.cache().get(&key) {
            return Ok(grammar);
        }
        let grammar = Arc::new(self.compile_in_thread(spec.clone())?);
        if key.len() <= MAX_KEPT_SOURCE {
            self.cache()
                .insert(key, Arc::clone(&grammar), self.limits.cached);
        }
        Ok(grammar)
    }

    /// Whether the grammar is in the cache.
    pub fn has(&self, spec: &GrammarSpec) -> bool {
        self.cache().entries.contains_key(&spec.cache_key())
    }

    /// The grammar, compiled on this thread however long that takes, and not kept: where the process is
    /// there for nothing else.
    ///
    /// # Errors
    ///
    /// As [`Compiler::compile`].
    pub fn compile_here(&self, spec: GrammarSpec) -> Result<Grammar, GrammarError> {
        compile(&self.factory, spec)
    }

    /// The cache holds nothing that a panic could leave half changed.
    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compile_in_thread(&self, spec: GrammarSpec) -> Result<Grammar, GrammarError> {
        let place = Place::take(&self.places, &self.limits)?;
        let factory = Arc::clone(&self.factory);
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new()
            .name("grammar-compiler".to_owned())
            .stack_size(COMPILER_STACK)
            .spawn(move || {
                let _place = place;
                // The receiver is gone if the time was up: then nobody wants the grammar.
                let _ = sender.send(compile(&factory, spec));
            })
            .map_err(|_| GrammarError::Busy)?;
        match receiver.recv_timeout(self.limits.timeout) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(GrammarError::Timeout(self.limits.timeout.as_millis() as u64))
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(GrammarError::TooLarge(
                "it could not be processed".to_owned(),
            )),
        }
    }
}

/// Longest source of a grammar that is kept, in bytes: those of larger ones take megabytes each.
const MAX_KEPT_SOURCE: usize = 16 << 10;
/// Most states of a grammar's lexer, of one or two kilobytes each. With this and the next, as many schemas of
/// the tests are enforced as with llguidance's own limits, which are twelve and two times these.
const MAX_LEXER_STATES: usize = 20_000;
/// What the lexer may spend on one mask; 14,000 are about a millisecond, and other answers wait for it.
const STEP_LEXER_FUEL: u64 = 100_000;

/// Virtual memory: only what is used of it becomes real. The schema's limits on nesting and on
/// references keep the recursion below it.
const COMPILER_STACK: usize = 256 << 20;

/// The places for compilations.
#[derive(Default)]
struct Places {
    taken: Mutex<usize>,
    freed: Condvar,
}

/// One of the places; given back when dropped.
struct Place(Arc<Places>);

impl Place {
    /// Waits for a place to become free.
    fn take(places: &Arc<Places>, limits: &CompileLimits) -> Result<Self, GrammarError> {
        let taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut usize| *taken >= limits.concurrent;
        let waited = places
            .freed
            .wait_timeout_while(taken, limits.timeout, full)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut taken, outcome) = waited;
        if outcome.timed_out() {
            return Err(GrammarError::Busy);
        }
        *taken += 1;
        Ok(Self(Arc::clone(places)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let taken = self.0.taken.lock();
        *taken.unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.freed.notify_one();
    }
}

fn compile(factory: &ParserFactory, spec: GrammarSpec) -> Result<Grammar, GrammarError> {
    match spec {
        GrammarSpec::JsonObject => compile_schema(factory, &json!({"type": "object"})),
        GrammarSpec::JsonSchema(schema) => compile_schema(factory, &schema),
        GrammarSpec::Regex(regex) => compile_lark(factory, "regex", lark::regex(&regex)?),
        GrammarSpec::Choice(choices) => compile_lark(factory, "choice", lark::choice(&choices)?),
        GrammarSpec::Gbnf(source) => {
            lark::check_size("GBNF grammar", &source)?;
            compile_lark(factory, "GBNF grammar", gbnf::to_lark(&source)?)
        }
        GrammarSpec::Lark {
            mut source,
            schemas,
        } => {
            lark::check_size("Lark grammar", &source)?;
            for (name, schema) in &schemas {
                let schema = schema::prepare(schema)?;
                check_schema(factory, &schema)?;
                source.push_str(&format!("\n{name}: %json {schema}\n"));
            }
            compile_lark(factory, "Lark grammar", source)
        }
    }
}

fn compile_schema(factory: &ParserFactory, schema: &Value) -> Result<Grammar, GrammarError> {
    let prepared = schema::prepare(schema)?;
    match start(factory, TopLevelGrammar::from_json_schema(prepared.clone())) {
        Ok(grammar) => Ok(grammar),
        Err(reason) => {
            check_schema(factory, &prepared)?;
            if reason == NOTHING_FITS {
                return Err(GrammarError::InvalidSchema {
                    path: "$".to_owned(),
                    reason,
                });
            }
            Err(GrammarError::TooLarge(reason))
        }
    }
}

/// Builds the grammar of a prepared schema without its lexer, to say where it fails.
fn check_schema(factory: &ParserFactory, prepared: &Value) -> Result<(), GrammarError> {
    schema::locate_failure(prepared, |schema| {
        let init = GrammarInit::Serialized(TopLevelGrammar::from_json_schema(schema));
        let env = factory.tok_env().clone();
        let limits = factory.limits().clone();
        let built =
            panic_utils::catch_unwind(AssertUnwindSafe(|| init.to_internal(Some(env), limits)));
        match built {
            Ok(_) => Ok(()),
            Err(error) => Err(first_part(&format!("{error:#}"))),
        }
    })
}

fn compile_lark(
    factory: &ParserFactory,
    kind: &'static str,
    source: String,
) -> Result<Grammar, GrammarError> {
    start(factory, TopLevelGrammar::from_lark(source))
        .map_err(|reason| GrammarError::InvalidGrammar { kind, reason })
}

const NOTHING_FITS: &str = "nothing satisfies it";

/// Builds the parser and its first mask: the lexer states that every sequence begins with.
fn start(factory: &ParserFactory, grammar: TopLevelGrammar) -> Result<Grammar, String> {
    let mut matcher = Matcher::new(factory.create_parser(grammar));
    let mut is_empty = false;
    // An error of the first mask is the matcher's from then on.
    if let Ok(mask) = matcher.compute_mask_or_eos()
        && let Ok(env) = matcher.tok_env()
    {
        let ends = env.tok_trie().eos_tokens();
        is_empty = mask.iter().all(|token| ends.contains(&token));
    }
    match matcher.get_error() {
        Some(error) if error.contains("NoExtension") => Err(NOTHING_FITS.to_owned()),
        Some(error) => Err(first_part(&error)),
        None => Ok(Grammar::new(matcher, is_empty)),
    }
}

/// The grammars used last.
#[derive(Default)]
struct Cache {
    entries: HashMap<String, Entry>,
    /// Counts the look-ups: the time by which entries are compared.
    clock: u64,
}

struct Entry {
    grammar: Arc<Grammar>,
    last_used: u64,
}

impl Cache {
    fn get(&mut self, key: &str) -> Option<Arc<Grammar>> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        entry.last_used = self.clock;
        Some(Arc::clone(&entry.grammar))
    }

    fn insert(&mut self, key: String, grammar: Arc<Grammar>, capacity: usize) {
        let last_used = self.clock;
        self.entries.insert(key, Entry { grammar, last_used });
        while self.entries.len() > capacity {
            let oldest = self
                .entries
                .iter()
                .min_by_key(|(_, entry)| entry.last_used)
                .map(|(key, _)| key.clone());
            match oldest {
                Some(key) => self.entries.remove(&key),
                None => return,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(concurrent: usize) -> CompileLimits {
        CompileLimits {
            concurrent,
            timeout: Duration::from_millis(20),
            ..CompileLimits::default()
        }
    }

    #[test]
    fn a_place_is_free_again_once_it_is_dropped() {
        let places = Arc::default();
        let first = Place::take(&places, &limits(1)).expect("the only place");
        let second = Place::take(&places, &limits(1)).err();
        assert_eq!(second, Some(GrammarError::Busy));
        drop(first);
        assert!(Place::take(&places, &limits(1)).is_ok());
    }

    #[test]
    fn grammars_are_shared_and_constraints_sent_between_threads() {
        fn shared<T: Send + Sync>() {}
        fn sent<T: Send>() {}
        shared::<Compiler>();
        shared::<Grammar>();
        sent::<crate::Constraint>();
    }
}
