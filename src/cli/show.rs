//! `matou show`: what a model is and what it takes, without loading it.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use matou_chat::TextSide;
use matou_chat::reasoning::ReasoningFormat;
use matou_chat::tools::ToolFormat;
use matou_hub::HubOptions;
use matou_llm::open::{self, Memory, Place, human_bytes};
use matou_model::{Checkpoint, KvCacheDtype, ModelSummary};

use super::options::ModelArgs;
use super::terminal::print_all;

/// Contexts whose memory is shown, as far as the model reaches.
const CONTEXTS: [usize; 5] = [2_048, 8_192, 32_768, 131_072, 524_288];

/// Options of `matou show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The model, and how it would run.
    #[command(flatten)]
    pub model: ModelArgs,
}

/// Runs the command.
pub(super) async fn run(args: ShowArgs) -> Result<()> {
    let options = args.model.options;
    let open_options = options.to_open()?;
    let name = args.model.model.as_deref();
    let files = open::find(name, &open_options, &HubOptions::from_env()?).await?;
    let checkpoint = Checkpoint::open(&open::weight_files(&files))?;
    let summary = checkpoint.summary(&open_options.load_options())?;
    let mut text = format!(
        "{}  {}
",
        files.name,
        files.weights.display()
    );
    describe_model(&mut text, &summary);
    match open::text_side(&checkpoint, &open_options.text_options()) {
        Ok(side) => describe_text(&mut text, &summary, &side),
        Err(error) => line(
            &mut text,
            "tokenizer",
            &format!("cannot be used: {error:#}"),
        ),
    }
    let limit = files.context_length.unwrap_or(usize::MAX);
    let longest = summary.max_position_embeddings.min(limit);
    let place = Place::for_model(&summary, &open_options).map_err(anyhow::Error::from);
    let dtype = options.kv_cache_dtype.into();
    describe_memory(&mut text, &summary, dtype, longest, place);
    print_all(&text)
}

fn line(text: &mut String, label: &str, value: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{label:<14} {value}");
}

fn describe_model(text: &mut String, summary: &ModelSummary) {
    let experts = summary.experts.map_or(String::new(), |(all, each)| {
        format!(", {all} experts of which {each} see a token")
    });
    line(
        text,
        "architecture",
        &format!(
            "{}: {} layers of width {}, {} heads of {} ({} of keys and values), feed-forward part of {}{experts}",
            summary.architecture,
            summary.num_layers,
            summary.hidden_size,
            summary.num_heads,
            summary.head_dim,
            summary.num_kv_heads,
            summary.intermediate_size,
        ),
    );
    line(text, "parameters", &count(summary.parameters));
    let quantized: u64 = summary.formats.iter().map(|(_, weights)| weights).sum();
    let formats = summary.formats.iter().map(|(format, weights)| {
        let share = 100.0 * *weights as f64 / quantized.max(1) as f64;
        format!("{format} {share:.1} %")
    });
    line(
        text,
        "weights",
        &format!(
            "{}, {} on disk, {} in memory: {}",
            summary.quantization,
            human_bytes(summary.file_bytes),
            human_bytes(summary.weight_bytes),
            formats.collect::<Vec<_>>().join(", ")
        ),
    );
    let window = summary
        .sliding_window
        .map_or(String::new(), |(window, layers)| {
            format!("; {layers} of {} layers see {window}", summary.num_layers)
        });
    let context = format!("{} tokens{window}", summary.max_position_embeddings);
    line(text, "context", &context);
    line(text, "positions", &summary.rope);
}

