//! `matou bench`: tokens per second of the model alone, without tokenizer, sampler or HTTP.
//!
//! The protocol is that of llama-bench: *prompt processing* (`pp512`) reads a prompt and computes the
//! logits of its last token; *token generation* (`tg64`) feeds one given token a step to each of
//! `--batch` sequences, which already hold `--depth` tokens, and computes the logits of every one.
//!
//! Beside each figure stands the share that it is of what the machine can do at most, measured right
//! after it: for prompts the multiply-adds with weights a second, for generation the bytes read from
//! memory, which are all weights and the sequences' keys and values at each step.

use std::fmt;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use matou_llm::open::open;
use matou_model::{BLOCK_SIZE, ForwardBatch, LanguageModel};
use serde::Serialize;

use super::options::{ModelArgs, positive};

/// Options of `matou bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(flatten)]
    model: ModelArgs,

    /// Tokens of the prompt to process; 0 skips the test.
    #[arg(short, long, default_value_t = 512, value_name = "TOKENS")]
    prompt: usize,

    /// Tokens to generate in each sequence; 0 skips the test.
    #[arg(short, long, default_value_t = 64, value_name = "TOKENS")]
    generate: usize,

    /// Tokens already in the context when generation begins.
    #[arg(short, long, default_value_t = 0, value_name = "TOKENS")]
    depth: usize,

    /// Sequences generated side by side; several tests with commas.
    #[arg(short, long, default_value = "1", value_delimiter = ',', value_parser = positive)]
    batch: Vec<usize>,

    /// Repetitions; the median is reported.
    #[arg(short, long, default_value_t = 3, value_parser = positive)]
    reps: usize,

    /// Most prompt tokens in one step.
    #[arg(long, default_value_t = 512, value_parser = positive, value_name = "TOKENS")]
    max_num_batched_tokens: usize,

    /// Print one JSON object a figure.
    #[arg(long)]
    json: bool,
}

/// One measured figure.
#[derive(Debug, Serialize)]
struct Figure {
    engine: &'static str,
    test: String,
    /// Median of `runs`.
    tokens_per_s: f64,
    runs: Vec<f64>,
    #[serde(flatten)]
    roof: Option<Roof>,
}

/// How a figure compares with what the machine can do at most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
enum Roof {
    /// Of generation: memory.
    Memory {
        bytes_per_step: u64,
        bytes_per_s: f64,
        peak_bytes_per_s: f64,
        share: f64,
    },
    /// Of prompts: arithmetic.
    Arithmetic {
        macs_per_token: u64,
        macs_per_s: f64,
        peak_macs_per_s: f64,
        share: f64,
    },
}

impl Roof {
    fn memory(bytes_per_step: u64, steps_per_s: f64, peak_bytes_per_s: f64) -> Self {
        let bytes_per_s = bytes_per_step as f64 * steps_per_s;
        Self::Memory {
            bytes_per_step,
            bytes_per_s,
            peak_bytes_per_s,
            share: bytes_per_s / peak_bytes_per_s,
        }
    }

    fn arithmetic(macs_per_token: u64, tokens_per_s: f64, peak_macs_per_s: f64) -> Self {
        let macs_per_s = macs_per_token as f64 * tokens_per_s;
        Self::Arithmetic {
            macs_per_token,
            macs_per_s,
            peak_macs_per_s,
            share: macs_per_s / peak_macs_per_s,
        }
    }
}

impl fmt::Display for Roof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GIGA: f64 = 1e9;
        match *self {
            Self::Memory {
                bytes_per_step,
                peak_bytes_per_s,
                share,
                ..
            } => write!(
                f,
                "{:.0} % of {:.1} GB/s ({:.3} GB a step)",
                100.0 * share,
                peak_bytes_per_s / GIGA,
                bytes_per_step as f64 / GIGA,
            ),
            Self::Arithmetic {
                macs_per_token,
                peak_macs_per_s,
                share,
                ..
            } => write!(
                f,
                "{:.0} % of {:.0} G MAC/s ({:.3} G a token)",
                100.0 * share,
                peak_macs_per_s / GIGA,
                macs_per_token as f64 / GIGA,
            ),
        }
    }
}

