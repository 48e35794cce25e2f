//! The bodies of calls, character by character, in whichever notation.

use super::call_sink::{BodyStep, CallSink};
use super::json_calls::JsonCalls;
use super::named_call::NamedCall;
use super::pythonic::PythonicCalls;

/// What is between the opener and the closer.
pub(super) enum CallBody {
    Json(JsonCalls),
    Named(NamedCall),
    /// Mistral's, before the first character tells its two notations apart.
    Mistral,
    Pythonic(PythonicCalls),
}

impl CallBody {
    pub(super) fn step(&mut self, character: char, sink: &mut CallSink) -> BodyStep {
        match self {
            Self::Json(calls) => calls.step(character, sink),
            Self::Named(call) => call.step(character, sink),
            Self::Pythonic(calls) => calls.step(character, sink),
            Self::Mistral if character.is_whitespace() => BodyStep::More,
            Self::Mistral => {
                *self = match character {
                    '[' | '{' => Self::Json(JsonCalls::new(true)),
                    _ => Self::Named(NamedCall::mistral()),
                };
                self.step(character, sink)
            }
        }
    }
}
