//! Attention, recorded: keys and values are written, then attended to in passes.

use matou_kernels::{AttentionParams, BLOCK_SIZE};

use super::cache::{KvCache, LayerCache};
use super::layout::LANES;
use super::plan::{Pass, PlanKey, SPLIT};
use super::step::{AttentionStep, UploadedPlan};
use crate::error::GpuError;
use crate::grid::grid;
use crate::stream::{Binding, Call, Stream};
use crate::tensor::Tensor;

/// Queries that share each load of keys and values: as many as have their state in registers.
const TILE_QUERIES: usize = 8;
/// Positions whose maximum and sum one lane takes, before all take those of these parts.
const PART: usize = 8;
/// Splits that a merge loads before it uses the first.
const MERGE_AHEAD: usize = 8;
/// The most additions to sums of values that are written out: twice as many, and a software device takes
/// seconds to compile them.
const MAX_RUN_SUMS: usize = 256;
/// What the states of a pass take at most, unless one token has more.
const MAX_STATE_BYTES: usize = 64 << 20;

// Chunks, which are as many positions as lanes, end where splits and blocks do.
const _: () = assert!(SPLIT.is_multiple_of(LANES) && LANES.is_multiple_of(BLOCK_SIZE));
const _: () = assert!(LANES.is_multiple_of(PART));

/// Positions whose values are loaded at once, for an invocation with so many sums: a whole block, or less
/// where the code would grow out of bounds; and then it has enough to do between loads.
fn run(sums: usize) -> usize {
    let mut run = BLOCK_SIZE;
    while run > 1 && run * sums > MAX_RUN_SUMS {
        run /= 2;
    }
    run
}

/// Exponentials, which attention needs before its own text.
const EXP: &str = include_str!("../shaders/exp.wgsl");

/// The attention of one layer in a step.
struct Layer<'a> {
    stream: &'a Stream,
    cache: &'a KvCache,
    layer: &'a LayerCache,
    params: &'a AttentionParams,
    qkv: &'a Tensor,
    step: &'a AttentionStep,
}

/// How the query heads of a key-value head are shared out among workgroups.
#[derive(Clone, Copy)]
struct Tiles {
    /// Workgroups to a key-value head.
    count: usize,
    /// Heads of each, or fewer.
    heads: usize,
    /// Tokens of a tile, at most.
    tokens: usize,
}

impl Tiles {
    fn new(params: &AttentionParams) -> Self {
        let group = params.heads / params.kv_heads;
        let count = group.div_ceil(TILE_QUERIES);
        let heads = group.div_ceil(count);
        Self {
            count,
            heads,
            tokens: TILE_QUERIES / heads,
        }
    }
}

impl Stream {
    /// Attention of a step's tokens in one layer: `[tokens, heads · head_dim]`.
    ///
    /// Row i of `qkv` is token i's `[queries | keys | values]` of `heads`, `kv_heads` and `kv_heads` heads.
    /// First keys and values go to their slots of the cache's layer; then each token attends to the
    /// positions up to its own, of which only the last `sliding_window` if there is one.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// The shapes do not fit each other or the cache, or a slot lies beyond it.
    pub fn attend(
        &self,
        cache: &KvCache,
        layer: usize,
        params: &AttentionParams,
        qkv: &Tensor,
        step: &AttentionStep,
    ) -> Result<Tensor, GpuError> {
        let (heads, head_dim) = (params.heads, params.head_dim);
        assert_eq!(
            params.kv_heads, cache.kv_heads,
            "key-value heads of the cache"
        );
        assert_eq!(head_dim, cache.layout.head_dim, "head size of the cache");
        assert!(
            heads > 0 && heads.is_multiple_of(params.kv_heads),
            "{heads} query heads do not divide into {} groups",
            params.kv_heads
        );
        assert_ne!(params.sliding_window, Some(0), "a window of no positions");
        assert_eq!(qkv.rows, step.rows, "rows of the step");
        assert_eq!(
            qkv.columns,
            (heads + 2 * params.kv_heads) * head_dim,
            "columns of queries, keys and values"
        );
        if let Some(slot) = step.last_slot {
            let slots = cache.num_blocks * BLOCK_SIZE;
            assert!((slot as usize) < slots, "slot {slot} of {slots}");
        }
        let layer = Layer {
            stream: self,
            cache,
            layer: &cache.layers[layer],
            params,
            qkv,
            step,
        };
        let out = self.tensor(step.rows, heads * head_dim)?;
        if step.rows > 0 {
            layer.store()?;
            layer.attend(&out)?;
        }
        Ok(out)
    }
}