impl Figure {
    fn new(test: String, runs: &[f64]) -> Self {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        let round = |x: f64| (x * 100.0).round() / 100.0;
        Self {
            engine: "matou",
            test,
            tokens_per_s: round(median),
            runs: runs.iter().copied().map(round).collect(),
            roof: None,
        }
    }
}

/// Runs the command.
pub(super) async fn run(args: BenchArgs) -> Result<()> {
    ensure!(
        args.prompt > 0 || args.generate > 0,
        "nothing to measure: --prompt and --generate are 0"
    );
    let mut loaded = open(args.model.model.as_deref(), &args.model.options.to_open()?).await?;
    let longest = args.prompt.max(args.depth + args.generate + 1);
    let sequences = args.batch.iter().copied().max().unwrap_or(1);
    let num_blocks = sequences * longest.div_ceil(BLOCK_SIZE);
    loaded
        .model
        .allocate_kv_cache(num_blocks, args.model.options.kv_cache_dtype.into())
        .with_context(|| format!("no room for {sequences} sequences of {longest} tokens"))?;
    if !args.json {
        println!("{}", loaded.describe());
        println!("{:<24} {:>12}   runs and roof", "test", "tokens/s");
    }
    let block_bytes = loaded
        .model
        .kv_block_bytes(args.model.options.kv_cache_dtype.into());
    let mut bench = Bench {
        model: loaded.model.as_mut(),
        blocks_per_sequence: longest.div_ceil(BLOCK_SIZE),
        kv_token_bytes: (block_bytes / BLOCK_SIZE) as u64,
        max_num_batched_tokens: args.max_num_batched_tokens,
    };
    if args.prompt > 0 {
        let runs = bench.prompt(args.prompt, args.reps)?;
        let mut figure = Figure::new(format!("pp{}", args.prompt), &runs);
        figure.roof = bench.arithmetic_roof(figure.tokens_per_s);
        report(&figure, args.json)?;
    }
    if args.generate > 0 {
        for &batch in &args.batch {
            let runs = bench.generate(args.generate, args.depth, batch, args.reps)?;
            let depth = if args.depth > 0 {
                format!("@d{}", args.depth)
            } else {
                String::new()
            };
            let side = if batch > 1 {
                format!(" batch {batch}")
            } else {
                String::new()
            };
            let mut figure = Figure::new(format!("tg{}{depth}{side}", args.generate), &runs);
            let positions = (args.depth + args.generate / 2) * batch;
            figure.roof = bench.memory_roof(figure.tokens_per_s / batch as f64, positions);
            report(&figure, args.json)?;
        }
    }
    Ok(())
}

fn report(figure: &Figure, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(figure)?);
    } else {
        let runs: Vec<_> = figure.runs.iter().map(|run| format!("{run:.1}")).collect();
        println!(
            "{:<24} {:>12.2}   {}{}",
            figure.test,
            figure.tokens_per_s,
            runs.join(" "),
            figure
                .roof
                .map_or_else(String::new, |roof| format!(" · {roof}")),
        );
    }
    Ok(())
}

struct Bench<'a> {
    model: &'a mut dyn LanguageModel,
    blocks_per_sequence: usize,
    /// Bytes of the keys and values of a token.
    kv_token_bytes: u64,
    max_num_batched_tokens: usize,
}

