//! Requests under a load, and what their clients saw together.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::arrivals::{Arrival, poisson};
use super::client::Ask;
use super::goal::Goal;
use super::prompts::Prompts;
use crate::machine::Usage;
use crate::report::{ClientLoad, Load, Record, ServeCell};
use crate::stats::Distribution;

/// How often the measuring program looks whether its own clock comes late.
const HEARTBEAT: Duration = Duration::from_millis(5);
/// How long a client that was refused waits before it asks again: a storm of refusals measures nothing.
const AFTER_ERROR: Duration = Duration::from_millis(100);
/// Requests that fail one after the other, none succeeding between them, until the cell is given up.
const MAX_FAILURES: usize = 50;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A name that no other cell of the report has.
    pub name: String,
    /// How requests are sent.
    pub load: Load,
    /// How many.
    pub requests: usize,
    /// The number of the first prompt: cells that share none are told other numbers.
    pub first_prompt: u64,
    /// Whether the prompts have been sent before, on purpose.
    pub cached: bool,
    /// When requests come, of a trace.
    pub arrivals: Vec<Arrival>,
    /// Seed of the arrivals.
    pub seed: u64,
    /// What an answer has to keep to count as good.
    pub target: Option<Goal>,
    /// How long it may take at most; what has been measured until then counts.
    pub time_limit: Duration,
}

/// What came of a cell, beside its figures.
#[derive(Debug)]
pub struct Outcome {
    /// The figures.
    pub cell: ServeCell,
    /// Prompts that were sent more than once in it.
    pub repeated: usize,
    /// How it came to its end.
    pub ending: Ending,
}

/// How a cell came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All requests have been answered, or refused.
    Complete,
    /// It took too long.
    TimeUp,
    /// Somebody has had enough.
    Stopped,
    /// Nothing was answered any more.
    GivenUp,
}

/// Sends the requests of a plan. `stop` ends it early, with what there is; `tick` is told after each request
/// how many there have been.
pub async fn run<A: Ask>(
    client: &A,
    prompts: &Prompts,
    plan: Plan,
    mut stop: watch::Receiver<bool>,
    tick: &(dyn Fn(usize) + Sync),
) -> Outcome {
    let usage = Usage::start();
    let lags = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    tasks.spawn(heartbeat(Arc::clone(&lags)));
    let origin = Instant::now();
    let (sender, mut receiver) = mpsc::unbounded_channel();
    match plan.load {
        Load::Closed { concurrency } => {
            let next = Arc::new(AtomicUsize::new(0));
            for _ in 0..concurrency.min(plan.requests) {
                let sender = sender.clone();
                let asker = Asker::new(client, prompts, &plan, origin);
                tasks.spawn(asker.one_after_the_other(Arc::clone(&next), plan.requests, sender));
            }
        }
        Load::Open { rate } => {
            let times = poisson(plan.requests, rate, plan.seed).into_iter();
            let arrivals = times.map(|at_s| Arrival {
                at_s,
                input_tokens: None,
                output_tokens: None,
            });
            let asker = Asker::new(client, prompts, &plan, origin);
            tasks.spawn(asker.at_their_times(arrivals.collect(), sender.clone()));
        }
        Load::Trace { .. } => {
            let asker = Asker::new(client, prompts, &plan, origin);
            tasks.spawn(asker.at_their_times(plan.arrivals.clone(), sender.clone()));
        }
    }
    drop(sender);

    let mut records: Vec<Record> = Vec::new();
    let mut failures = 0;
    let mut deadline = pin!(sleep(plan.time_limit));
    let ending = loop {
        tokio::select! {
            record = receiver.recv() => {
                let Some(record) = record else { break Ending::Complete };
                failures = if record.error.is_some() { failures + 1 } else { 0 };
                records.push(record);
                tick(records.len());
                if failures >= MAX_FAILURES {
                    break Ending::GivenUp;
                }
            }
            () = is_set(&mut stop) => break Ending::Stopped,
            () = &mut deadline => break Ending::TimeUp,
        }
    };
    let client_load = ClientLoad {
        cores: usage.own_cores(),
        steal_share: usage.stop().map(|used| used.steal),
        lag_p99_ms: Distribution::of(
            lags.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .drain(..),
        )
        .p99,
    };
    tasks.shutdown().await;
    records.sort_by(|a, b| a.intended_s.total_cmp(&b.intended_s));
    Outcome {
        repeated: repeated(prompts, &plan, records.len()),
        cell: sum_up(plan, prompts.shared_prefix(), records, client_load),
        ending,
    }
}

