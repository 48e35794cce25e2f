//! Requests from admission to their terminal event.
//!
//! A request has `n` answers, each a sequence of the scheduler. Here is what they send, and how each
//! of them ends:
//!
//! ```text
//!            ┌─ stop token, max_tokens ───────────► Finished, sequence removed
//!  Token ... ┼─ stopped by its client ────────────► Finished, sequence removed
//!            ┼─ client gone (channel closed) ─────► all answers removed, nobody listens
//!            └─ failed step, no token possible ───► Failed, all answers removed
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use matou_model::Adapter;

use crate::embedding::EmbeddingSum;
use crate::error::GenerationError;

use crate::model_runner::{Samplers, SequenceOutput};
use crate::queue::QueueTicket;
use crate::request::{EngineEvent, FinishReason};
use crate::sampling::TokenLogprobs;
use crate::sampling::{Sampled, Sampler, SamplingPlan};
use crate::scheduler::Scheduler;
use crate::sequence::{NewSequence, SequenceId};
use crate::stats::EngineStats;
use crate::step::Step;
use crate::submission::{EventSender, StopFlags, Submission};

/// Most events that a client may leave unread: with twenty log-probabilities each they are some
/// megabytes. Whoever is a whole long answer behind does not read.
const MAX_UNREAD_EVENTS: usize = 8192;

/// Names a request; the id of its first sequence.
type RequestKey = SequenceId;

/// A request that has not ended.
struct ActiveRequest {
    request_id: String,
    events: EventSender,
    stopped: StopFlags,
    plan: SamplingPlan,
    adapter: Option<Arc<Adapter>>,
    num_prompt_tokens: usize,
    max_output_tokens: usize,
    /// Answers that have not ended.
    sequences: Vec<SequenceId>,
    n: usize,
    num_output_tokens: usize,
    submitted: Instant,
    /// When its first step began.
    started: Option<Instant>,
    /// When its first token came, and with it the end of its prompt.
    first_token: Option<Instant>,
    prompt_logprobs: Option<Vec<Option<TokenLogprobs>>>,
    embedding: EmbeddingSum,
}

impl ActiveRequest {
    fn send(&self, event: EngineEvent) {
        self.events.send(event);
    }

    /// Counts and times a request all of whose answers are complete.
    fn count(&self, now: Instant, stats: &mut EngineStats) {
        let seconds = |since: Option<Instant>| since.map(|since| (now - since).as_secs_f64());
        let times = [
            (&mut stats.e2e_latency, Some(self.submitted)),
            (&mut stats.inference_time, self.started),
            (&mut stats.decode_time, self.first_token),
        ];
        for (histogram, since) in times {
            seconds(since)
                .into_iter()
                .for_each(|s| histogram.observe(s));
        }
        let numbers = [
            (&mut stats.request_prompt_tokens, self.num_prompt_tokens),
            (&mut stats.request_generation_tokens, self.num_output_tokens),
            (&mut stats.request_max_tokens, self.max_output_tokens),
            (&mut stats.request_n, self.n),
        ];
        for (histogram, number) in numbers {
            histogram.observe(number as f64);
        }
    }
}

/// One answer of a request.
struct Answer {
    request: RequestKey,
    index: usize,
    /// Made when the answer is first let in.
    sampler: Option<Sampler>,
    /// Its place in the queue, held until its first step.
    ticket: Option<QueueTicket>,
    last_token: Option<Instant>,
}

/// All requests that have not ended.
#[derive(Default)]
pub(crate) struct Requests {
    requests: HashMap<RequestKey, ActiveRequest>,
    answers: HashMap<SequenceId, Answer>,
}