impl Bench<'_> {
    /// How reading a prompt compares with the machine's arithmetic.
    fn arithmetic_roof(&self, tokens_per_s: f64) -> Option<Roof> {
        let macs = self.model.token_cost()?.layers.macs;
        let roofs = self.model.measure_roofs()?;
        let is_float = matches!(
            self.model.info().quantization.as_str(),
            "F32" | "F16" | "BF16"
        );
        let peak = if is_float {
            roofs.f32_macs
        } else {
            roofs.int8_macs
        };
        Some(Roof::arithmetic(macs, tokens_per_s, peak))
    }

    /// How generating compares with the machine's memory, `positions` being attended to in a step.
    fn memory_roof(&self, steps_per_s: f64, positions: usize) -> Option<Roof> {
        let cost = self.model.token_cost()?;
        let weights = (cost.layers + cost.head).bytes;
        let bytes = weights + self.kv_token_bytes * positions as u64;
        let roofs = self.model.measure_roofs()?;
        Some(Roof::memory(bytes, steps_per_s, roofs.read_bandwidth))
    }

    /// Tokens per second of reading a prompt, one figure a repetition, after a warm-up.
    fn prompt(&mut self, tokens: usize, reps: usize) -> Result<Vec<f64>> {
        self.read_prompt(tokens, 0)?;
        (0..reps)
            .map(|_| {
                let start = Instant::now();
                self.read_prompt(tokens, 0)?;
                Ok(tokens as f64 / start.elapsed().as_secs_f64())
            })
            .collect()
    }

    /// Tokens per second of generating in `batch` sequences, all together.
    fn generate(
        &mut self,
        tokens: usize,
        depth: usize,
        batch: usize,
        reps: usize,
    ) -> Result<Vec<f64>> {
        (0..reps)
            .map(|_| {
                for sequence in 0..batch {
                    self.read_prompt(depth, sequence)?;
                }
                self.generation_step(0, depth, batch)?;
                let start = Instant::now();
                for step in 1..=tokens {
                    self.generation_step(step, depth, batch)?;
                }
                Ok((tokens * batch) as f64 / start.elapsed().as_secs_f64())
            })
            .collect()
    }

    fn read_prompt(&mut self, tokens: usize, sequence: usize) -> Result<()> {
        for start in (0..tokens).step_by(self.max_num_batched_tokens) {
            let end = tokens.min(start + self.max_num_batched_tokens);
            let ids: Vec<_> = (start..end).map(|i| self.token(i)).collect();
            let wanted = (end == tokens).then_some(ids.len() - 1);
            let mut batch = ForwardBatch::default();
            batch.push_request(&ids, start, &self.block_table(sequence), wanted);
            self.model.forward(&batch)?;
        }
        Ok(())
    }

    fn generation_step(&mut self, step: usize, depth: usize, sequences: usize) -> Result<()> {
        let mut batch = ForwardBatch::default();
        for sequence in 0..sequences {
            let token = self.token(step + sequence);
            batch.push_request(&[token], depth + step, &self.block_table(sequence), [0]);
        }
        self.model.forward(&batch)?;
        Ok(())
    }

    /// The i-th token of the made-up text, spread over the vocabulary.
    fn token(&self, i: usize) -> u32 {
        ((i * 7919 + 11) % self.model.info().vocab_size) as u32
    }

    /// The blocks of a sequence: each has its own, one after the other.
    fn block_table(&self, sequence: usize) -> Vec<u32> {
        let first = sequence * self.blocks_per_sequence;
        (first..first + self.blocks_per_sequence)
            .map(|block| block as u32)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roof_is_shown_with_the_share_of_it() {
        let memory = Roof::memory(800_000_000, 40.0, 40e9);
        assert_eq!(memory.to_string(), "80 % of 40.0 GB/s (0.800 GB a step)");
        let arithmetic = Roof::arithmetic(1_000_000_000, 200.0, 400e9);
        assert_eq!(
            arithmetic.to_string(),
            "50 % of 400 G MAC/s (1.000 G a token)"
        );
    }

    #[test]
    fn a_figure_is_the_median_of_its_runs() {
        assert_eq!(Figure::new("pp".into(), &[3.0, 1.0, 2.0]).tokens_per_s, 2.0);
        assert_eq!(
            Figure::new("pp".into(), &[4.0, 1.0, 2.0, 3.0]).tokens_per_s,
            2.5
        );
    }
}
