//! The default model against reference values of an f32 implementation on the same weights.

use std::path::PathBuf;

use matou_chat::{SpecialTokens, TemplateRequest, TextOptions, TextSide};
use matou_llm::open;
use matou_model::{
    BLOCK_SIZE, Checkpoint, DeviceChoice, ForwardBatch, KvCacheDtype, LanguageModel, LoadOptions,
    WeightFiles,
};
use matou_testkit::gpu;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::harness::default_model;

/// Mean KL divergence of llama.cpp from the f32 reference, on the same file and text.
const KL_OF_LLAMA_CPP: f64 = 0.00265;

/// Where the reference's best logit leads the second by less, 8-bit activations may choose
/// otherwise, and the continuations part.
const CLEAR_MARGIN: f64 = 0.3;

fn fixture(name: &str) -> PathBuf {
    matou_testkit::fixtures_dir().join("smollm2").join(name)
}

fn golden() -> Value {
    serde_json::from_slice(&std::fs::read(fixture("golden.json")).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).expect("token ids")
}

fn text_side() -> TextSide {
    let weights = WeightFiles::Gguf(default_model().to_owned());
    open::text_side(
        &Checkpoint::open(&weights).unwrap(),
        &TextOptions::default(),
    )
    .unwrap()
}

/// One sequence on the real model.
struct Sequence {
    model: Box<dyn LanguageModel>,
    block_table: Vec<u32>,
    computed: usize,
}

impl Sequence {
    fn new(device: DeviceChoice, max_tokens: usize, kv_cache: KvCacheDtype) -> Self {
        let weights = WeightFiles::Gguf(default_model().to_owned());
        let checkpoint = Checkpoint::open(&weights).unwrap();
        let options = LoadOptions {
            device,
            ..LoadOptions::default()
        };
        let mut model = checkpoint.load(&options).unwrap();
        let blocks = max_tokens.div_ceil(BLOCK_SIZE);
        model.allocate_kv_cache(blocks, kv_cache).unwrap();
        Self {
            model,
            block_table: (0..blocks as u32).collect(),
            computed: 0,
        }
    }

    /// Feeds tokens and returns the logits of each.
    fn feed(&mut self, tokens: &[u32]) -> matou_model::Logits {
        let mut batch = ForwardBatch::default();
        batch.push_request(tokens, self.computed, &self.block_table, 0..tokens.len());
        self.computed += tokens.len();
        self.model.forward(&batch).unwrap()
    }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    logits
        .iter()
        .map(|&x| f64::from(x - max) - sum.ln())
        .collect()
}

#[test]
fn the_tokenizer_gives_the_reference_ids() {
    let tokenizer = text_side().tokenizer.expect("the file has a vocabulary");
    for case in golden()["tokenize"].as_array().expect("cases") {
        let text = case["text"].as_str().expect("text");
        let encoded = tokenizer.encode(text, SpecialTokens::Parse, false).unwrap();
        assert_eq!(encoded, ids(&case["ids"]), "{text:?}");
    }
}

#[test]
fn prompts_and_greedy_answers_are_the_reference_ones() {
    let text = text_side();
    let tokenizer = text.tokenizer.expect("the file has a vocabulary");
    let template = text.template.expect("the file has a template");
    for chat in golden()["chats"].as_array().expect("chats") {
        let prompt = template
            .render(&TemplateRequest {
                messages: chat["messages"].as_array().expect("messages"),
                tools: None,
                add_generation_prompt: true,
                continue_final_message: false,
                kwargs: &serde_json::Map::new(),
            })
            .unwrap();
        assert_eq!(prompt.text(), chat["prompt_text"]);
        let prompt_ids = tokenizer.encode_prompt(&prompt).unwrap();
        assert_eq!(prompt_ids, ids(&chat["prompt_ids"]));

        let reference = ids(&chat["greedy_ids"]);
        let tokens = prompt_ids.len() + reference.len();
        let mut sequence = Sequence::new(DeviceChoice::Cpu, tokens, KvCacheDtype::F16);
        let mut logits = sequence.feed(&prompt_ids);
        for (i, &expected) in reference.iter().enumerate() {
            let last = logits.row(logits.rows() - 1);
            let best = (0..last.len())
                .max_by(|&a, &b| last[a].total_cmp(&last[b]))
                .expect("a vocabulary");
            if best as u32 != expected {
                let margin = chat["greedy_margin"][i].as_f64().expect("a margin");
                assert!(
                    margin < CLEAR_MARGIN,
                    "token {i}: {best}, not {expected}, at margin {margin}"
                );
                break;
            }
            logits = sequence.feed(&[expected]);
        }
    }
}