impl Samplers for Requests {
    fn samplers<'a>(&'a mut self, step: &Step) -> Vec<&'a mut Sampler> {
        let ids = step.sequences.iter().map(|scheduled| scheduled.id);
        let places: HashMap<SequenceId, usize> = ids.zip(0..).collect();
        let wanted = |(id, answer): (&SequenceId, _)| Some((*places.get(id)?, answer));
        let mut found: Vec<(usize, &mut Answer)> =
            self.answers.iter_mut().filter_map(wanted).collect();
        assert_eq!(
            found.len(),
            step.sequences.len(),
            "every scheduled sequence is an answer"
        );
        found.sort_unstable_by_key(|(place, _)| *place);
        let requests = &self.requests;
        let sampler = |(_, answer): (usize, &'a mut Answer)| {
            let request = &requests[&answer.request];
            let start = || Sampler::of_plan(&request.plan, answer.index);
            answer.sampler.get_or_insert_with(start)
        };
        found.into_iter().map(sampler).collect()
    }

    fn adapter(&self, id: SequenceId) -> Option<&Arc<Adapter>> {
        let answer = self.answers.get(&id)?;
        self.requests.get(&answer.request)?.adapter.as_ref()
    }
}

impl Requests {
    /// Hands the answers of a new request to the scheduler. `max_len` is the longest sequence that
    /// can be held, `max_priority` the largest that counts.
    pub(crate) fn admit(
        &mut self,
        submission: Submission,
        scheduler: &mut Scheduler,
        max_len: usize,
        max_priority: i32,
    ) {
        let Submission {
            request,
            plan,
            events,
            stopped,
            tickets,
            place,
            submitted,
        } = submission;
        let params = &plan.params;
        let num_prompt_tokens = request.prompt_token_ids.len();
        let longest = max_len.saturating_sub(num_prompt_tokens);
        let mut sequences = Vec::with_capacity(request.n);
        for (index, ticket) in tickets.into_iter().enumerate() {
            let leader = sequences.first().copied();
            let id = scheduler.add(NewSequence {
                prompt_token_ids: Arc::clone(&request.prompt_token_ids),
                place: place + index,
                client: request.client,
                priority: request.priority.clamp(-max_priority, max_priority),
                cache_salt: request.cache_salt.clone(),
                adapter: request.adapter.as_ref().map(|adapter| adapter.id()),
                num_open_tokens: request.num_open_tokens,
                leader,
                prompt_logits: leader.is_none() && params.prompt_logprobs.is_some(),
                prompt_hidden: leader.is_none() && params.prompt_embedding,
            });
            self.answers.insert(
                id,
                Answer {
                    request: leader.unwrap_or(id),
                    index,
                    sampler: None,
                    ticket: Some(ticket),
                    last_token: None,
                },
            );
            sequences.push(id);
        }
        tracing::debug!(
            request_id = request.request_id,
            num_prompt_tokens,
            n = request.n,
            "request queued"
        );
        let active = ActiveRequest {
            request_id: request.request_id,
            events,
            stopped,
            adapter: request.adapter,
            num_prompt_tokens,
            max_output_tokens: params
                .max_tokens
                .map_or(longest, |max_tokens| max_tokens.min(longest)),
            n: request.n,
            num_output_tokens: 0,
            submitted,
            started: None,
            first_token: None,
            prompt_logprobs: params
                .prompt_logprobs
                .map(|_| vec![None; num_prompt_tokens]),
            embedding: EmbeddingSum::default(),
            plan,
            sequences,
        };
        self.requests.insert(active.sequences[0], active);
    }

    /// Ends what clients want no more of: answers that they stopped, and all answers of those who
    /// have gone away.
    pub(crate) fn end_unwanted(&mut self, scheduler: &mut Scheduler, stats: &mut EngineStats) {
        // In this order: who stops an answer and then goes away has stopped it.
        let is_gone = |request: &ActiveRequest| request.events.is_closed();
        let gone: Vec<RequestKey> = keys_where(&self.requests, is_gone);
        let unread = |request: &ActiveRequest| request.events.unread() > MAX_UNREAD_EVENTS;
        let behind: Vec<RequestKey> = keys_where(&self.requests, unread);
        self.end_stopped(scheduler, stats);
        for key in behind {
            self.fail(
                key,
                GenerationError::Unread(MAX_UNREAD_EVENTS),
                scheduler,
                stats,
            );
        }
        for key in gone {
            if let Some(request) = self.remove(key, scheduler) {
                request
                    .sequences
                    .iter()
                    .for_each(|_| stats.count_finished(FinishReason::Aborted));
                tracing::debug!(request_id = request.request_id, "request cancelled");
            }
        }
    }

