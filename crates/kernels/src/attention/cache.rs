//! One layer's keys and values, in blocks of sixteen positions.
//!
//! ```text
//!   pool    block 0 │ block 1 │ …                    a request's block table names its blocks in order
//!   block   head 0 │ head 1 │ …                      one for each key-value head
//!   head    keys   [head_dim, 16]                    position fastest
//!           values [16, head_dim rounded up to 16]   dimension fastest
//!           scales of keys, then of values, f16      position fastest; only in 8 bits
//!                  [head_dim / 32 rounded up, 16]
//! ```
//!
//! The keys are transposed so that the scores of sixteen positions fill the lanes of a vector and no
//! product needs a horizontal sum. Keys and values of a head lie side by side (4 KiB at head size 64
//! in f16), because they are read together.
#![allow(unsafe_code)] // tasks write disjoint blocks of one pool

use half::f16;

use super::element::{CacheElement, SCALE_GROUP, groups};
use super::params::Rows;
use crate::rows::ELEMENTS_PER_TASK;
use crate::simd::{Kernel, LANES, Simd, dispatch};
use crate::{AllocError, Context, HugeBuffer, SharedMut};

/// Positions in a block.
pub const BLOCK_SIZE: usize = 16;

/// The type of the cached numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvDtype {
    /// 32 bits: exactly what the model computed.
    F32,
    /// 16 bits, rounded to nearest.
    F16,
    /// 8 bits, with an f16 scale for each 32 elements of a head.
    Q8,
}

impl KvDtype {
    /// Bytes of an element.
    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q8 => 1,
        }
    }

    /// Bytes of the scales of one head of a block.
    fn scale_bytes(self, head_dim: usize) -> usize {
        match self {
            Self::F32 | Self::F16 => 0,
            Self::Q8 => 2 * groups(head_dim) * size_of::<[f16; BLOCK_SIZE]>(),
        }
    }
}

/// The paged cache of one layer: blocks of sixteen positions, for each of them and each key-value
/// head the keys transposed, then the values, then the scales of both.
pub struct KvPool {
    memory: HugeBuffer,
    shape: CacheShape,
    dtype: KvDtype,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct CacheShape {
    pub(super) num_blocks: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    /// Vectors that the scales of a head of a block take.
    scale_vectors: usize,
}

impl CacheShape {
    /// Vectors in a row of values.
    pub(super) fn value_vectors(self) -> usize {
        self.head_dim.div_ceil(LANES)
    }

    /// Vectors of one head of a block: `head_dim` of keys, sixteen rows of values, scales.
    fn head_vectors(self) -> usize {
        self.head_dim + BLOCK_SIZE * self.value_vectors() + self.scale_vectors
    }

    fn first_vector(self, block: usize, head: usize) -> usize {
        assert!(block < self.num_blocks, "block {block} is beyond the cache");
        (block * self.kv_heads + head) * self.head_vectors()
    }
}

impl KvPool {
    /// A pool of `num_blocks` zeroed blocks. Memory is taken from the system when blocks are first
    /// written.
    ///
    /// # Errors
    /// The system has no room for it.
    pub fn new(
        num_blocks: usize,
        kv_heads: usize,
        head_dim: usize,
        dtype: KvDtype,
    ) -> Result<Self, AllocError> {
        Ok(Self {
            memory: HugeBuffer::zeroed(Self::bytes(num_blocks, kv_heads, head_dim, dtype))?,
            shape: CacheShape {
                num_blocks,
                kv_heads,
                head_dim,
                scale_vectors: dtype.scale_bytes(head_dim) / (LANES * dtype.size()),
            },
            dtype,
        })
    }

    /// How many bytes such a pool takes (`usize::MAX` if that does not fit).
    pub fn bytes(num_blocks: usize, kv_heads: usize, head_dim: usize, dtype: KvDtype) -> usize {
        let value_row = head_dim.div_ceil(LANES).saturating_mul(LANES);
        head_dim
            .saturating_add(value_row)
            .saturating_mul(BLOCK_SIZE * dtype.size())
            .saturating_add(dtype.scale_bytes(head_dim))
            .saturating_mul(kv_heads)
            .saturating_mul(num_blocks)
    }

