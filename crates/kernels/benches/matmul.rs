//! Matrix products as models use them: `cargo bench -p matou-kernels --bench matmul`.
//!
//! One row is measured in bytes of weights a second, many rows in multiply-adds a second; the roofs
//! of both, measured in the same run, stand above the results. `MATOU_ISA` and `MATOU_THREADS`
//! choose what to run on; the default is the best instruction set and all cores. The name of a
//! benchmark is `format/rows×cols/rows of inputs`, so that a filter such as `Q4_K/2048x2048/1$`
//! picks one.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use matou_kernels::bandwidth::{peak_macs, read_bandwidth};
use matou_kernels::{Context, Format, Isa, PackedMatrix, matmul};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

/// Rows and columns: the smallest and the largest matrices of SmolLM2-135M, the same of
/// Llama-3.2-1B.
const SHAPES: [(usize, usize); 4] = [(576, 576), (1536, 576), (2048, 2048), (8192, 2048)];
/// Rows of inputs: decoding alone and in a batch, a short prompt and a long one.
const TOKENS: [usize; 4] = [1, 8, 64, 512];
/// Copies of a matrix are multiplied in turn until they are this large, so that weights come from
/// memory.
const WORKING_SET: usize = 128 << 20;

fn context() -> Context {
    let threads = std::env::var("MATOU_THREADS")
        .ok()
        .and_then(|threads| threads.parse().ok());
    let threads = threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from));
    let isa = Isa::from_env_or_detect().expect("MATOU_ISA names an instruction set of this CPU");
    Context::new(isa, threads.unwrap_or(1))
}

fn copies(ctx: &Context, format: Format, rows: usize, cols: usize) -> Option<Vec<PackedMatrix>> {
    let mut bytes = vec![0; rows * format.row_bytes(cols)?];
    StdRng::seed_from_u64(1).fill_bytes(&mut bytes);
    let pack = |_| PackedMatrix::pack(ctx, format, rows, cols, &bytes).expect("a whole matrix");
    Some((0..WORKING_SET.div_ceil(bytes.len())).map(pack).collect())
}

fn products(criterion: &mut Criterion) {
    let ctx = context();
    let read = read_bandwidth(&ctx, 4 * WORKING_SET).expect("memory to read");
    let peak = peak_macs(&ctx);
    println!(
        "{} on {} threads: reads {:.1} GB/s, multiplies {:.0} G/s in 8 bits, {:.0} G/s in floats",
        ctx.isa().name(),
        ctx.pool().threads(),
        read / 1e9,
        peak.int8 / 1e9,
        peak.f32 / 1e9,
    );
    for format in Format::ALL {
        let mut group = criterion.benchmark_group(format.name());
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(200));
        group.measurement_time(Duration::from_millis(800));
        for (rows, cols) in SHAPES {
            // The 256-wide formats do not fit 576 columns.
            let Some(ws) = copies(&ctx, format, rows, cols) else {
                continue;
            };
            for tokens in TOKENS {
                let mut rng = StdRng::seed_from_u64(2);
                let x: Vec<f32> = (0..tokens * cols)
                    .map(|_| rng.random_range(-1.0..1.0))
                    .collect();
                let mut out = vec![0.0; tokens * rows];
                group.throughput(match tokens {
                    1 => Throughput::Bytes(ws[0].bytes() as u64),
                    _ => Throughput::Elements((tokens * rows * cols) as u64),
                });
                let mut next = ws.iter().cycle();
                let id = BenchmarkId::new(format!("{rows}x{cols}"), tokens);
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        let w = next.next().expect("there is a copy");
                        matmul(&ctx, &[w], black_box(&x), &mut out);
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