    fn end_stopped(&mut self, scheduler: &mut Scheduler, stats: &mut EngineStats) {
        let is_stopped = |request: &ActiveRequest, id: &SequenceId| {
            let answer = self.answers.get(id);
            answer.is_some_and(|answer| request.stopped.is_set(answer.index))
        };
        let some = self
            .requests
            .values()
            .filter(|request| request.stopped.any());
        let stopped: Vec<SequenceId> = some
            .flat_map(|request| {
                request
                    .sequences
                    .iter()
                    .filter(|id| is_stopped(request, id))
            })
            .copied()
            .collect();
        for id in stopped {
            self.end_answer(
                id,
                (FinishReason::Stop, None),
                scheduler,
                Instant::now(),
                stats,
            );
        }
    }

    /// Takes note of the requests whose first step this is: they leave the queue.
    pub(crate) fn note_started(&mut self, step: &Step, now: Instant, stats: &mut EngineStats) {
        for scheduled in &step.sequences {
            let Some(answer) = self.answers.get_mut(&scheduled.id) else {
                continue;
            };
            if answer.ticket.take().is_none() {
                continue;
            }
            if let Some(request) = self.requests.get_mut(&answer.request)
                && request.started.is_none()
            {
                request.started = Some(now);
                stats
                    .queue_time
                    .observe((now - request.submitted).as_secs_f64());
            }
        }
    }

    /// Sends what a step has yielded, and ends the answers that are complete.
    pub(crate) fn update(
        &mut self,
        outputs: Vec<SequenceOutput>,
        hidden_size: usize,
        scheduler: &mut Scheduler,
        now: Instant,
        stats: &mut EngineStats,
    ) {
        for output in outputs {
            // A sibling may have failed the whole request in this very step.
            let Some(answer) = self.answers.get_mut(&output.id) else {
                continue;
            };
            let key = answer.request;
            let request = self
                .requests
                .get_mut(&key)
                .expect("an answer's request lives as long as the answer");
            if let Some(logprobs) = &mut request.prompt_logprobs {
                let places = logprobs.iter_mut().skip(output.first_prompt_logprob);
                places
                    .zip(output.prompt_logprobs)
                    .for_each(|(place, found)| *place = Some(found));
            }
            request.embedding.add(
                &output.hidden_states,
                output.first_prompt_logprob - 1,
                hidden_size,
            );
            let Some(sampled) = output.sampled else {
                continue;
            };
            if request.first_token.is_none() {
                let cached_tokens = scheduler.sequence(output.id).num_cached_tokens.unwrap_or(0);
                let logprobs = request.prompt_logprobs.take();
                request.send(EngineEvent::Prompt {
                    cached_tokens,
                    logprobs,
                });
                if request.plan.params.prompt_embedding {
                    let embedding = request.embedding.mean(request.num_prompt_tokens);
                    request.send(EngineEvent::Embedding { embedding });
                }
                request.first_token = Some(now);
                stats.prompt_tokens += request.num_prompt_tokens as u64;
                stats.cached_tokens += cached_tokens as u64;
                stats
                    .time_to_first_token
                    .observe((now - request.submitted).as_secs_f64());
                let started = request.started.unwrap_or(request.submitted);
                stats.prefill_time.observe((now - started).as_secs_f64());
            }
            if let Some(last) = answer.last_token.replace(now) {
                stats
                    .inter_token_latency
                    .observe((now - last).as_secs_f64());
            }
            match sampled {
                Ok(sampled) => self.push_token(output.id, sampled, scheduler, now, stats),
                Err(error) => self.fail(key, error, scheduler, stats),
            }
        }
    }

