//! Answers held to a grammar.

use std::sync::Arc;

use matou_engine::{
    ConstraintFactory, EngineConfig, EngineEvent, FinishReason, OutputConstraint, SamplingParams,
    TokenConstraint,
};
use matou_testkit::scripted::ScriptedModel;

use crate::common::{Answer, TestEngine, answer, request};

const VOCAB_SIZE: usize = 300;
const END: u32 = 2;

/// Which tokens each position of an answer allows; the end token where the answer may end.
#[derive(Clone)]
struct Positions {
    allowed: Vec<Vec<u32>>,
    position: usize,
    words: Vec<u32>,
}

impl Positions {
    fn constraint(allowed: &[&[u32]]) -> Option<OutputConstraint> {
        let positions = Self {
            allowed: allowed.iter().map(|tokens| tokens.to_vec()).collect(),
            position: 0,
            words: Vec::new(),
        };
        Some(OutputConstraint::new(Arc::new(positions)))
    }
}

impl ConstraintFactory for Positions {
    fn start(&self) -> Box<dyn TokenConstraint> {
        Box::new(self.clone())
    }
}

impl TokenConstraint for Positions {
    fn mask(&mut self) -> Result<&[u32], String> {
        let allowed = self.allowed.get(self.position).ok_or("it has ended")?;
        self.words = vec![0; VOCAB_SIZE.div_ceil(32)];
        for &token in allowed {
            self.words[token as usize / 32] |= 1 << (token % 32);
        }
        Ok(&self.words)
    }

    fn try_accept(&mut self, token: u32) -> Result<bool, String> {
        let allowed = self.allowed.get(self.position).ok_or("it has ended")?;
        if !allowed.contains(&token) {
            return Ok(false);
        }
        self.position += 1;
        if token == END {
            self.position = self.allowed.len();
        }
        Ok(true)
    }

    fn must_stop(&self) -> bool {
        self.position == self.allowed.len()
    }
}

fn constrained(allowed: &[&[u32]], params: SamplingParams) -> SamplingParams {
    SamplingParams {
        constraint: Positions::constraint(allowed),
        eos_token_ids: vec![END],
        ..params
    }
}

fn seeded(seed: u64) -> SamplingParams {
    SamplingParams {
        seed: Some(seed),
        ..SamplingParams::default()
    }
}

/// The answer of a model that would rather say 50, 51, 52, over and over.
fn answer_of(model: ScriptedModel, max_tokens: usize, params: SamplingParams) -> Answer {
    let engine = TestEngine::start(model, EngineConfig::default());
    let mut answers = answer(engine.submit(request(&[5, 6, 7], max_tokens, params)));
    engine.join();
    answers.remove(0)
}

fn stubborn() -> ScriptedModel {
    ScriptedModel::new(VOCAB_SIZE).with_reply(&[50, 51, 52])
}

#[test]
fn an_answer_follows_its_grammar_and_stops_where_that_is_complete() {
    let allowed: [&[u32]; 3] = [&[50, 60], &[61], &[52, 290]];
    let answer = answer_of(
        stubborn(),
        20,
        constrained(&allowed, SamplingParams::greedy()),
    );
    assert_eq!(answer.token_ids[..2], [50, 61]);
    assert!(allowed[2].contains(&answer.token_ids[2]));
    assert_eq!(answer.token_ids.len(), 3);
    assert_eq!(answer.reason, Some(FinishReason::Stop));
    assert_eq!(answer.stop_token, None);
}

#[test]
fn an_end_token_is_possible_only_where_the_grammar_may_end() {
    let model = || ScriptedModel::new(VOCAB_SIZE).with_reply(&[END]);
    let allowed: [&[u32]; 3] = [&[10, 11], &[END, 12], &[13]];
    for ignore_eos in [false, true] {
        let params = SamplingParams {
            ignore_eos,
            ..SamplingParams::greedy()
        };
        let answer = answer_of(model(), 20, constrained(&allowed, params));
        assert_eq!(answer.token_ids.len(), 1, "the end was wanted at once");
        assert_eq!(answer.stop_token, Some(END));
        assert_eq!(answer.reason, Some(FinishReason::Stop));
    }
}

#[test]
fn max_tokens_may_break_a_grammar_off() {
    let allowed: [&[u32]; 3] = [&[10], &[11], &[12]];
    let answer = answer_of(stubborn(), 2, constrained(&allowed, seeded(1)));
    assert_eq!(answer.token_ids, [10, 11]);
    assert_eq!(answer.reason, Some(FinishReason::Length));
}

#[test]
fn log_probabilities_are_those_before_the_mask() {
    let params = SamplingParams {
        logprobs: Some(1),
        ..SamplingParams::greedy()
    };
    let answer = answer_of(stubborn(), 20, constrained(&[&[60], &[61]], params));
    let first = answer.logprobs[0].as_ref().expect("asked for");
    assert_eq!(first.top[0].0, 50, "the model's favourite, which is masked");
    assert!(first.logprob < first.top[0].1);
}

#[test]
fn each_of_n_answers_has_a_constraint_of_its_own() {
    let choices: Vec<u32> = (100..140).collect();
    let allowed: [&[u32]; 3] = [&choices, &choices, &[7]];
    let engine = TestEngine::start(ScriptedModel::new(VOCAB_SIZE), EngineConfig::default());
    let mut request = request(&[5, 6, 7], 20, constrained(&allowed, seeded(3)));
    request.n = 4;
    let answers = answer(engine.submit(request));
    engine.join();
    assert_eq!(answers.len(), 4);
    for answer in &answers {
        assert_eq!(answer.token_ids.len(), 3);
        assert!(choices.contains(&answer.token_ids[0]) && choices.contains(&answer.token_ids[1]));
        assert_eq!(answer.token_ids[2], 7);
    }
    assert_ne!(answers[0].token_ids, answers[1].token_ids);
}

#[test]
fn a_constraint_survives_preemption() {
    let choices: Vec<u32> = (100..200).collect();
    let allowed: Vec<&[u32]> = vec![&choices; 60];
    let run = |config: EngineConfig| {
        let engine = TestEngine::start(ScriptedModel::new(VOCAB_SIZE), config);
        let generations: Vec<_> = (0..12)
            .map(|i| {
                let prompt: Vec<u32> = (i..i + 20).collect();
                engine.submit(request(
                    &prompt,
                    80,
                    constrained(&allowed, seeded(i.into())),
                ))
            })
            .collect();
        let tokens: Vec<_> = generations
            .into_iter()
            .map(|generation| answer(generation).remove(0).token_ids)
            .collect();
        let preemptions = engine.handle().stats().preemptions;
        engine.join();
        (tokens, preemptions)
    };
    let (expected, _) = run(EngineConfig::default());
    let (tokens, preemptions) = run(EngineConfig {
        num_kv_blocks: 24,
        ..EngineConfig::default()
    });
    assert!(preemptions > 0);
    assert_eq!(tokens, expected);
    assert!(expected.iter().all(|tokens| tokens.len() == 60));
}

#[test]
fn a_grammar_that_leads_nowhere_fails_the_request() {
    let engine = TestEngine::start(stubborn(), EngineConfig::default());
    let allowed: [&[u32]; 2] = [&[10], &[]];
    let mut generation = engine.submit(request(&[5], 20, constrained(&allowed, seeded(1))));
    let mut last = None;
    while let Some(event) = generation.blocking_next() {
        last = Some(event);
    }
    engine.join();
    let Some(EngineEvent::Failed { error }) = last else {
        panic!("the request does not fail: {last:?}");
    };
    assert!(error.to_string().contains("every token is excluded"));
}
