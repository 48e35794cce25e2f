//! Several texts continued at once, in one batch of the engine: `target/release/examples/batch`, built
//! as `answer.rs` says.

use matou_engine::{EngineConfig, SamplingParams};
use matou_llm::generation::collect;
use matou_llm::open::{OpenOptions, open};
use matou_llm::request::{GenerationOptions, PromptInput};
use matou_llm::{Wanted, prepare};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = OpenOptions::default();
    let loaded = open(None, &options).await?;
    let config = loaded.engine_config(&options, EngineConfig::default())?;
    let (llm, _engine) = loaded.start(config, Vec::new())?;

    let texts = ["The capital of France is", "Water boils at", "A haiku has"];
    let prompts = texts.map(|text| PromptInput::Text {
        text: text.to_owned(),
        add_special_tokens: true,
    });
    let mut options = GenerationOptions {
        sampling: SamplingParams {
            max_tokens: Some(24),
            ..SamplingParams::greedy()
        },
        ..GenerationOptions::default()
    };
    options.text.continues_prompt = true;
    let prompts = prepare::raw(&llm, &prompts, None, options, None, &Wanted::always())?;
    let collected = collect(prompts.start(&llm, "example", "prompt")?, texts.len()).await?;
    for (text, choice) in texts.iter().zip(&collected.choices) {
        println!("{text}{}\n", choice.text);
    }
    let usage = collected.usage;
    println!(
        "{} tokens read, {} written",
        usage.prompt_tokens, usage.completion_tokens
    );
    Ok(())
}
