//! What a user waits for: time to the first token, cold and cached, and the time between tokens
//! while somebody else's long prompt is taken in.
//!
//! ```text
//! cargo bench --bench latency [-- MODEL]
//! ```

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Parser;
use matou::cli::ModelArgs;
use matou_engine::{
    ClientId, Engine, EngineConfig, EngineEvent, EngineHandle, Generation, GenerationRequest,
    SamplingParams,
};
use matou_llm::open;

/// Tokens of a long conversation so far.
const HISTORY: usize = 2_000;
/// Tokens of the prompt that must not stall the others.
const LONG_PROMPT: usize = 4_000;
/// Streams that run while it is taken in.
const STREAMS: usize = 4;
const REPETITIONS: usize = 5;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    model: ModelArgs,
    /// Passed by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let options = arguments.model.options.to_open()?;
    let loaded = runtime.block_on(open::open(arguments.model.model.as_deref(), &options))?;
    println!("{}", loaded.describe());
    let config = loaded.engine_config(&options, EngineConfig::default())?;
    println!("{} tokens a step at most", config.max_num_batched_tokens);
    let (engine, thread) = Engine::start(loaded.model, config)?;

    first_token(&engine)?;
    between_tokens(&engine)?;
    drop(engine);
    if thread.join().is_err() {
        bail!("the engine thread panicked");
    }
    Ok(())
}

/// Time to the first token of a conversation's next turn, with and without its history cached.
fn first_token(engine: &EngineHandle) -> Result<()> {
    let mut cold = Vec::new();
    let mut cached = Vec::new();
    for repetition in 0..REPETITIONS {
        let mut prompt = text(engine, HISTORY, repetition);
        cold.push(wait_for_token(submit(engine, &prompt, 1)?)?);
        prompt.extend(text(engine, 30, repetition + 1_000));
        cached.push(wait_for_token(submit(engine, &prompt, 1)?)?);
    }
    let (cold, cached) = (median(&mut cold), median(&mut cached));
    println!("time to first token, {HISTORY} tokens of history: cold {cold:.1?}");
    println!(
        "                     the same and 30 more, cached: {cached:.1?}, {:.3} of cold",
        cached.as_secs_f64() / cold.as_secs_f64()
    );
    Ok(())
}

/// Inter-token latency of running streams, beside a long prompt and alone: before it and after it,
/// as the streams' own contexts grow meanwhile and make their steps longer.
fn between_tokens(engine: &EngineHandle) -> Result<()> {
    let streams: Vec<_> = (0..STREAMS)
        .map(|i| submit(engine, &text(engine, 64, 2_000 + i), 4_000))
        .collect::<Result<_>>()?;
    let mut streams = streams.into_iter();
    let Some(mut watched) = streams.next() else {
        bail!("no streams")
    };
    let others: Vec<_> = streams.collect();
    for _ in 0..8 {
        next_token(&mut watched)?;
    }
    let mut before = gaps(&mut watched, 64)?;

    let mut long = submit(engine, &text(engine, LONG_PROMPT, 3_000), 1)?;
    let reader = std::thread::spawn(move || next_token(&mut long).map(|()| Instant::now()));
    let begun = Instant::now();
    let mut beside = Vec::new();
    while !reader.is_finished() {
        beside.extend(gaps(&mut watched, 1)?);
    }
    let read_at = reader.join().expect("the reader does not panic")?;
    let mut after = gaps(&mut watched, 64)?;
    drop(others);
    let (before, after) = (median(&mut before), median(&mut after));
    let alone = (before + after) / 2;
    let times = |gap: Duration| gap.as_secs_f64() / alone.as_secs_f64();
    let middle = median(&mut beside);
    let late = beside[beside.len() * 95 / 100];
    println!("time between tokens, {STREAMS} streams: {before:.2?} before, {after:.2?} after");
    println!(
        "            while {LONG_PROMPT} tokens are read: {middle:.2?} ({:.2} times), \
         95th percentile {late:.2?} ({:.2} times); read in {:.2?}",
        times(middle),
        times(late),
        read_at - begun,
    );
    Ok(())
}

/// Made-up text: no two seeds share a block of tokens.
fn text(engine: &EngineHandle, tokens: usize, seed: usize) -> Vec<u32> {
    let vocab_size = engine.model_info().vocab_size;
    (0..tokens)
        .map(|i| ((i * 7_919 + seed * 104_729 + 11) % vocab_size) as u32)
        .collect()
}

fn submit(engine: &EngineHandle, prompt: &[u32], max_tokens: usize) -> Result<Generation> {
    Ok(engine.submit(GenerationRequest {
        request_id: "bench".to_owned(),
        prompt_token_ids: prompt.into(),
        client: ClientId::default(),
        params: SamplingParams {
            temperature: 0.0,
            ignore_eos: true,
            max_tokens: Some(max_tokens),
            ..SamplingParams::default()
        },
        n: 1,
        priority: 0,
        cache_salt: None,
    })?)
}

fn next_token(generation: &mut Generation) -> Result<()> {
    loop {
        match generation.blocking_next() {
            Some(EngineEvent::Token { .. }) => return Ok(()),
            Some(EngineEvent::Prompt { .. }) => {}
            other => bail!("{other:?} instead of a token"),
        }
    }
}

fn wait_for_token(mut generation: Generation) -> Result<Duration> {
    let start = Instant::now();
    next_token(&mut generation)?;
    Ok(start.elapsed())
}

fn gaps(generation: &mut Generation, tokens: usize) -> Result<Vec<Duration>> {
    (0..tokens)
        .map(|_| {
            let start = Instant::now();
            next_token(generation)?;
            Ok(start.elapsed())
        })
        .collect()
}

fn median(durations: &mut [Duration]) -> Duration {
    durations.sort_unstable();
    durations[durations.len() / 2]
}