/// Tokens of the text.
const TEXT_TOKENS: usize = 1024;

/// The text that the reference has read.
struct Text {
    ids: Vec<u32>,
    /// The reference's best tokens at each position, and their log-probabilities.
    top_ids: Vec<u32>,
    top_logprobs: Vec<f32>,
}

impl Text {
    fn read() -> Self {
        let bytes = std::fs::read(fixture("golden.safetensors")).unwrap();
        let golden = SafeTensors::deserialize(&bytes).unwrap();
        let words = |name: &str| -> Vec<[u8; 4]> {
            let data = golden.tensor(name).unwrap().data();
            data.chunks_exact(4)
                .map(|word| word.try_into().expect("four bytes"))
                .collect()
        };
        let low_half = |pair: &[[u8; 4]]| u32::from_le_bytes(pair[0]);
        let numbers = |words: Vec<[u8; 4]>| words.into_iter().map(u32::from_le_bytes).collect();
        let floats = |words: Vec<[u8; 4]>| words.into_iter().map(f32::from_le_bytes).collect();
        Self {
            ids: words("text_ids").chunks_exact(2).map(low_half).collect(),
            top_ids: numbers(words("text_top_ids")),
            top_logprobs: floats(words("text_top_logprobs")),
        }
    }
}

/// KL(reference ‖ ours) over the first tokens of the text, on the reference's best tokens and the rest
/// as one, averaged over positions.
fn mean_divergence(device: DeviceChoice, kv_cache: KvCacheDtype, tokens: usize) -> f64 {
    let mut text = Text::read();
    text.top_ids
        .truncate(text.top_ids.len() / text.ids.len() * tokens);
    text.ids.truncate(tokens);
    let best = text.top_ids.len() / text.ids.len();
    let mut sequence = Sequence::new(device, text.ids.len(), kv_cache);
    let (mut divergence, mut same_best) = (0.0, 0);
    for (chunk, tokens) in text.ids.chunks(128).enumerate() {
        let logits = sequence.feed(tokens);
        for row in 0..tokens.len() {
            let ours = log_softmax(logits.row(row));
            let at = (chunk * 128 + row) * best;
            let (mut mass, mut our_mass) = (0.0, 0.0);
            let reference = text.top_ids[at..][..best].iter();
            for (&id, &logprob) in reference.zip(&text.top_logprobs[at..]) {
                let (theirs, mine) = (f64::from(logprob), ours[id as usize]);
                divergence += theirs.exp() * (theirs - mine);
                mass += theirs.exp();
                our_mass += mine.exp();
            }
            let (rest, our_rest) = ((1.0 - mass).max(1e-12), (1.0 - our_mass).max(1e-12));
            divergence += rest * (rest / our_rest).ln();
            let argmax = (0..ours.len()).max_by(|&a, &b| ours[a].total_cmp(&ours[b]));
            same_best += usize::from(argmax == Some(text.top_ids[at] as usize));
        }
    }
    let divergence = divergence / text.ids.len() as f64;
    println!(
        "{device}, {kv_cache:?} cache: mean KL divergence {divergence:.5}, same best token at {same_best} of {}",
        text.ids.len()
    );
    divergence
}

/// With every type of cache; the figure of llama.cpp is with one in 16 bits.
#[test]
fn logits_are_as_close_to_f32_as_those_of_llama_cpp() {
    for kv_cache in [KvCacheDtype::F32, KvCacheDtype::F16, KvCacheDtype::Q8] {
        let divergence = mean_divergence(DeviceChoice::Cpu, kv_cache, TEXT_TOKENS);
        assert!(
            divergence <= KL_OF_LLAMA_CPP,
            "mean KL divergence {divergence:.5} with {kv_cache:?}"
        );
    }
}

/// A GPU's logits are as good as the CPU's, on the same text.
#[test]
fn logits_of_a_gpu_are_as_close_to_f32_as_those_of_the_cpu() {
    let Some(gpu) = gpu() else { return };
    // A software device takes a while for all of the text.
    let tokens = TEXT_TOKENS / 4;
    let kv_cache = KvCacheDtype::F16;
    let cpu = mean_divergence(DeviceChoice::Cpu, kv_cache, tokens);
    let gpu = mean_divergence(gpu, kv_cache, tokens);
    assert!(
        gpu <= 1.1 * cpu,
        "mean KL divergence {gpu:.5} on the GPU, {cpu:.5} on the CPU"
    );
}
