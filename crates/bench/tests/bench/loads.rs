//! Loads on a simulated server, in simulated time: figures are exact, and nothing waits.

use std::sync::Arc;
use std::time::Duration;

use matou_bench::report::{FindingKind, Load, Record};
use matou_bench::serve::client::Ask;
use matou_bench::serve::load::{Ending, Outcome, Plan, run};
use matou_bench::serve::prompts::{Prompt, Prompts, Source};
use matou_bench::serve::{findings, knee};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};

/// A server that answers so many at a time, each in a second: ten tokens, a tenth of a second apart.
#[derive(Clone)]
struct Simulated {
    places: Arc<Semaphore>,
    cached_tokens: Option<u64>,
}

impl Simulated {
    fn new(places: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            cached_tokens: Some(0),
        }
    }
}

impl Ask for Simulated {
    async fn ask(
        &self,
        _: &Prompt,
        tokens: Option<usize>,
        origin: Instant,
        intended_s: f64,
    ) -> Record {
        let now = || origin.elapsed().as_secs_f64();
        let sent_s = now();
        let _place = self.places.acquire().await.unwrap();
        sleep(Duration::from_millis(100)).await;
        let first_token_s = Some(now());
        let mut gaps = Vec::new();
        for _ in 0..9 {
            sleep(Duration::from_millis(100)).await;
            gaps.push((0.1, 1.0));
        }
        Record {
            intended_s,
            sent_s,
            first_token_s,
            end_s: now(),
            prompt_tokens: 100,
            cached_tokens: self.cached_tokens,
            completion_tokens: tokens.unwrap_or(10) as u64,
            gaps,
            finish_reason: Some("length".to_owned()),
            error: None,
        }
    }
}

fn plan(load: Load, requests: usize) -> Plan {
    Plan {
        name: load.name(),
        load,
        requests,
        first_prompt: 0,
        cached: false,
        arrivals: Vec::new(),
        seed: 1,
        target: None,
        time_limit: Duration::from_secs(100_000),
    }
}

async fn measured(server: &Simulated, plan: Plan, unique: bool) -> Outcome {
    let prompts = Prompts::new(Source::built_in(), None, 1, unique);
    let (_keep, stop) = watch::channel(false);
    run(server, &prompts, plan, stop, &|_| {}).await
}

fn kinds(outcome: &Outcome) -> Vec<FindingKind> {
    let found = findings::of(outcome, 0);
    found.into_iter().map(|(kind, _)| kind).collect()
}

