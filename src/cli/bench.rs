//! `matou bench`: tokens per second of the model alone, without tokenizer, sampler or HTTP.
//!
//! The protocol is that of llama-bench: *prompt processing* (`pp512`) reads a prompt and computes the
//! logits of its last token; *token generation* (`tg64`) feeds one given token a step to each of
//! `--batch` sequences, which already hold `--depth` tokens, and computes the logits of every one.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use matou_model::{BLOCK_SIZE, ForwardBatch, LanguageModel};
use serde::Serialize;

use super::{ModelArgs, positive};
use crate::load;

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
        }
    }
}

/// Runs the command.
pub async fn run(args: BenchArgs) -> Result<()> {
    ensure!(
        args.prompt > 0 || args.generate > 0,
        "nothing to measure: --prompt and --generate are 0"
    );
    let mut loaded = load::open(args.model.model.as_deref(), &args.model.options).await?;
    let longest = args.prompt.max(args.depth + args.generate + 1);
    let sequences = args.batch.iter().copied().max().unwrap_or(1);
    let num_blocks = sequences * longest.div_ceil(BLOCK_SIZE);
    loaded
        .model
        .allocate_kv_cache(num_blocks, args.model.options.kv_cache_dtype.into())
        .with_context(|| format!("no room for {sequences} sequences of {longest} tokens"))?;
    if !args.json {
        println!("{}", loaded.describe());
        println!("{:<24} {:>12}   runs", "test", "tokens/s");
    }
    let mut bench = Bench {
        model: loaded.model.as_mut(),
        blocks_per_sequence: longest.div_ceil(BLOCK_SIZE),
        max_num_batched_tokens: args.max_num_batched_tokens,
    };
    if args.prompt > 0 {
        let runs = bench.prompt(args.prompt, args.reps)?;
        report(&Figure::new(format!("pp{}", args.prompt), &runs), args.json)?;
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
            report(
                &Figure::new(format!("tg{}{depth}{side}", args.generate), &runs),
                args.json,
            )?;
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
            "{:<24} {:>12.2}   {}",
            figure.test,
            figure.tokens_per_s,
            runs.join(" ")
        );
    }
    Ok(())
}

struct Bench<'a> {
    model: &'a mut dyn LanguageModel,
    blocks_per_sequence: usize,
    max_num_batched_tokens: usize,
}

impl Bench<'_> {
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
    fn a_figure_is_the_median_of_its_runs() {
        assert_eq!(Figure::new("pp".into(), &[3.0, 1.0, 2.0]).tokens_per_s, 2.0);
        assert_eq!(
            Figure::new("pp".into(), &[4.0, 1.0, 2.0, 3.0]).tokens_per_s,
            2.5
        );
    }
}
