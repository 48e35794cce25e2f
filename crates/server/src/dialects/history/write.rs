//! Writes an answer down as it comes: for who listens, and into the database.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use matou_history::{Answer, History, HistoryError, Message, Owner, State};
use matou_llm::generation::{Collected, Collector, EventStream, GenerationEvent};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use super::run::Writing;
use crate::clock::unix_time;
use crate::dialects::openai::answer::{ChatFormat, chat_completion};
use crate::dialects::openai::stream::ChatEncoder;
use crate::dialects::openai::wire::{Header, TimingsReport};
use crate::error::ApiError;
use crate::lifecycle::Lifecycle;
use crate::sse::{EventEncoder, Frames};

/// How often what there is is kept: as much as this is lost when the machine fails.
const CHECKPOINT: Duration = Duration::from_secs(1);

/// How an answer is told.
pub(super) struct Answering {
    pub(super) encoder: ChatEncoder,
    /// Of the whole answer.
    pub(super) header: Header,
    pub(super) format: ChatFormat,
    pub(super) lifecycle: Lifecycle,
}

/// Where an answer is kept.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) history: History,
    pub(super) owner: Owner,
    pub(super) conversation: String,
    pub(super) clock: fn() -> SystemTime,
    /// The answer that it goes on with.
    pub(super) before: Option<Message>,
}

/// How an answer ended.
enum End {
    Done,
    Stopped,
    Interrupted,
    Failed(ApiError),
}

/// Writes an answer down until it ends, or is ended.
pub(super) async fn write(
    mut events: EventStream,
    writing: Writing,
    mut answering: Answering,
    kept: Kept,
) {
    let mut collector = Collector::new(1);
    let mut first_token = None;
    let mut checkpoint = interval(CHECKPOINT);
    checkpoint.set_missed_tick_behavior(MissedTickBehavior::Delay);
    checkpoint.reset();
    let mut saving: Option<JoinHandle<Result<(), HistoryError>>> = None;
    let end = loop {
        let event = tokio::select! {
            biased;
            () = writing.stopped() => break End::Stopped,
            event = events.next() => event,
            _ = checkpoint.tick() => {
                // One at a time: a slow disk gets fewer. How likely the tokens were is kept at the end.
                if saving.as_ref().is_none_or(JoinHandle::is_finished) {
                    let so_far = answering.told(collector.text_so_far(), false);
                    saving = Some(kept.save(writing.message(), so_far, State::Running, None));
                }
                continue;
            }
        };
        let Some(event) = event else { break End::Done };
        if matches!(&event, GenerationEvent::Text { .. }) {
            first_token.get_or_insert_with(|| writing.age());
        }
        let mut frames = Frames::default();
        answering.encoder.encode(event.clone(), &mut frames);
        writing.push(frames.into_bytes());
        if let Err(error) = collector.push(event) {
            break match answering.lifecycle.is_cut() {
                true => End::Interrupted,
                false => End::Failed(error.into()),
            };
        }
    };
    // Its engine need not go on.
    drop(events);
    if let Some(saving) = saving {
        // The last one counts.
        let _ = saving.await;
    }
    let (state, error) = match end {
        End::Done => (State::Done, None),
        End::Stopped => (State::Stopped, None),
        End::Interrupted => (State::Interrupted, None),
        End::Failed(error) => (State::Failed, Some(error.to_string())),
    };
    let told = Told {
        first_token,
        ..answering.told(collector.finish(), true)
    };
    let timings = told.timings();
    let saved = kept.save(writing.message(), told, state, error.clone());
    let saved = saved.await;
    let mut frames = Frames::default();
    frames.data(&json!({
        "object": "history.answer.end",
        "id": writing.message(),
        "state": state,
        "error": error,
        "timings": timings,
    }));
    // Who reads the end finds it kept, or is told that it is not.
    let saved = saved.map_err(|error| ApiError::internal(error.to_string()));
    if let Err(error) = saved.and_then(|saved| Ok(saved?)) {
        warn!("an answer is not kept: {error}");
        frames.data(&error.body());
    }
    answering.encoder.close(&mut frames);
    writing.push(frames.into_bytes());
}

