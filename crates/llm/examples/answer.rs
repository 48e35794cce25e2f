//! One answer, as it comes: `target/release/examples/answer "Why is the sky blue?"`, built by
//! `cargo build --release --workspace --examples`.

use std::io::Write;

use matou_engine::{EngineConfig, SamplingParams};
use matou_llm::generation::GenerationEvent;
use matou_llm::message::{MessageParser, MessagePart};
use matou_llm::open::{OpenOptions, open};
use matou_llm::request::ChatCall;
use matou_llm::{Wanted, prepare};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let question = std::env::args().nth(1);
    let question = question
        .as_deref()
        .unwrap_or("What is the capital of France?");
    // The catalogue's default model, fetched on first use.
    let options = OpenOptions::default();
    let loaded = open(None, &options).await?;
    let config = loaded.engine_config(&options, EngineConfig::default())?;
    let (llm, _engine) = loaded.start(config, Vec::new())?;

    let messages = vec![
        json!({"role": "system", "content": "You are a helpful assistant."}),
        json!({"role": "user", "content": question}),
    ];
    // Small models may go on for ever.
    let sampling = SamplingParams {
        max_tokens: Some(256),
        ..llm.card().default_sampling.clone()
    };
    let call = ChatCall::new(messages, sampling);
    let prompt = prepare::chat(&llm, call, &Wanted::always())?;
    let mut parser = MessageParser::new(&prompt.format);
    let mut generation = prompt.start(&llm, "example".to_owned(), "messages")?;
    while let Some(event) = generation.next().await {
        let parts = match event {
            GenerationEvent::Text { text, .. } => parser.push(&text),
            GenerationEvent::Finished { .. } => parser.finish(),
            GenerationEvent::Failed(error) => return Err(error.into()),
            GenerationEvent::Prompt(_) => Vec::new(),
        };
        for part in parts {
            if let MessagePart::Text(text) = part {
                print!("{text}");
                std::io::stdout().flush()?;
            }
        }
    }
    println!();
    Ok(())
}
