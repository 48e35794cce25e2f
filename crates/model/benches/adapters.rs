//! What adapters cost: `cargo bench -p matou-model --bench adapters [-- SHAPE [RANK]]`.
//!
//! Steps of generation with adapters of all linear layers and steps without take turns, on made-up
//! weights of a published shape; what is printed is the median of the ratios of neighbours, and the
//! quartiles. `MATOU_ISA` and `MATOU_THREADS` choose what to run on.
#![allow(clippy::unwrap_used)] // a benchmark that cannot go on says so by panicking

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use matou_model::{
    Adapter, AdapterFiles, AdapterTargets, BLOCK_SIZE, Checkpoint, DeviceChoice, ForwardBatch,
    KvCacheDtype, LanguageModel, LoadOptions, WeightFiles,
};
use safetensors::tensor::{Dtype, TensorView};

/// Tokens that each sequence has behind it.
const CONTEXT: usize = 128;
/// Pairs of steps.
const PAIRS: usize = 60;

fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let shape = arguments
        .next()
        .unwrap_or_else(|| "llama-3.2-1b:q4_k_m".to_owned());
    let rank = arguments.next().map_or(16, |rank| rank.parse().unwrap());
    let threads = std::env::var("MATOU_THREADS")
        .ok()
        .map(|threads| threads.parse().unwrap());
    let files = WeightFiles::Synthetic(shape.parse().unwrap());
    let checkpoint = Checkpoint::open(&files).unwrap();
    let options = LoadOptions {
        device: DeviceChoice::Cpu,
        threads,
        ..LoadOptions::default()
    };
    let mut model = checkpoint.load(&options).unwrap();
    model
        .allocate_kv_cache(8 * blocks(), KvCacheDtype::F16)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let targets = model.adapter_targets().unwrap();
    write_adapter(folder.path(), &targets, rank);
    let adapters: Vec<Arc<Adapter>> = (0..4)
        .map(|_| {
            Arc::new(
                targets
                    .load(&AdapterFiles::open(folder.path()).unwrap())
                    .unwrap(),
            )
        })
        .collect();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "{shape}: {:.0} MiB of weights, {:.1} MiB of an adapter of rank {rank}",
        mib(model.info().weight_bytes),
        mib(adapters[0].bytes())
    );
    for (what, sequences, different) in [
        ("one sequence, one adapter", 1, 1),
        ("four sequences, one adapter", 4, 1),
        ("four sequences, four adapters", 4, 4),
    ] {
        let given = (0..sequences).map(|i| Some(adapters[i % different].clone()));
        compare(what, model.as_mut(), &given.collect::<Vec<_>>());
    }
}

fn blocks() -> usize {
    CONTEXT / BLOCK_SIZE + 1
}

fn compare(what: &str, model: &mut dyn LanguageModel, adapters: &[Option<Arc<Adapter>>]) {
    let mut batch = ForwardBatch::default();
    for sequence in 0..adapters.len() {
        let table: Vec<u32> = (0..blocks())
            .map(|i| (sequence * blocks() + i) as u32)
            .collect();
        batch.push_request(&[7], CONTEXT, &table, [0]);
    }
    let with = ForwardBatch {
        adapters: adapters.to_vec(),
        ..batch.clone()
    };
    let mut time = |batch: &ForwardBatch| {
        let began = Instant::now();
        model.forward(batch).unwrap();
        began.elapsed().as_secs_f64()
    };
    time(&batch);
    time(&with);
    let mut ratios = Vec::new();
    let mut without = Vec::new();
    for pair in 0..PAIRS {
        // Each comes first as often as the other.
        let (base, adapted) = match pair % 2 {
            0 => (time(&batch), time(&with)),
            _ => {
                let adapted = time(&with);
                (time(&batch), adapted)
            }
        };
        without.push(base);
        ratios.push(adapted / base);
    }
    ratios.sort_by(f64::total_cmp);
    without.sort_by(f64::total_cmp);
    println!(
        "{what}: {:.3} times the step without ({:.3} to {:.3}), which takes {:.1} ms",
        ratios[PAIRS / 2],
        ratios[PAIRS / 4],
        ratios[3 * PAIRS / 4],
        1e3 * without[PAIRS / 2],
    );
}

/// An adapter of all linear layers but the head, in f32 as most are.
fn write_adapter(folder: &Path, targets: &AdapterTargets, rank: usize) {
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut seed = 1u32;
    let mut add = |name: String, shape: [usize; 2]| {
        let values = (0..shape[0] * shape[1]).flat_map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((seed >> 8) as f32 / 16_777_216.0 * 0.02 - 0.01).to_le_bytes()
        });
        tensors.insert(name, (shape.to_vec(), values.collect()));
    };
    // As PEFT's `all-linear` has it.
    let modules = targets.modules().filter(|(module, _)| *module != "lm_head");
    for (module, [rows, columns]) in modules {
        let prefix = format!("base_model.model.{module}");
        add(format!("{prefix}.lora_A.weight"), [rank, columns]);
        add(format!("{prefix}.lora_B.weight"), [rows, rank]);
    }
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    let path = folder.join("adapter_model.safetensors");
    safetensors::serialize_to_file(views, None, &path).unwrap();
    let config = format!(r#"{{"peft_type": "LORA", "r": {rank}, "lora_alpha": {rank}}}"#);
    std::fs::write(folder.join("adapter_config.json"), config).unwrap();
}