impl Layer<'_> {
    /// Writes the step's keys and values.
    fn store(&self) -> Result<(), GpuError> {
        let layout = self.cache.layout;
        let (heads, kv_heads) = (self.params.heads, self.params.kv_heads);
        let first_key = heads * layout.head_dim;
        let count = self.step.rows * kv_heads * layout.store_units();
        let immediates = [
            count,
            kv_heads,
            self.qkv.columns,
            first_key,
            first_key + kv_heads * layout.head_dim,
            self.cache.num_blocks * BLOCK_SIZE,
        ];
        self.stream.run(Call {
            key: &format!("store-{:?}-{}", layout.dtype, layout.head_dim),
            source: &|| {
                layout
                    .template()
                    .expand(include_str!("../shaders/store.wgsl"))
            },
            buffers: &[
                Binding::Read(&self.qkv.buffer),
                Binding::Read(&self.step.slots.buffer),
                Binding::Write(&self.layer.keys),
                Binding::Write(&self.layer.values),
            ],
            immediates: &immediates.map(|n| n as u32),
            groups: grid(count, LANES),
        })
    }

    /// Attends to what the cache holds.
    fn attend(&self, out: &Tensor) -> Result<(), GpuError> {
        let tiles = Tiles::new(self.params);
        // Sums, their maximum, the sum of weights.
        let state_words = self.params.heads * (self.params.head_dim + 2);
        let most = (self.stream.device().info().max_binding_bytes as usize).min(MAX_STATE_BYTES);
        let key = PlanKey {
            window: self.params.sliding_window.unwrap_or(0),
            tile_tokens: tiles.tokens,
            max_states: most / (4 * state_words),
        };
        let plan = self.step.plan(self.stream, key)?;
        for pass in &plan.passes {
            let states = self.stream.tensor(pass.states, state_words)?;
            let single = Tiles { tokens: 1, ..tiles };
            self.splits(&plan, pass.single.clone(), single, &states)?;
            self.splits(&plan, pass.tiled.clone(), tiles, &states)?;
            self.merge(&plan, pass, &states, out)?;
        }
        Ok(())
    }

    /// The states of some items.
    fn splits(
        &self,
        plan: &UploadedPlan,
        items: std::ops::Range<usize>,
        tiles: Tiles,
        states: &Tensor,
    ) -> Result<(), GpuError> {
        if items.is_empty() {
            return Ok(());
        }
        let layout = self.cache.layout;
        let queries = tiles.heads * tiles.tokens;
        let source = || {
            let template = layout
                .template()
                .set("QUERIES", queries)
                .set("TILE_HEADS", tiles.heads)
                .set("HEAD_TILES", tiles.count)
                .set("SPLIT", SPLIT)
                .set("PART", PART)
                .set("RUN", run(queries * layout.elements_each()));
            template.expand(&format!("{EXP}{}", include_str!("../shaders/attend.wgsl")))
        };
        self.stream.run(Call {
            key: &format!(
                "attend-{:?}-{}-{queries}-{}-{}",
                layout.dtype, layout.head_dim, tiles.heads, tiles.count
            ),
            source: &source,
            buffers: &[
                Binding::Read(&self.qkv.buffer),
                Binding::Read(&self.layer.keys),
                Binding::Read(&self.layer.values),
                Binding::Read(&plan.items.buffer),
                Binding::Read(&plan.tokens.buffer),
                Binding::Read(&self.step.block_tables.buffer),
                Binding::Write(&states.buffer),
            ],
            immediates: &[
                items.start as u32,
                items.len() as u32,
                self.params.heads as u32,
                self.params.kv_heads as u32,
                self.qkv.columns as u32,
                self.window(),
                self.cache.num_blocks as u32,
                self.params.scale.to_bits(),
                self.params.softcap.unwrap_or(0.0).to_bits(),
            ],
            groups: grid(items.len() * self.params.kv_heads * tiles.count, 1),
        })
    }

    /// The results of a pass's tokens.
    fn merge(
        &self,
        plan: &UploadedPlan,
        pass: &Pass,
        states: &Tensor,
        out: &Tensor,
    ) -> Result<(), GpuError> {
        let layout = self.cache.layout;
        let source = || {
            let text = format!("{EXP}{}", include_str!("../shaders/merge.wgsl"));
            let template = layout.template().set("SPLIT", SPLIT);
            template.set("AHEAD", MERGE_AHEAD).expand(&text)
        };
        self.stream.run(Call {
            key: &format!("merge-{}", layout.head_dim),
            source: &source,
            buffers: &[
                Binding::Read(&states.buffer),
                Binding::Read(&plan.tokens.buffer),
                Binding::Write(&out.buffer),
            ],
            immediates: &[
                pass.tokens.start as u32,
                pass.tokens.len() as u32,
                self.params.heads as u32,
                self.window(),
            ],
            groups: grid(pass.tokens.len() * self.params.heads, 1),
        })
    }

    /// The window, as kernels know it.
    fn window(&self) -> u32 {
        let window = self.params.sliding_window.unwrap_or(0);
        // One that is longer than any context is none.
        u32::try_from(window).unwrap_or(0)
    }
}