#[tokio::test(start_paused = true)]
async fn the_open_loop_keeps_its_rate_and_shows_the_queue_that_a_closed_loop_hides() {
    // One answer a second, and two requests: the queue grows by one each second.
    let server = Simulated::new(1);
    let open = measured(&server, plan(Load::Open { rate: 2.0 }, 200), true)
        .await
        .cell;
    let closed = measured(&server, plan(Load::Closed { concurrency: 1 }, 200), true)
        .await
        .cell;

    assert!(
        (open.sent_per_s / 2.0 - 1.0).abs() < 0.01,
        "{} a second",
        open.sent_per_s
    );
    assert!(open.send_delay_ms.max <= 1.0, "{:?}", open.send_delay_ms);
    assert!(
        (closed.ttft_ms.p99 - 100.0).abs() < 2.0,
        "{:?}",
        closed.ttft_ms
    );
    // The last of 200 waits for about 100 others.
    assert!(open.ttft_ms.max > 90_000.0, "{:?}", open.ttft_ms);
    assert!(open.ttft_ms.p50 > 40_000.0, "{:?}", open.ttft_ms);
    // What the server does is the same: one answer a second, tokens a tenth apart.
    for cell in [&open, &closed] {
        assert!(
            (cell.requests_per_s - 1.0).abs() < 0.02,
            "{}",
            cell.requests_per_s
        );
        assert!((cell.itl_ms.p50 - 100.0).abs() < 1e-6);
        assert_eq!((cell.completed, cell.completion_tokens), (200, 2000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_trace_is_sent_as_it_came() {
    let lines = "{\"timestamp\": 500, \"output_length\": 3}\n{\"timestamp\": 2000}\n{\"timestamp\": 1500}\n";
    let arrivals = matou_bench::serve::arrivals::trace(lines).unwrap();
    let file = "trace.jsonl".to_owned();
    let plan = Plan {
        arrivals,
        ..plan(Load::Trace { file }, 3)
    };
    let cell = measured(&Simulated::new(1), plan, true).await.cell;
    let times: Vec<f64> = cell
        .records
        .iter()
        .map(|record| record.intended_s)
        .collect();
    assert_eq!(times, [0.0, 1.0, 1.5]);
    let tokens: Vec<u64> = cell
        .records
        .iter()
        .map(|record| record.completion_tokens)
        .collect();
    assert_eq!(tokens, [3, 10, 10]);
    // The last waits for the one before, which is answered until 2.0.
    assert!((cell.ttft_ms.max - 600.0).abs() < 3.0, "{:?}", cell.ttft_ms);
}

#[tokio::test(start_paused = true)]
async fn clients_of_a_closed_loop_are_as_many_as_asked_for() {
    let server = Simulated::new(4);
    let mut cells = Vec::new();
    for concurrency in [1, 2, 4, 8, 16] {
        let plan = plan(Load::Closed { concurrency }, 64);
        cells.push((concurrency, measured(&server, plan, true).await.cell));
    }
    let rates: Vec<f64> = cells.iter().map(|(_, cell)| cell.tokens_per_s).collect();
    for (rate, expected) in rates.iter().zip([10.0, 20.0, 40.0, 40.0, 40.0]) {
        assert!((rate / expected - 1.0).abs() < 0.02, "{rates:?}");
    }
    let cells: Vec<_> = cells.iter().map(|(n, cell)| (*n, cell)).collect();
    assert_eq!(knee(&cells).unwrap().concurrency, 4);
    // A level that somebody disturbed hides nothing behind it.
    let disturbed = [cells[0], (2, cells[0].1), cells[2], cells[3]];
    assert_eq!(knee(&disturbed).unwrap().concurrency, 4);
    assert_eq!(knee(&[]), None);
}

#[tokio::test(start_paused = true)]
async fn a_load_ends_when_its_time_is_up_or_somebody_has_had_enough() {
    let server = Simulated::new(1);
    let short = Plan {
        time_limit: Duration::from_millis(5500),
        ..plan(Load::Closed { concurrency: 1 }, 100)
    };
    let outcome = measured(&server, short, true).await;
    assert_eq!(
        (outcome.ending, outcome.cell.completed),
        (Ending::TimeUp, 5)
    );
    assert_eq!(kinds(&outcome), [FindingKind::Interrupted]);

    let prompts = Prompts::new(Source::built_in(), None, 1, true);
    let (sender, stop) = watch::channel(false);
    let tick = |done: usize| {
        if done == 3 {
            sender.send(true).unwrap();
        }
    };
    let plan = plan(Load::Open { rate: 1.0 }, 100);
    let outcome = run(&server, &prompts, plan, stop, &tick).await;
    assert_eq!(
        (outcome.ending, outcome.cell.completed),
        (Ending::Stopped, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn prompts_that_were_sent_before_are_recognised_and_named() {
    let many = || plan(Load::Closed { concurrency: 4 }, 100);
    let clean = Simulated::new(4);
    assert_eq!(kinds(&measured(&clean, many(), true).await), []);
    // By us: there are 40 conversations, asked 100 times.
    let repeated = measured(&clean, many(), false).await;
    assert_eq!(repeated.repeated, 60);
    assert_eq!(kinds(&repeated), [FindingKind::Polluted]);
    // By somebody else: the server has them cached.
    let warm = Simulated {
        cached_tokens: Some(80),
        ..Simulated::new(4)
    };
    assert_eq!(
        kinds(&measured(&warm, many(), true).await),
        [FindingKind::Polluted]
    );
    // What the chat template puts in front of every prompt is nobody's fault.
    let found = findings::of(&measured(&warm, many(), true).await, 64);
    assert!(found.is_empty(), "{found:?}");
    // On purpose, and it worked; or it did not.
    let cached = Plan {
        cached: true,
        ..many()
    };
    assert_eq!(kinds(&measured(&warm, cached.clone(), false).await), []);
    assert_eq!(
        kinds(&measured(&clean, cached, false).await),
        [FindingKind::Unproven]
    );
    // Who does not say cannot be believed.
    let silent = Simulated {
        cached_tokens: None,
        ..Simulated::new(4)
    };
    assert_eq!(
        kinds(&measured(&silent, many(), true).await),
        [FindingKind::Unproven]
    );
}

/// In real time, as this is about it: a program that is blocked for 60 ms again and again is late by
/// construction.
#[tokio::test]
async fn a_slow_client_is_recognised_and_named() {
    let server = Simulated::new(4);
    let hog = tokio::spawn(async {
        loop {
            std::thread::sleep(Duration::from_millis(60));
            tokio::task::yield_now().await;
        }
    });
    let outcome = measured(&server, plan(Load::Closed { concurrency: 2 }, 2), true).await;
    hog.abort();
    assert!(
        kinds(&outcome).contains(&FindingKind::ClientLimit),
        "{:?}",
        outcome.cell.client
    );
}