    /// Writes the keys and values of `slots.len()` tokens; token i, row i of `k` and `v` with
    /// `[kv_heads, head_dim]` elements, goes to slot `slots[i]` = block · 16 + position in the block.
    /// The same bytes on every instruction set, unless a number is NaN.
    ///
    /// # Panics
    /// A slot lies beyond the pool, or a row beyond its slice.
    pub fn write(&mut self, ctx: &Context, slots: &[u32], k: Rows<'_>, v: Rows<'_>) {
        match self.dtype {
            KvDtype::F32 => self.write_as::<f32>(ctx, slots, k, v),
            KvDtype::F16 => self.write_as::<f16>(ctx, slots, k, v),
            KvDtype::Q8 => self.write_as::<i8>(ctx, slots, k, v),
        }
    }

    /// Tokens of one block share cache lines and, in their keys, vectors: a block belongs to one task.
    fn write_as<E: CacheElement>(
        &mut self,
        ctx: &Context,
        slots: &[u32],
        k: Rows<'_>,
        v: Rows<'_>,
    ) {
        let shape = self.shape;
        let memory: &mut [[E; LANES]] = bytemuck::cast_slice_mut(&mut self.memory);
        let memory = SharedMut::new(memory);
        let tasks = write_tasks(ctx, slots.len() * 2 * shape.kv_heads * shape.head_dim);
        ctx.pool().run(tasks, &|task| {
            for (token, slot) in slots.iter().enumerate() {
                let (block, offset) = (*slot as usize / BLOCK_SIZE, *slot as usize % BLOCK_SIZE);
                if block % tasks != task {
                    continue;
                }
                let (k, v) = (k.row(token), v.row(token));
                for head in 0..shape.kv_heads {
                    let first = shape.first_vector(block, head);
                    let vectors = first..first + shape.head_vectors();
                    let dims = head * shape.head_dim..(head + 1) * shape.head_dim;
                    let write = WriteHead {
                        // SAFETY: of one block, and blocks are disjoint; all writes to a block are
                        // in one task, one after the other.
                        cache: unsafe { memory.slice_mut(vectors) },
                        offset,
                        k: &k[dims.clone()],
                        v: &v[dims],
                    };
                    dispatch(ctx.isa(), write);
                }
            }
        });
    }

    pub(super) fn shape(&self) -> CacheShape {
        self.shape
    }

    pub(super) fn dtype(&self) -> KvDtype {
        self.dtype
    }

    /// The pool as what it holds; `E` is the type of [`dtype`](Self::dtype).
    pub(super) fn view<E: CacheElement>(&self) -> CacheView<'_, E> {
        assert_eq!(size_of::<E>(), self.dtype.size(), "the cache's own type");
        CacheView {
            memory: bytemuck::cast_slice(&self.memory),
            shape: self.shape,
        }
    }
}

/// How many tasks share a write of `elements` numbers. Each looks at all slots for its own, so there
/// are no more of them than it takes to keep the threads evenly busy.
fn write_tasks(ctx: &Context, elements: usize) -> usize {
    let most = 4 * ctx.pool().threads();
    (elements / ELEMENTS_PER_TASK).clamp(1, most)
}

/// Writes one head of one token into its block.
struct WriteHead<'a, E> {
    cache: &'a mut [[E; LANES]],
    offset: usize,
    k: &'a [f32],
    v: &'a [f32],
}

impl<E: CacheElement> Kernel for WriteHead<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (head_dim, value_row) = (self.k.len(), self.v.len().div_ceil(LANES));
        let (keys, rest) = self.cache.split_at_mut(head_dim);
        let (values, scales) = rest.split_at_mut(BLOCK_SIZE * value_row);
        let scales: &mut [[f16; BLOCK_SIZE]] = bytemuck::cast_slice_mut(scales);
        let values = &mut values[self.offset * value_row..(self.offset + 1) * value_row];
        let mut lanes = [[E::zeroed(); LANES]; SCALE_GROUP / LANES];
        for (group, k) in self.k.chunks(SCALE_GROUP).enumerate() {
            let scale = E::encode(simd, k, &mut lanes);
            let keys = &mut keys[group * SCALE_GROUP..][..k.len()];
            for (key, lane) in keys.iter_mut().zip(lanes.as_flattened()) {
                key[self.offset] = *lane;
            }
            if E::SCALED {
                scales[group][self.offset] = scale;
            }
        }
        for (group, v) in self.v.chunks(SCALE_GROUP).enumerate() {
            let scale = E::encode(simd, v, &mut values[group * (SCALE_GROUP / LANES)..]);
            if E::SCALED {
                scales[groups(head_dim) + group][self.offset] = scale;
            }
        }
    }
}