/// Resolves once it is set; never, if nobody can set it any more.
async fn is_set(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Takes down in milliseconds how late this program's own clock ticks: whoever cannot even do that in time
/// cannot take the time of others either.
async fn heartbeat(lags: Arc<Mutex<Vec<f64>>>) {
    loop {
        let due = Instant::now() + HEARTBEAT;
        sleep_until(due).await;
        let late = due.elapsed().as_secs_f64() * 1000.0;
        lags.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(late);
    }
}

/// Whoever sends a plan's requests.
struct Asker<A> {
    client: A,
    prompts: Prompts,
    first_prompt: u64,
    origin: Instant,
}

impl<A: Ask> Asker<A> {
    fn new(client: &A, prompts: &Prompts, plan: &Plan, origin: Instant) -> Self {
        Self {
            client: client.clone(),
            prompts: prompts.clone(),
            first_prompt: plan.first_prompt,
            origin,
        }
    }

    /// Sends the next request that nobody has sent, once the last is answered.
    async fn one_after_the_other(
        self,
        next: Arc<AtomicUsize>,
        requests: usize,
        records: UnboundedSender<Record>,
    ) {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= requests {
                return;
            }
            let prompt = self.prompts.get(self.first_prompt + number as u64, None);
            let intended_s = self.origin.elapsed().as_secs_f64();
            let record = self
                .client
                .ask(&prompt, None, self.origin, intended_s)
                .await;
            let has_failed = record.error.is_some();
            if records.send(record).is_err() {
                return;
            }
            if has_failed {
                sleep(AFTER_ERROR).await;
            }
        }
    }

    /// Sends each request at its time. What is late already is sent at once: the time that it was to be sent
    /// stays what it was.
    async fn at_their_times(self, arrivals: Vec<Arrival>, records: UnboundedSender<Record>) {
        let mut asked = JoinSet::new();
        for (number, arrival) in arrivals.into_iter().enumerate() {
            let prompt = self
                .prompts
                .get(self.first_prompt + number as u64, arrival.input_tokens);
            sleep_until(self.origin + Duration::from_secs_f64(arrival.at_s)).await;
            let (client, records, origin) = (self.client.clone(), records.clone(), self.origin);
            asked.spawn(async move {
                let record = client
                    .ask(&prompt, arrival.output_tokens, origin, arrival.at_s)
                    .await;
                // Who does not listen any more has stopped.
                let _ = records.send(record);
            });
        }
        while asked.join_next().await.is_some() {}
    }
}

/// Prompts that were sent more than once.
fn repeated(prompts: &Prompts, plan: &Plan, count: usize) -> usize {
    let hash = |number: usize| {
        let tokens = plan.arrivals.get(number).and_then(|a| a.input_tokens);
        let prompt = prompts.get(plan.first_prompt + number as u64, tokens);
        let mut hasher = DefaultHasher::new();
        prompt.text().hash(&mut hasher);
        hasher.finish()
    };
    let distinct: HashSet<u64> = (0..count).map(hash).collect();
    count - distinct.len()
}

/// The figures of a cell.
fn sum_up(plan: Plan, shared_prefix: f64, records: Vec<Record>, client: ClientLoad) -> ServeCell {
    let good: Vec<&Record> = records
        .iter()
        .filter(|record| record.error.is_none())
        .collect();
    let begin = records
        .iter()
        .map(|r| r.intended_s)
        .fold(f64::INFINITY, f64::min);
    let end = records.iter().map(|r| r.end_s).fold(0.0, f64::max);
    let seconds = if records.is_empty() {
        0.0
    } else {
        (end - begin).max(1e-9)
    };
    let a_second = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
    let prompt_tokens: u64 = good.iter().map(|r| r.prompt_tokens).sum();
    let completion_tokens: u64 = good.iter().map(|r| r.completion_tokens).sum();
    let mut errors = BTreeMap::new();
    for error in records.iter().filter_map(|record| record.error.as_ref()) {
        *errors.entry(error.kind.clone()).or_insert(0) += 1;
    }
    let itl_ms = good
        .iter()
        .flat_map(|record| &record.gaps)
        .flat_map(|&(gap_s, tokens)| {
            let each = gap_s / tokens.max(1.0) * 1000.0;
            std::iter::repeat_n(each, (tokens.round() as usize).max(1))
        });
    let chunks = good.iter().map(|record| record.gaps.len()).sum::<usize>();
    let several = good
        .iter()
        .flat_map(|r| &r.gaps)
        .filter(|gap| gap.1 > 1.0)
        .count();
    let cached = good.iter().map(|record| record.cached_tokens);
    let sent = rate(records.iter().map(|record| record.sent_s));
    let sent_per_s = match plan.load {
        // Of random times the first and the last are too, so that only their schedule tells what was asked for.
        Load::Open { rate: asked } if sent > 0.0 => {
            asked * sent / rate(records.iter().map(|r| r.intended_s))
        }
        _ => sent,
    };
    let kept = plan
        .target
        .map(|goal| good.iter().filter(|record| goal.is_kept(record)).count());
    ServeCell {
        name: plan.name,
        load: plan.load,
        cached: plan.cached,
        shared_prefix,
        seconds,
        requests: plan.requests,
        completed: good.len(),
        errors,
        prompt_tokens,
        // Of those that do not say, nothing is known of the sum either.
        cached_tokens: cached.sum::<Option<u64>>().filter(|_| !good.is_empty()),
        completion_tokens,
        tokens_per_s: a_second(completion_tokens as f64),
        total_tokens_per_s: a_second((prompt_tokens + completion_tokens) as f64),
        requests_per_s: a_second(good.len() as f64),
        sent_per_s,
        ttft_ms: Distribution::of(good.iter().filter_map(|record| record.ttft_ms())),
        itl_ms: Distribution::of(itl_ms),
        tpot_ms: Distribution::of(good.iter().filter_map(|record| record.tpot_ms())),
        e2e_ms: Distribution::of(good.iter().map(|record| record.e2e_ms())),
        send_delay_ms: Distribution::of(records.iter().map(|r| (r.sent_s - r.intended_s) * 1000.0)),
        multi_token_chunks: several as f64 / chunks.max(1) as f64,
        goodput_per_s: kept.map(|kept| a_second(kept as f64)),
        client,
        records,
    }
}