fn describe_text(text: &mut String, summary: &ModelSummary, side: &TextSide) {
    let Some(tokenizer) = &side.tokenizer else {
        line(text, "tokenizer", "none");
        return;
    };
    let named = |id: u32| match tokenizer.id_to_token(id) {
        Some(token) => format!("{token} ({id})"),
        None => format!("({id})"),
    };
    let vocabulary = format!(
        "{} tokens, {} rows of the model",
        tokenizer.vocab_size(),
        summary.vocab_size
    );
    line(text, "vocabulary", &vocabulary);
    if let Some(bos) = tokenizer.bos_token_id() {
        line(text, "begins with", &named(bos));
    }
    let ends = side.eos_token_ids.iter().copied().map(named);
    let ends: Vec<String> = ends.collect();
    line(text, "ends with", &ends.join(", "));
    let template = match (&side.template, &side.template_error) {
        (None, Some(error)) => format!("cannot be used: {error}"),
        (None, None) => "none".to_owned(),
        (Some(template), _) => {
            let source = template.source();
            let tools = match ToolFormat::detect(source, &summary.architecture) {
                Some(format) => format!("tools as {format:?}"),
                None => "no tools of its own".to_owned(),
            };
            let reasoning = match ReasoningFormat::detect(source) {
                Some(format) => format!(", reasoning in {} … {}", format.opener(), format.closer()),
                None => String::new(),
            };
            format!("{} characters, {tools}{reasoning}", source.chars().count())
        }
    };
    line(text, "chat template", &template);
}

fn describe_memory(
    text: &mut String,
    summary: &ModelSummary,
    dtype: KvCacheDtype,
    longest: usize,
    place: Result<Place>,
) {
    let mut contexts: Vec<usize> = CONTEXTS.into_iter().filter(|&n| n < longest).collect();
    contexts.push(longest);
    let is_gpu = place.as_ref().is_ok_and(|place| place.gpu.is_some());
    let contexts = contexts
        .into_iter()
        .map(|tokens| (tokens, Memory::of(summary, dtype, tokens, is_gpu)));
    let contexts: Vec<(usize, Memory)> = contexts.collect();
    let device = match place {
        Ok(place) => {
            let free = human_bytes(place.free);
            format!("{place}, {free} free: {}", fits(&contexts, place.free))
        }
        Err(error) => format!("cannot be used: {error:#}"),
    };
    line(text, "device", &device);
    line(text, "memory", "weights + keys and values + working memory");
    for (tokens, memory) in contexts {
        let parts = format!(
            "{} + {} + {} = {}",
            human_bytes(memory.weights),
            human_bytes(memory.kv_cache),
            human_bytes(memory.working),
            human_bytes(memory.total())
        );
        line(text, &format!("  {tokens} tokens"), &parts);
    }
}

/// Whether a model fits into so many bytes, with which of these contexts; the shortest comes first.
fn fits(contexts: &[(usize, Memory)], free: u64) -> String {
    let fitting = contexts
        .iter()
        .filter(|(_, memory)| memory.total() <= free)
        .count();
    match fitting.checked_sub(1).and_then(|last| contexts.get(last)) {
        None => "the model does not fit".to_owned(),
        Some(_) if fitting == contexts.len() => "the model fits".to_owned(),
        Some((tokens, _)) => format!("the model fits with {tokens} tokens, not with all"),
    }
}

/// `134.5 M`, `7.25 B`.
fn count(parameters: u64) -> String {
    match parameters {
        0..1_000_000_000 => format!("{:.1} M", parameters as f64 / 1e6),
        _ => format!("{:.2} B", parameters as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_fits_with_contexts_up_to_some_length() {
        let memory = |kv_cache| Memory {
            weights: 100,
            kv_cache,
            working: 10,
        };
        let contexts = [(1, memory(20)), (2, memory(40)), (4, memory(80))];
        assert_eq!(fits(&contexts, 129), "the model does not fit");
        let some = "the model fits with 2 tokens, not with all";
        assert_eq!(fits(&contexts, 189), some);
        assert_eq!(fits(&contexts, 190), "the model fits");
    }

    #[test]
    fn parameters_are_counted_in_millions_and_billions() {
        assert_eq!(count(134_515_008), "134.5 M");
        assert_eq!(count(7_248_023_552), "7.25 B");
    }
}
