//! Paged attention as models use it: `cargo bench -p matou-kernels --bench attention`.
//!
//! Decoding is measured in bytes of cache a second (memory is the limit once the caches of all layers
//! outgrow the CPU's), prompts in multiply-adds a second. `MATOU_ISA` and `MATOU_THREADS` choose what
//! to run on; the default is the best instruction set and all cores.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use matou_kernels::{
    AttentionParams, BLOCK_SIZE, Context, Isa, KvDtype, KvPool, PagedBatch, Rows, paged_attention,
};

struct Shape {
    name: &'static str,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    layers: usize,
}

const SMOLLM2_135M: Shape = Shape {
    name: "SmolLM2-135M",
    heads: 9,
    kv_heads: 3,
    head_dim: 64,
    layers: 30,
};

const LLAMA_3_2_1B: Shape = Shape {
    name: "Llama-3.2-1B",
    heads: 32,
    kv_heads: 8,
    head_dim: 64,
    layers: 16,
};

const LLAMA_3_1_8B: Shape = Shape {
    name: "Llama-3.1-8B",
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    layers: 32,
};

impl Shape {
    fn params(&self) -> AttentionParams {
        AttentionParams {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            scale: 1.0 / (self.head_dim as f32).sqrt(),
            sliding_window: None,
            softcap: None,
        }
    }
}

/// Requests of equal length in the caches of `layers` layers, the blocks of requests interleaved.
struct Setup {
    params: AttentionParams,
    pools: Vec<KvPool>,
    q: Vec<f32>,
    out: Vec<f32>,
    query_start_loc: Vec<u32>,
    seq_lens: Vec<u32>,
    block_tables: Vec<u32>,
    block_table_start: Vec<u32>,
}

impl Setup {
    fn new(
        shape: &Shape,
        dtype: KvDtype,
        layers: usize,
        requests: usize,
        query_len: usize,
        seq_len: usize,
    ) -> Self {
        let (kv, blocks) = (
            shape.kv_heads * shape.head_dim,
            seq_len.div_ceil(BLOCK_SIZE),
        );
        let q: Vec<f32> = (0..requests * query_len * shape.heads * shape.head_dim)
            .map(|i| (i as f32 * 0.7).sin())
            .collect();
        let k: Vec<f32> = (0..4096 + kv).map(|i| (i as f32 * 0.3).cos()).collect();
        let ctx = context();
        let slots: Vec<u32> = (0..(requests * blocks * BLOCK_SIZE) as u32).collect();
        let pools = (0..layers).map(|_| {
            let mut pool = KvPool::new(requests * blocks, shape.kv_heads, shape.head_dim, dtype)
                .expect("room for the cache");
            for slot in &slots {
                let data = &k[*slot as usize % 4096..];
                let rows = Rows { data, stride: kv };
                pool.write(&ctx, &[*slot], rows, rows);
            }
            pool
        });
        let table = |request: usize| (0..blocks).map(move |b| (b * requests + request) as u32);
        let step = |of: usize| (0..=requests).map(|r| (r * of) as u32).collect();
        Self {
            params: shape.params(),
            pools: pools.collect(),
            out: vec![0.0; q.len()],
            q,
            query_start_loc: step(query_len),
            seq_lens: vec![seq_len as u32; requests],
            block_tables: (0..requests).flat_map(table).collect(),
            block_table_start: step(blocks),
        }
    }

    fn run(&mut self, ctx: &Context) {
        let q = Rows {
            data: &self.q,
            stride: self.params.heads * self.params.head_dim,
        };
        let batch = PagedBatch {
            query_start_loc: &self.query_start_loc,
            seq_lens: &self.seq_lens,
            block_tables: &self.block_tables,
            block_table_start: &self.block_table_start,
        };
        for pool in &self.pools {
            paged_attention(ctx, &self.params, q, pool, &batch, &mut self.out);
            black_box(&self.out);
        }
    }
}

fn context() -> Context {
    let threads = std::env::var("MATOU_THREADS").map_or_else(
        |_| std::thread::available_parallelism().map_or(1, usize::from),
        |threads| threads.parse().expect("MATOU_THREADS is a number"),
    );
    Context::new(
        Isa::from_env_or_detect().expect("an instruction set of this CPU"),
        threads,
    )
}

fn decode(c: &mut Criterion) {
    let ctx = context();
    let mut group = c.benchmark_group("decode");
    for (shape, requests, depth) in [
        (&LLAMA_3_2_1B, 1, 4096),
        (&LLAMA_3_2_1B, 8, 512),
        (&SMOLLM2_135M, 1, 512),
        (&SMOLLM2_135M, 8, 512),
        (&LLAMA_3_1_8B, 1, 4096),
    ] {
        for dtype in [KvDtype::F16, KvDtype::Q8] {
            let mut setup = Setup::new(shape, dtype, shape.layers, requests, 1, depth);
            let blocks = requests * depth.div_ceil(BLOCK_SIZE) * shape.layers;
            let bytes = KvPool::bytes(blocks, shape.kv_heads, shape.head_dim, dtype);
            group.throughput(Throughput::Bytes(bytes as u64));
            let id = BenchmarkId::new(shape.name, format!("{requests}x{depth} {dtype:?}"));
            group.bench_function(id, |b| b.iter(|| setup.run(&ctx)));
        }
    }
}

fn prompt(c: &mut Criterion) {
    let ctx = context();
    let mut group = c.benchmark_group("prompt");
    for (shape, depth) in [
        (&SMOLLM2_135M, 0),
        (&LLAMA_3_2_1B, 0),
        (&LLAMA_3_2_1B, 3584),
        (&LLAMA_3_1_8B, 0),
    ] {
        const TOKENS: usize = 512;
        let mut setup = Setup::new(shape, KvDtype::F16, 1, 1, TOKENS, depth + TOKENS);
        let pairs = TOKENS * depth + TOKENS * (TOKENS + 1) / 2;
        let multiply_adds = 2 * pairs * shape.heads * shape.head_dim;
        group.throughput(Throughput::Elements(multiply_adds as u64));
        let id = BenchmarkId::new(shape.name, format!("{TOKENS} at {depth}"));
        group.bench_function(id, |b| b.iter(|| setup.run(&ctx)));
    }
}

criterion_group!(benches, decode, prompt);
criterion_main!(benches);
