//! The command line of the benchmark of models alone.

use clap::Args;
use matou_model::Shape;

use super::measure::Test;
use super::numbers::{Numbers, numbers, positive_numbers};
use super::output::OutputArgs;
use crate::cli::options::{KvDtype, WeightOptions, positive};

/// Options of the benchmark of models alone.
#[derive(Debug, Args)]
pub(super) struct EngineArgs {
    /// Catalogue names, paths, or `hf:owner/repo[/file][:QUANT][@revision]`.
    #[arg(value_name = "MODEL")]
    pub(super) model: Vec<String>,

    #[command(flatten)]
    pub(super) weights: WeightOptions,

    /// Measure made-up weights of this shape, such as llama-3.2-1b:q4_k_m: nothing is downloaded.
    #[arg(
        long,
        value_name = "SHAPE[:FORMAT]",
        value_delimiter = ',',
        help_heading = "Model"
    )]
    pub(super) synthetic: Vec<Shape>,

    /// Threads that compute; several with commas, or a range as 1-8*2 [default: physical cores].
    #[arg(long, value_name = "N", value_parser = positive_numbers, help_heading = "Model")]
    pub(super) threads: Option<Numbers>,

    /// Types of the KV cache; several with commas.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "f16",
        help_heading = "Model"
    )]
    pub(super) kv_cache_dtype: Vec<KvDtype>,

    /// Tokens of the prompt to process; several with commas, a range as 128-1024*2; 0 skips the test.
    #[arg(short, long, default_value = "512", value_name = "TOKENS", value_parser = numbers)]
    pub(super) prompt: Numbers,

    /// Tokens to generate in each sequence; likewise.
    #[arg(short, long, default_value = "64", value_name = "TOKENS", value_parser = numbers)]
    pub(super) generate: Numbers,

    /// Tokens already in the context before; likewise.
    #[arg(short, long, default_value = "0", value_name = "TOKENS", value_parser = numbers)]
    pub(super) depth: Numbers,

    /// Sequences generated side by side; likewise.
    #[arg(short, long, default_value = "1", value_name = "N", value_parser = positive_numbers)]
    pub(super) batch: Numbers,

    /// Least repetitions: six are the fewest that an interval of 95 % can be had from.
    #[arg(short, long, default_value_t = 6, value_parser = positive)]
    pub(super) reps: usize,

    /// Most repetitions, while the interval is wider than --precision.
    #[arg(long, default_value_t = 20, value_parser = positive, value_name = "REPS")]
    pub(super) max_reps: usize,

    /// Width of the interval, in percent of the median, that is narrow enough.
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT")]
    pub(super) precision: f64,

    /// Seconds after which a test is not repeated any more than --reps.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    pub(super) max_time: u64,

    /// Most prompt tokens in one step.
    #[arg(long, default_value_t = 512, value_parser = positive, value_name = "TOKENS")]
    pub(super) max_num_batched_tokens: usize,

    /// Measure another program turn and turn about: llama.cpp, or a command that takes the flags of this
    /// one and prints a JSON object with `test` and `tokens_per_s` for each figure.
    #[arg(long, value_name = "PEER")]
    pub(super) versus: Vec<String>,

    /// The Python that runs llama.cpp's binding.
    #[arg(long, default_value = "python3", value_name = "PROGRAM")]
    pub(super) python: String,

    /// Hash the most likely tokens after fixed prompts: the same hash, the same computation.
    #[arg(long)]
    pub(super) quality: bool,

    #[command(flatten)]
    pub(super) output: OutputArgs,
}

impl EngineArgs {
    /// Where results go.
    pub(super) fn output(&self) -> &OutputArgs {
        &self.output
    }

    /// The tests, in the order in which they run.
    pub(super) fn tests(&self) -> Vec<Test> {
        let mut tests = Vec::new();
        for &depth in &self.depth.0 {
            for &prompt in self.prompt.0.iter().filter(|prompt| **prompt > 0) {
                tests.push(Test {
                    prompt,
                    generate: 0,
                    depth,
                    batch: 1,
                });
            }
            for &generate in self.generate.0.iter().filter(|generate| **generate > 0) {
                let batches = self.batch.0.iter();
                tests.extend(batches.map(|&batch| Test {
                    prompt: 0,
                    generate,
                    depth,
                    batch,
                }));
            }
        }
        tests
    }
}
