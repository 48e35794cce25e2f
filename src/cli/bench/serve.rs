//! `matou bench serve`: what clients see of a server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use matou_bench::machine::Conditions;
use matou_bench::report::{FindingKind, Load, Report, ServeCell, Server, Step, Versus};
use matou_bench::serve::arrivals::Arrival;
use matou_bench::serve::client::Client;
use matou_bench::serve::load::{Ending, Outcome, Plan};
use matou_bench::serve::{Session, findings, intrusion, knee, quality};
use matou_bench::stats::Comparison;

use super::engine::program;
use super::output::progress;
use super::serve_args::ServeArgs;
use super::started::Started;
use super::stop::Stop;

/// How long the machine is watched before and after.
const WATCH: Duration = Duration::from_millis(500);
/// Requests of a cell for each of its clients, unless the number is given.
const REQUESTS_A_CLIENT: usize = 4;
/// Seconds of requests that come at a rate.
const SECONDS_OF_RATE: f64 = 20.0;
/// Fewest requests of a cell: percentiles of less say little.
const MIN_REQUESTS: usize = 16;
/// Most requests of a cell that makes its own number.
const MAX_REQUESTS: usize = 256;

/// One measurement, as it goes on.
struct Run<'a> {
    args: &'a ServeArgs,
    session: Session,
    other: Option<Session>,
    stop: Stop,
    begin: Instant,
    /// The number of the next prompt that nobody has been sent.
    next_prompt: u64,
    report: Report,
    /// What the other server's clients saw.
    theirs: Vec<ServeCell>,
    comparisons: BTreeMap<String, Comparison>,
    /// Whether there is any sense in going on.
    is_over: bool,
}

/// Measures a server.
///
/// # Errors
///
/// When it cannot be reached or asked at all. What goes wrong later is in the report.
pub(super) async fn measure(args: ServeArgs, command: Vec<String>) -> Result<Report> {
    let (source, loads) = (args.source()?, args.loads()?);
    let stop = Stop::on_ctrl_c();
    let before = Conditions::watch(WATCH).await;
    let started = match &args.model {
        Some(model) => Some(tokio::task::block_in_place(|| {
            Started::start(model, &args.server_flags)
        })?),
        None => None,
    };
    let url = match (&started, &args.url) {
        (Some(started), _) => started.url.clone(),
        (None, Some(url)) => url.clone(),
        (None, None) => return Err(anyhow!("neither a model nor --url")),
    };
    let seed = args.output.seed();
    let unique = !args.allow_repeats;
    let (client, mut server) = Client::find(args.target(&url, args.model_name.as_ref())).await?;
    server.started_here = started.is_some();
    let session = Session::begin(client, source.clone(), seed, unique).await?;
    let mut report = Report::new(&program(), command, seed, before.clone());
    if let Some(message) = findings::of_machine(&before) {
        report.find(FindingKind::Noise, None, message);
    }
    let mut other = None;
    let mut other_server = None;
    if let Some(url) = &args.versus {
        let (client, server) =
            Client::find(args.target(url, args.versus_model_name.as_ref())).await?;
        other = Some(Session::begin(client, source, seed, unique).await?);
        other_server = Some(server);
    }
    report.server = Some(server);
    let mut run = Run {
        args: &args,
        session,
        other,
        stop,
        begin: Instant::now(),
        next_prompt: 0,
        report,
        theirs: Vec::new(),
        comparisons: BTreeMap::new(),
        is_over: false,
    };
    if args.quality {
        run.quality().await?;
    }
    for (load, arrivals) in loads {
        run.load(load, arrivals).await;
    }
    if let Some(max) = args.sweep {
        run.sweep(max).await;
    }
    if let Some(tokens) = args.long_prompt {
        run.intrusion(tokens).await;
    }
    let mut report = run.into_report(other_server);
    drop(started);
    report.after = Conditions::watch(WATCH).await;
    Ok(report)
}