    fn push_token(
        &mut self,
        id: SequenceId,
        sampled: Sampled,
        scheduler: &mut Scheduler,
        now: Instant,
        stats: &mut EngineStats,
    ) {
        let Answer { request, index, .. } = self.answers[&id];
        let request = self
            .requests
            .get_mut(&request)
            .expect("an answer's request lives as long as the answer");
        let Sampled {
            token_id,
            logprobs,
            completes,
        } = sampled;
        // `ignore_eos` does not go on where a grammar has come to its end.
        let is_end = request.plan.is_stop_token(token_id)
            || completes && request.plan.params.eos_token_ids.contains(&token_id);
        let num_output_tokens = scheduler.sequence(id).output_token_ids().len();
        let finished = if request.max_output_tokens == 0 {
            Some((FinishReason::Length, None))
        } else if is_end {
            Some((FinishReason::Stop, Some(token_id)))
        } else {
            request.send(EngineEvent::Token {
                index,
                token_id,
                logprobs,
            });
            request.num_output_tokens += 1;
            stats.generation_tokens += 1;
            scheduler.append_token(id, token_id);
            if completes {
                Some((FinishReason::Stop, None))
            } else {
                (num_output_tokens + 1 == request.max_output_tokens)
                    .then_some((FinishReason::Length, None))
            }
        };
        if let Some(end) = finished {
            self.end_answer(id, end, scheduler, now, stats);
        }
    }

    /// Ends one answer for the reason, and with the stop token, of `end`.
    fn end_answer(
        &mut self,
        id: SequenceId,
        (reason, stop_token): (FinishReason, Option<u32>),
        scheduler: &mut Scheduler,
        now: Instant,
        stats: &mut EngineStats,
    ) {
        let Some(answer) = self.answers.remove(&id) else {
            return;
        };
        let Some(request) = self.requests.get_mut(&answer.request) else {
            return;
        };
        request.send(EngineEvent::Finished {
            index: answer.index,
            reason,
            stop_token,
        });
        stats.count_finished(reason);
        scheduler.remove(id);
        request.sequences.retain(|sequence| *sequence != id);
        if request.sequences.is_empty() {
            request.count(now, stats);
            tracing::debug!(request_id = request.request_id, "request finished");
            self.requests.remove(&answer.request);
        }
    }

    /// Ends all requests that had a part in a step that failed.
    pub(crate) fn fail_step(
        &mut self,
        step: &Step,
        error: &GenerationError,
        scheduler: &mut Scheduler,
        stats: &mut EngineStats,
    ) {
        for scheduled in &step.sequences {
            if let Some(answer) = self.answers.get(&scheduled.id) {
                self.fail(answer.request, error.clone(), scheduler, stats);
            }
        }
    }

    fn fail(
        &mut self,
        key: RequestKey,
        error: GenerationError,
        scheduler: &mut Scheduler,
        stats: &mut EngineStats,
    ) {
        if let Some(request) = self.remove(key, scheduler) {
            let request_id = &request.request_id;
            match error.is_of_the_request() {
                true => tracing::debug!(request_id, %error, "request failed"),
                false => tracing::error!(request_id, %error, "request failed"),
            }
            request.send(EngineEvent::Failed { error });
            stats.failed += 1;
        }
    }

    /// Forgets a request and gives back what its answers hold.
    fn remove(&mut self, key: RequestKey, scheduler: &mut Scheduler) -> Option<ActiveRequest> {
        let request = self.requests.remove(&key)?;
        for &id in &request.sequences {
            scheduler.remove(id);
            self.answers.remove(&id);
        }
        Some(request)
    }
}

/// The keys of the values for which `holds`.
fn keys_where<K: Copy, V>(map: &HashMap<K, V>, holds: impl Fn(&V) -> bool) -> Vec<K> {
    map.iter()
        .filter(|(_, value)| holds(value))
        .map(|(key, _)| *key)
        .collect()
}