/// Events a second, between the first and the last of them.
fn rate(times: impl Iterator<Item = f64>) -> f64 {
    let times: Vec<f64> = times.collect();
    let first = times.iter().copied().fold(f64::INFINITY, f64::min);
    let last = times.iter().copied().fold(0.0, f64::max);
    match times.len() > 1 && last > first {
        true => (times.len() - 1) as f64 / (last - first),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(intended_s: f64, first_token_s: f64, gaps: &[(f64, f64)]) -> Record {
        let end_s = first_token_s + gaps.iter().map(|gap| gap.0).sum::<f64>();
        Record {
            intended_s,
            sent_s: intended_s + 0.001,
            first_token_s: Some(first_token_s),
            end_s,
            prompt_tokens: 10,
            cached_tokens: Some(4),
            completion_tokens: 1 + gaps.iter().map(|gap| gap.1).sum::<f64>() as u64,
            gaps: gaps.to_vec(),
            ..Record::default()
        }
    }

    fn plan(target: Option<Goal>) -> Plan {
        Plan {
            name: "cell".to_owned(),
            load: Load::Closed { concurrency: 1 },
            requests: 3,
            first_prompt: 0,
            cached: false,
            arrivals: Vec::new(),
            seed: 1,
            target,
            time_limit: Duration::from_secs(60),
        }
    }

    #[test]
    fn figures_are_those_of_the_records() {
        let failed = Record {
            intended_s: 3.0,
            sent_s: 3.0,
            end_s: 4.0,
            error: Some(crate::report::RequestError {
                kind: "http 429".to_owned(),
                message: "busy".to_owned(),
            }),
            ..Record::default()
        };
        let records = vec![
            record(0.0, 0.5, &[(0.1, 1.0), (0.1, 1.0)]),
            // A chunk with four tokens, and a wait before the request was sent that counts.
            record(1.0, 3.0, &[(0.4, 4.0), (0.6, 1.0)]),
            failed,
        ];
        let goal = Goal::parse("ttft:600,tpot:150").unwrap();
        let cell = sum_up(plan(Some(goal)), 0.0, records, ClientLoad::default());
        assert_eq!((cell.completed, cell.errors["http 429"]), (2, 1));
        assert_eq!(
            (
                cell.prompt_tokens,
                cell.cached_tokens,
                cell.completion_tokens
            ),
            (20, Some(8), 9)
        );
        assert_eq!(cell.seconds, 4.0);
        assert_eq!((cell.tokens_per_s, cell.total_tokens_per_s), (2.25, 7.25));
        assert_eq!((cell.requests_per_s, cell.goodput_per_s), (0.5, Some(0.25)));
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6, "{a} and not {b}");
        near(cell.ttft_ms.min, 500.0);
        near(cell.ttft_ms.max, 2000.0);
        // 100, 100, four of 100, and 600.
        assert_eq!(cell.itl_ms.count, 7);
        near(cell.itl_ms.p50, 100.0);
        near(cell.itl_ms.max, 600.0);
        near(cell.tpot_ms.max, 200.0);
        near(cell.multi_token_chunks, 0.25);
        near(cell.send_delay_ms.max, 1.0);
        near(cell.sent_per_s, 2.0 / 2.999);
    }

    #[test]
    fn what_one_server_does_not_say_is_not_known_of_all() {
        let mut silent = record(0.0, 0.5, &[]);
        silent.cached_tokens = None;
        let records = vec![record(0.0, 0.5, &[]), silent];
        let cell = sum_up(plan(None), 0.0, records, ClientLoad::default());
        assert_eq!((cell.cached_tokens, cell.goodput_per_s), (None, None));
        let cell = sum_up(plan(None), 0.0, Vec::new(), ClientLoad::default());
        assert_eq!((cell.tokens_per_s, cell.cached_tokens), (0.0, None));
    }
}
