//! `matou bench [MODEL]…`: tokens per second of models alone, without tokenizer, sampler or HTTP.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use matou_bench::machine::{Conditions, Energy, NOISE, Usage, peak_memory};
use matou_bench::peer::{Peer, PeerTest};
use matou_bench::render::table;
use matou_bench::report::{EngineCell, FindingKind, PeerFigure, Quality, Report, Step};
use matou_bench::serve::quality::hex;
use matou_bench::stats::{Comparison, Summary};
use matou_llm::open::{self, OpenOptions};
use matou_model::{BLOCK_SIZE, Checkpoint, LanguageModel, LoadOptions, WeightFiles};
use sha2::{Digest, Sha256};

use super::engine_args::EngineArgs;
use super::measure::{Bench, Test};
use super::output::progress;
use super::stop::Stop;
use super::subjects::{Subject, describe, subjects};
use crate::cli::options::KvDtype;

/// How long the machine is watched before and after.
const WATCH: Duration = Duration::from_millis(500);
/// Made-up prompts, their tokens, and the tokens after them that are hashed.
const GREEDY: (usize, usize, usize) = (4, 24, 32);

/// A model in memory under some settings, and everything that is measured of it.
struct Run<'a> {
    args: &'a EngineArgs,
    peers: &'a [Peer],
    stop: &'a Stop,
    bar: &'a ProgressBar,
    begin: Instant,
    report: &'a mut Report,
}

/// Measures all models.
///
/// # Errors
///
/// When a model cannot be loaded or run, or a peer fails.
pub(super) async fn measure(args: EngineArgs, command: Vec<String>) -> Result<Report> {
    let tests = args.tests();
    ensure!(
        !tests.is_empty() || args.quality,
        "nothing to measure: --prompt and --generate are 0"
    );
    ensure!(args.precision > 0.0, "--precision is not above 0");
    let peers = args
        .versus
        .iter()
        .map(|peer| Peer::parse(peer, &args.python));
    let peers: Result<Vec<_>, _> = peers.collect();
    let peers = peers.map_err(|reason| anyhow::anyhow!("--versus: {reason}"))?;
    let options = args.weights.to_open();
    let subjects = subjects(&args.model, &args.synthetic, &options).await?;
    let stop = Stop::on_ctrl_c();
    let before = Conditions::watch(WATCH).await;
    let mut report = Report::new(&program(), command, args.output.seed(), before.clone());
    if let Some(message) = matou_bench::serve::findings::of_machine(&before) {
        report.find(FindingKind::Noise, None, message);
    }
    let threads = match &args.threads {
        Some(numbers) => numbers.0.iter().map(|&threads| Some(threads)).collect(),
        None => vec![None],
    };
    let cells = subjects.len() * threads.len() * args.kv_cache_dtype.len() * tests.len();
    let bar = progress(cells as u64);
    if args.output.is_live() {
        let header = row_of(&table::ENGINE_HEADER.map(str::to_owned));
        bar.suspend(|| println!("{header}"));
    }
    let mut run = Run {
        args: &args,
        peers: &peers,
        stop: &stop,
        bar: &bar,
        begin: Instant::now(),
        report: &mut report,
    };
    // Nothing else runs on this runtime but Ctrl-C.
    let measured = tokio::task::block_in_place(|| {
        for subject in &subjects {
            for &threads in &threads {
                let options = OpenOptions {
                    threads,
                    ..options.clone()
                };
                run.model(subject, &options, &tests)?;
            }
        }
        anyhow::Ok(())
    });
    bar.finish_and_clear();
    match measured {
        // A peer hears Ctrl-C too.
        Err(error) if !stop.is_set() => {
            // What was measured before is kept.
            ensure!(!report.engine.is_empty(), error);
            report.interrupted = true;
            report.find(FindingKind::Errors, None, format!("{error:#}"));
        }
        _ => {}
    }
    if stop.is_set() {
        report.interrupted = true;
        report.find(
            FindingKind::Interrupted,
            None,
            "stopped before all tests had run",
        );
    }
    report.after = Conditions::watch(WATCH).await;
    Ok(report)
}