/// A [`KvPool`] to read from.
#[derive(Clone, Copy)]
pub(super) struct CacheView<'a, E> {
    memory: &'a [[E; LANES]],
    pub(super) shape: CacheShape,
}

/// One head of a block.
pub(super) struct CachedHead<'a, E> {
    /// `head_dim` vectors, a lane for each position.
    pub(super) keys: &'a [[E; LANES]],
    /// A row of [`CacheShape::value_vectors`] for each position.
    pub(super) values: &'a [[E; LANES]],
    /// The scales of each [`SCALE_GROUP`] of key dimensions, a lane for each position; empty if there are
    /// none.
    pub(super) key_scales: &'a [[f16; BLOCK_SIZE]],
    /// The same for values.
    pub(super) value_scales: &'a [[f16; BLOCK_SIZE]],
}

// Not derived: that would ask the same of `E`.
impl<E> Clone for CachedHead<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for CachedHead<'_, E> {}

impl<E> Default for CachedHead<'_, E> {
    fn default() -> Self {
        Self {
            keys: &[],
            values: &[],
            key_scales: &[],
            value_scales: &[],
        }
    }
}

impl<'a, E: CacheElement> CacheView<'a, E> {
    #[inline(always)]
    pub(super) fn head(&self, block: u32, head: usize) -> CachedHead<'a, E> {
        let shape = self.shape;
        let first = shape.first_vector(block as usize, head);
        let vectors = &self.memory[first..first + shape.head_vectors()];
        let (keys, rest) = vectors.split_at(shape.head_dim);
        let (values, scales) = rest.split_at(BLOCK_SIZE * shape.value_vectors());
        let scales: &[[f16; BLOCK_SIZE]] = bytemuck::cast_slice(scales);
        let (key_scales, value_scales) = scales.split_at(scales.len() / 2);
        CachedHead {
            keys,
            values,
            key_scales,
            value_scales,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::testing::{contexts, noise};

    fn scalar() -> Context {
        Context::new(Isa::Scalar, 1)
    }

    const DTYPES: [KvDtype; 3] = [KvDtype::F32, KvDtype::F16, KvDtype::Q8];

    /// Heads, elements of a head.
    const SHAPES: [(usize, usize); 4] = [(1, 8), (3, 64), (2, 72), (2, 80)];

    fn isas_and_shapes() -> impl Iterator<Item = (Isa, (usize, usize))> {
        let isas = Isa::available().into_iter();
        isas.flat_map(|isa| SHAPES.map(|shape| (isa, shape)))
    }

    const SLOTS: [u32; 5] = [3, 16, 47, 31, 0];

    /// Keys and values for [`SLOTS`].
    fn rows(stride: usize) -> [Vec<f32>; 2] {
        [1, 2].map(|seed| noise(SLOTS.len() * stride, seed))
    }

    /// A pool of each type with these rows written.
    fn written(
        isa: Isa,
        (kv_heads, head_dim): (usize, usize),
        rows: &[Vec<f32>; 2],
    ) -> [KvPool; 3] {
        let stride = rows[0].len() / SLOTS.len();
        let [k, v] = rows.each_ref().map(|data| Rows { data, stride });
        DTYPES.map(|dtype| {
            let mut pool = KvPool::new(3, kv_heads, head_dim, dtype).unwrap();
            pool.write(&Context::new(isa, 1), &SLOTS, k, v);
            pool
        })
    }

    #[test]
    fn what_is_written_is_read_back_transposed() {
        for (isa, shape) in isas_and_shapes() {
            let (kv_heads, head_dim) = shape;
            let stride = kv_heads * head_dim + 5;
            let rows = rows(stride);
            let largest = rows
                .iter()
                .flatten()
                .fold(0.0f32, |largest, x| largest.max(x.abs()));
            let [exact, half, q8] = written(isa, shape, &rows);
            let [k, v] = &rows;
            for (token, slot) in SLOTS.iter().enumerate() {
                for head in 0..kv_heads {
                    let offset = *slot as usize % 16;
                    let exact = exact.view::<f32>().head(slot / 16, head);
                    let half = half.view::<f16>().head(slot / 16, head);
                    let q8 = q8.view::<i8>().head(slot / 16, head);
                    for dim in 0..head_dim {
                        let element = token * stride + head * head_dim + dim;
                        let value = offset * head_dim.div_ceil(16) + dim / 16;
                        assert_eq!(exact.keys[dim][offset], k[element]);
                        assert_eq!(exact.values[value][dim % 16], v[element]);
                        assert_eq!(half.keys[dim][offset], f16::from_f32(k[element]));
                        assert_eq!(half.values[value][dim % 16], f16::from_f32(v[element]));
                        let scale = |scales: &[[f16; 16]]| scales[dim / 32][offset].to_f32();
                        let key = f32::from(q8.keys[dim][offset]) * scale(q8.key_scales);
                        let value = f32::from(q8.values[value][dim % 16]) * scale(q8.value_scales);
                        // Half a step of scales that are at most 1/127 of the largest number.
                        let bound = 0.51 / 127.0 * largest;
                        for (found, written) in [(key, k[element]), (value, v[element])] {
                            let error = (found - written).abs();
                            assert!(error < bound, "{}: {found}, not {written}", isa.name());
                        }
                    }
                }
            }
        }
    }

    /// A chunk large enough for several tasks, in blocks of no order: one slot is written twice.
    #[test]
    fn a_pool_holds_the_same_bytes_whatever_wrote_it() {
        let (kv_heads, head_dim, blocks) = (3, 72, 40);
        let stride = kv_heads * head_dim + 5;
        let mut slots: Vec<u32> = (0..blocks * 16).map(|i| i * 37 % (blocks * 16)).collect();
        slots.push(slots[5]);
        let k = noise(slots.len() * stride, 3);
        let v = noise(slots.len() * stride, 4);
        let rows = |data| Rows { data, stride };
        for dtype in [KvDtype::F32, KvDtype::F16, KvDtype::Q8] {
            let written = |ctx: &Context| {
                let mut pool = KvPool::new(blocks as usize, kv_heads, head_dim, dtype).unwrap();
                pool.write(ctx, &slots, rows(&k), rows(&v));
                pool.memory.to_vec()
            };
            let expected = written(&scalar());
            for ctx in contexts() {
                let same = written(&ctx) == expected;
                assert!(same, "{dtype:?}, {}", ctx.isa().name());
            }
        }
    }

    #[test]
    fn every_instruction_set_writes_the_same_bytes() {
        for (isa, shape) in isas_and_shapes() {
            let rows = rows(shape.0 * shape.1);
            let expected = written(Isa::Scalar, shape, &rows);
            for (pool, expected) in written(isa, shape, &rows).iter().zip(expected) {
                let same = *pool.memory == *expected.memory;
                assert!(same, "{shape:?} of {:?} with {}", pool.dtype, isa.name());
            }
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_pool() {
        for dtype in [KvDtype::F32, KvDtype::F16, KvDtype::Q8] {
            let pool = KvPool::new(5, 3, 72, dtype).unwrap();
            assert_eq!(pool.memory.len(), KvPool::bytes(5, 3, 72, dtype));
        }
        assert_eq!(KvPool::bytes(1, 8, 64, KvDtype::F16), 16 * 8 * 64 * 2 * 2);
        // 64 bytes and two scales for each key and value.
        assert_eq!(KvPool::bytes(1, 8, 64, KvDtype::Q8), 16 * 8 * 2 * (64 + 4));
    }

    #[test]
    fn a_pool_too_large_for_the_system_is_an_error() {
        assert!(KvPool::new(usize::MAX / 2, 8, 64, KvDtype::F16).is_err());
    }

    #[test]
    #[should_panic(expected = "block 1 is beyond the cache")]
    fn a_slot_beyond_the_pool_panics() {
        let mut pool = KvPool::new(1, 1, 8, KvDtype::F32).unwrap();
        let rows = Rows {
            data: &[0.0; 8],
            stride: 8,
        };
        pool.write(&scalar(), &[16], rows, rows);
    }
}