impl Answering {
    /// What there is of the answer, as chat completions tell it.
    fn told(&self, collected: Collected, with_logprobs: bool) -> Told {
        let mut format = self.format.clone();
        format.logprobs &= with_logprobs;
        Told {
            has_ended: collected.choices[0].reason.is_some(),
            header: self.header.clone(),
            format,
            collected,
            first_token: None,
        }
    }
}

/// An answer that is to be told as chat completions tell it: some work, where it is long.
struct Told {
    has_ended: bool,
    header: Header,
    format: ChatFormat,
    collected: Collected,
    /// From the arrival of the request to the first text.
    first_token: Option<Duration>,
}

impl Told {
    /// How long it took, if it has ended by itself.
    fn timings(&self) -> Option<Value> {
        let choice = &self.collected.choices[0];
        let timings = TimingsReport::new(self.collected.usage, choice.timings);
        let mut timings = serde_json::to_value(timings).ok()?;
        let milliseconds = self.first_token.map(|time| time.as_secs_f64() * 1e3);
        timings["first_token_ms"] = milliseconds.into();
        self.has_ended.then_some(timings)
    }

    /// The answer, after what it goes on with.
    fn answer(self, before: Option<&Message>, state: State, error: Option<String>) -> Answer {
        let has_ended = self.has_ended;
        let timings = self.timings();
        let whole = chat_completion(self.header, &self.format, self.collected);
        let mut whole = serde_json::to_value(whole).unwrap_or_default();
        let mut choice = whole["choices"][0].take();
        let mut message = choice["message"].take();
        let text = |value: Value| match value {
            Value::String(text) => Some(text),
            _ => None,
        };
        let some = |value: Value| (!value.is_null()).then_some(value);
        let content = text(message["content"].take()).unwrap_or_default();
        let reasoning = text(message["reasoning_content"].take());
        let calls = match message["tool_calls"].take() {
            Value::Array(calls) if !calls.is_empty() => Some(calls),
            _ => None,
        };
        let earlier = before.and_then(|before| before.content.as_str());
        let thought = before.and_then(|before| before.reasoning.clone());
        Answer {
            content: json!([earlier.unwrap_or_default(), content.as_str()].concat()),
            reasoning: match (thought, reasoning) {
                (Some(before), Some(more)) => Some(before + &more),
                (before, more) => before.or(more),
            },
            tool_calls: calls,
            state,
            error,
            finish_reason: has_ended
                .then(|| text(choice["finish_reason"].take()))
                .flatten(),
            usage: has_ended.then(|| some(whole["usage"].take())).flatten(),
            timings,
            // Of an answer that is gone on with, they would be those of its end only.
            logprobs: match before {
                None => some(choice["logprobs"].take()),
                Some(_) => None,
            },
            request: None,
        }
    }
}

impl Kept {
    /// Keeps what there is.
    fn save(
        &self,
        message: &str,
        told: Told,
        state: State,
        error: Option<String>,
    ) -> JoinHandle<Result<(), HistoryError>> {
        let (kept, message) = (self.clone(), message.to_owned());
        tokio::task::spawn_blocking(move || {
            let answer = told.answer(kept.before.as_ref(), state, error);
            kept.save_answer(&message, &answer)
        })
    }

    fn save_answer(&self, message: &str, answer: &Answer) -> Result<(), HistoryError> {
        let now = unix_time(self.clock);
        let (history, conversation) = (&self.history, &self.conversation);
        let save = |answer| history.save_answer(&self.owner, conversation, message, answer, now);
        let saved = match save(answer) {
            // The text is worth more than how likely it was.
            Err(HistoryError::TooMuch { .. }) if answer.logprobs.is_some() => save(&Answer {
                logprobs: None,
                ..answer.clone()
            }),
            saved => saved,
        };
        // One that was deleted meanwhile is not missed.
        saved.map(|_is_there| ())
    }
}