impl Run<'_> {
    /// Loads a model, and measures it with each type of KV cache.
    fn model(&mut self, subject: &Subject, options: &OpenOptions, tests: &[Test]) -> Result<()> {
        if self.stop.is_set() {
            return Ok(());
        }
        self.bar.set_message(format!("loading {}", subject.name));
        self.step(&format!("load {}", subject.name));
        let start = Instant::now();
        let checkpoint = Checkpoint::open(&subject.files)?;
        let place = open::check_fit(&checkpoint, options)?;
        let mut model = checkpoint.load(&LoadOptions {
            device: place.device,
            ..options.load_options()
        })?;
        let load_s = start.elapsed().as_secs_f64();
        let threads = model.thread_pool().map_or(0, |pool| pool.threads());
        if !self
            .report
            .models
            .iter()
            .any(|known| known.name == subject.name)
        {
            let peak = peak_memory();
            let model = model.as_ref();
            let described = describe(subject, &checkpoint, model, &place, options, load_s, peak)?;
            self.report.models.push(described);
        }
        drop(checkpoint);
        for &kv in &self.args.kv_cache_dtype {
            self.settings(subject, model.as_mut(), threads, kv, tests)?;
        }
        Ok(())
    }

    /// Measures a model with one type of KV cache.
    fn settings(
        &mut self,
        subject: &Subject,
        model: &mut dyn LanguageModel,
        threads: usize,
        kv: KvDtype,
        tests: &[Test],
    ) -> Result<()> {
        let (prompts, prompt, greedy) = GREEDY;
        let context = tests
            .iter()
            .map(Test::context)
            .max()
            .unwrap_or(0)
            .max(prompt + greedy);
        let sequences = tests.iter().map(|test| test.batch).max().unwrap_or(1);
        let blocks = sequences * context.div_ceil(BLOCK_SIZE);
        let allocated = model.allocate_kv_cache(blocks, kv.into());
        allocated
            .with_context(|| format!("no room for {sequences} sequences of {context} tokens"))?;
        let block_bytes = model.kv_block_bytes(kv.into());
        let mut bench = Bench::new(
            model,
            context,
            block_bytes,
            self.args.max_num_batched_tokens,
        );
        for test in tests {
            if self.stop.is_set() {
                return Ok(());
            }
            let cell = self.cell(subject, &mut bench, test, threads, kv)?;
            if let Some(cell) = cell {
                self.tell(&cell);
                self.report.engine.push(cell);
            }
            self.bar.inc(1);
        }
        if self.args.quality {
            let tokens = bench.greedy(prompts, prompt, greedy)?;
            let bytes: Vec<u8> = tokens
                .iter()
                .flat_map(|token| token.to_le_bytes())
                .collect();
            self.report.quality.push(Quality {
                subject: format!("{}, kv {}", subject.name, name_of(kv)),
                greedy_sha256: hex(&Sha256::digest(&bytes)),
                tokens: tokens.len() as u64,
                texts: Vec::new(),
                kl_from_reference: None,
                reference: None,
            });
        }
        Ok(())
    }

    /// Repeats a test until its interval is narrow, or it has been long enough; `None` if it was stopped
    /// before it had a figure.
    fn cell(
        &mut self,
        subject: &Subject,
        bench: &mut Bench<'_>,
        test: &Test,
        threads: usize,
        kv: KvDtype,
    ) -> Result<Option<EngineCell>> {
        let name = test.name();
        self.bar.set_message(format!("{} {name}", subject.name));
        self.step(&format!("{} {name}", subject.name));
        let args = self.args;
        // Warms caches, frequencies and memory.
        bench.run(test)?;
        let (usage, begin) = (Usage::start(), Instant::now());
        let mut runs = Vec::new();
        let mut theirs: Vec<Vec<f64>> = vec![Vec::new(); self.peers.len()];
        let mut joules = Some(0.0);
        while runs.len() < args.max_reps.max(args.reps) {
            let ours_first = runs.len().is_multiple_of(2);
            if !ours_first {
                self.peers_once(subject, test, threads, &mut theirs)?;
            }
            let energy = Energy::start();
            let (tokens_per_s, _) = bench.run(test)?;
            let taken = energy.and_then(|energy| energy.joules());
            joules = joules.zip(taken).map(|(sum, taken)| sum + taken);
            runs.push(tokens_per_s);
            if ours_first {
                self.peers_once(subject, test, threads, &mut theirs)?;
            }
            let enough = runs.len() >= args.reps;
            let narrow = Summary::of(&runs).is_some_and(|s| 100.0 * s.spread() <= args.precision);
            let late = begin.elapsed() >= Duration::from_secs(args.max_time);
            if self.stop.is_set() || enough && (narrow || late) {
                break;
            }
        }
        let used = usage.stop();
        let Some(tokens_per_s) = Summary::of(&runs) else {
            return Ok(None);
        };
        let mut peers = BTreeMap::new();
        for (peer, theirs) in self.peers.iter().zip(&theirs) {
            if let (Some(figure), Some(comparison)) =
                (Summary::of(theirs), Comparison::of(&runs, theirs, true))
            {
                let figure = PeerFigure {
                    tokens_per_s: figure,
                    comparison,
                };
                peers.insert(peer.name.clone(), figure);
            }
        }
        let tokens = (runs.len() * (test.tokens() + test.depth * test.batch)) as f64;
        let cell = EngineCell {
            model: subject.name.clone(),
            test: name,
            prompt: test.prompt,
            generate: test.generate,
            depth: test.depth,
            batch: test.batch,
            threads,
            kv_cache_dtype: name_of(kv).to_owned(),
            roof: bench.roof(test, tokens_per_s.median),
            joules_per_token: joules
                .filter(|joules| *joules > 0.0)
                .map(|joules| joules / tokens),
            tokens_per_s,
            used: used.filter(|_| self.peers.is_empty()),
            peers,
        };
        self.doubts(&cell);
        Ok(Some(cell))
    }

    /// Lets each of the other programs run a test once.
    fn peers_once(
        &self,
        subject: &Subject,
        test: &Test,
        threads: usize,
        theirs: &mut [Vec<f64>],
    ) -> Result<()> {
        for (peer, runs) in self.peers.iter().zip(theirs) {
            let WeightFiles::Gguf(model) = &subject.files else {
                bail!(
                    "{} is not a GGUF file, which is what {} reads",
                    subject.name,
                    peer.name
                );
            };
            let asked = PeerTest {
                model,
                prompt: test.prompt,
                generate: test.generate,
                depth: test.depth,
                batch: test.batch,
                threads,
            };
            let figures = peer.measure(&asked)?;
            let name = test.name();
            let figure = figures.get(&name);
            let figure = figure.with_context(|| format!("{} has no figure {name:?}", peer.name))?;
            runs.push(*figure);
        }
        Ok(())
    }

    /// What a reader has to know of a cell.
    fn doubts(&mut self, cell: &EngineCell) {
        let key = cell.key();
        if let Some(used) = cell.used {
            for (share, who) in [
                (used.others, "other programs"),
                (used.steal, "other machines on the host"),
            ] {
                if share > NOISE {
                    let message =
                        format!("{who} took {:.0} % of the cores meanwhile", 100.0 * share);
                    self.report.find(FindingKind::Noise, Some(&key), message);
                }
            }
        }
        let spread = 100.0 * cell.tokens_per_s.spread();
        if spread > self.args.precision && cell.tokens_per_s.runs.len() >= 6 {
            let message = format!(
                "the interval is {spread:.1} % of the median wide after {} runs, and not {:.1} %",
                cell.tokens_per_s.runs.len(),
                self.args.precision
            );
            self.report.find(FindingKind::Unsteady, Some(&key), message);
        }
    }

    /// Prints a row as soon as it is there.
    fn tell(&self, cell: &EngineCell) {
        if !self.args.output.is_live() {
            return;
        }
        let mut row = row_of(&table::engine_row(cell));
        for (name, peer) in &cell.peers {
            row.push_str(&format!("  {:.2} × {name}", peer.comparison.ratio.median));
        }
        self.bar.suspend(|| println!("{row}"));
    }

    fn step(&mut self, what: &str) {
        self.report.order.push(Step {
            at_s: self.begin.elapsed().as_secs_f64(),
            what: what.to_owned(),
        });
    }
}

/// A line of the table that grows while it is measured.
fn row_of(cells: &[String]) -> String {
    const WIDTHS: [usize; 8] = [24, 20, 7, 4, 10, 22, 4, 22];
    let cells = cells.iter().zip(WIDTHS).enumerate();
    let cells = cells.map(|(column, (cell, width))| match column {
        0 | 1 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    });
    cells.collect::<Vec<_>>().join(" ")
}

/// Name and version of this program.
pub(super) fn program() -> String {
    format!("matou {}", env!("CARGO_PKG_VERSION"))
}

fn name_of(kv: KvDtype) -> &'static str {
    match kv {
        KvDtype::F32 => "f32",
        KvDtype::F16 => "f16",
        KvDtype::Q8 => "q8",
    }
}