impl Run<'_> {
    /// What was computed, by both if there are two.
    async fn quality(&mut self) -> Result<()> {
        self.step("quality");
        let mut ours = quality::greedy(&self.session.client).await?;
        if let Some(other) = &self.other {
            let theirs = quality::greedy(&other.client).await?;
            ours.kl_from_reference = quality::divergence(&self.session.client, &other.client).await;
            ours.reference = Some(theirs.subject.clone());
            self.report.quality.extend([ours, theirs]);
        } else {
            self.report.quality.push(ours);
        }
        Ok(())
    }

    /// What to send under a load, and how much of it.
    fn plan(&self, load: Load, arrivals: Vec<Arrival>) -> Plan {
        let enough = |requests: usize| requests.clamp(MIN_REQUESTS, MAX_REQUESTS);
        let requests = match (&load, self.args.requests) {
            (Load::Trace { .. }, _) => arrivals.len(),
            (_, Some(requests)) => requests,
            (Load::Closed { concurrency }, None) => enough(REQUESTS_A_CLIENT * concurrency),
            (Load::Open { rate }, None) => enough((SECONDS_OF_RATE * rate).ceil() as usize),
        };
        Plan {
            name: load.name(),
            load,
            requests,
            first_prompt: 0,
            cached: false,
            arrivals,
            seed: self.report.seed,
            target: self.args.goal,
            time_limit: Duration::from_secs(self.args.load_time),
        }
    }

    /// Measures a load; with another server, as many rounds as asked for.
    async fn load(&mut self, load: Load, arrivals: Vec<Arrival>) {
        let plan = self.plan(load, arrivals);
        match self.other.is_some() {
            true => self.rounds(plan).await,
            false => {
                self.cell(plan.clone()).await;
                if self.args.cached {
                    let name = format!("{}, cached", plan.name);
                    // The same prompts as just now.
                    self.next_prompt -= plan.requests as u64;
                    self.cell(Plan {
                        name,
                        cached: true,
                        ..plan
                    })
                    .await;
                }
            }
        }
    }

    /// Measures one cell of this server.
    async fn cell(&mut self, plan: Plan) -> Option<ServeCell> {
        let plan = self.numbered(plan);
        let outcome = self.run(&self.session.clone(), plan).await?;
        let cell = outcome.cell.clone();
        self.take(&outcome, &self.session.clone());
        self.report.serve.push(outcome.cell);
        Some(cell)
    }

    /// Measures both servers, turn and turn about, each round with prompts of its own.
    async fn rounds(&mut self, plan: Plan) {
        let Some(other) = self.other.clone() else {
            return;
        };
        let mut pairs: Vec<(ServeCell, ServeCell)> = Vec::new();
        for round in 0..self.args.rounds {
            let name = format!("{}, round {}", plan.name, round + 1);
            let plan = self.numbered(Plan {
                name,
                ..plan.clone()
            });
            let ours_first = round % 2 == 0;
            let mut theirs = None;
            if !ours_first {
                theirs = self.run(&other, plan.clone()).await;
            }
            let Some(ours) = self.run(&self.session.clone(), plan.clone()).await else {
                break;
            };
            if ours_first {
                theirs = self.run(&other, plan).await;
            }
            self.take(&ours, &self.session.clone());
            self.report.serve.push(ours.cell.clone());
            let Some(theirs) = theirs else { break };
            self.take(&theirs, &other);
            self.theirs.push(theirs.cell.clone());
            // Of a round that was cut short, nothing can be said.
            if !self.is_over {
                pairs.push((ours.cell, theirs.cell));
            }
        }
        type Value = fn(&ServeCell) -> f64;
        let figures: [(&str, bool, Value); 4] = [
            ("tokens/s", true, |cell| cell.tokens_per_s),
            ("ttft p50 ms", false, |cell| cell.ttft_ms.p50),
            ("itl p50 ms", false, |cell| cell.itl_ms.p50),
            ("e2e p99 ms", false, |cell| cell.e2e_ms.p99),
        ];
        for (name, more_is_better, value) in figures {
            let [ours, theirs]: [Vec<f64>; 2] = [
                pairs.iter().map(|(ours, _)| value(ours)).collect(),
                pairs.iter().map(|(_, theirs)| value(theirs)).collect(),
            ];
            if let Some(comparison) = Comparison::of(&ours, &theirs, more_is_better) {
                self.comparisons
                    .insert(format!("{}: {name}", plan.name), comparison);
            }
        }
    }

    /// Doubles the clients until they bring no more.
    async fn sweep(&mut self, max: usize) {
        let mut measured: Vec<(usize, ServeCell)> = Vec::new();
        let mut concurrency = 1;
        while concurrency <= max && !self.is_over {
            let load = Load::Closed { concurrency };
            let plan = self.plan(load, Vec::new());
            let Some(cell) = self.cell(plan).await else {
                break;
            };
            measured.push((concurrency, cell));
            let found = knee(&by_concurrency(&measured));
            // One level beyond the knee may have been disturbed; two are enough to see it.
            if found.is_some_and(|knee| 4 * knee.concurrency <= concurrency) {
                break;
            }
            concurrency *= 2;
        }
        self.report.knee = knee(&by_concurrency(&measured));
    }

    async fn intrusion(&mut self, tokens: usize) {
        if self.is_over {
            return;
        }
        self.step("a long prompt arrives");
        // Long enough that streams still run when the prompt has been read.
        let answer = self.args.answer_tokens.max(tokens / 2);
        let mut stop = self.stop.receiver();
        let measured = tokio::select! {
            measured = intrusion::measure(&self.session, self.args.streams, answer, tokens) => measured,
            Ok(_) = stop.wait_for(|stop| *stop) => {
                self.report.interrupted = true;
                return;
            }
        };
        match measured {
            Ok(intrusion) => self.report.intrusion = Some(intrusion),
            Err(error) => self
                .report
                .find(FindingKind::Errors, None, format!("{error:#}")),
        }
    }

    /// A plan with prompts that nobody has been sent, and a name that no other cell has.
    fn numbered(&mut self, plan: Plan) -> Plan {
        let first_prompt = self.next_prompt;
        self.next_prompt += plan.requests as u64;
        let is_taken = |name: &str| self.report.serve.iter().any(|cell| cell.name == name);
        let names = (2..).map(|number| format!("{} ({number})", plan.name));
        let mut names = std::iter::once(plan.name.clone()).chain(names);
        let name = names.find(|name| !is_taken(name)).unwrap_or_default();
        Plan {
            name,
            first_prompt,
            ..plan
        }
    }

    /// Runs a plan against a server; `None` once it is over.
    async fn run(&mut self, session: &Session, plan: Plan) -> Option<Outcome> {
        if self.is_over || self.stop.is_set() {
            self.is_over = true;
            return None;
        }
        self.step(&format!("{} at {}", plan.name, session.client.target().url));
        let bar = progress(plan.requests as u64);
        bar.set_message(plan.name.clone());
        let tick = |done: usize| bar.set_position(done as u64);
        let outcome = session.run(plan, self.stop.receiver(), &tick).await;
        bar.finish_and_clear();
        self.is_over = matches!(outcome.ending, Ending::Stopped | Ending::GivenUp);
        self.report.interrupted |= self.is_over;
        Some(outcome)
    }

    /// Takes note of a cell's doubts, and prints it.
    fn take(&mut self, outcome: &Outcome, session: &Session) {
        let cell = &outcome.cell;
        for (kind, message) in findings::of(outcome, session.template_tokens) {
            // Of two servers, the cells have one name.
            let name = match &self.other {
                Some(_) => format!("{} at {}", cell.name, session.client.target().url),
                None => cell.name.clone(),
            };
            self.report.find(kind, Some(&name), message);
        }
        if self.args.output.is_live() {
            eprintln!(
                "{}: {}/{} answered, {:.1} tokens/s, first token {:.0} ms (p99 {:.0}), between tokens {:.1} ms (p99 {:.1})",
                cell.name,
                cell.completed,
                cell.requests,
                cell.tokens_per_s,
                cell.ttft_ms.p50,
                cell.ttft_ms.p99,
                cell.itl_ms.p50,
                cell.itl_ms.p99
            );
        }
    }

    fn step(&mut self, what: &str) {
        self.report.order.push(Step {
            at_s: self.begin.elapsed().as_secs_f64(),
            what: what.to_owned(),
        });
    }

    fn into_report(self, other: Option<Server>) -> Report {
        let mut report = self.report;
        report.versus = other.map(|server| Versus {
            server,
            serve: self.theirs,
            comparisons: self.comparisons,
        });
        report
    }
}

fn by_concurrency(measured: &[(usize, ServeCell)]) -> Vec<(usize, &ServeCell)> {
    measured
        .iter()
        .map(|(concurrency, cell)| (*concurrency, cell))
        .collect()
}
