//! Rotary position embedding (Su et al. 2021), in the "NeoX" layout of Hugging Face models.
//!
//! ```text
//!   head   x[0 .. d/2]      x[d/2 .. d]       x[d .. head_dim]        d = rotary_dim
//!             a                  b                 unchanged
//!          a·cos − b·sin     b·cos + a·sin                             angle = position · inv_freq
//! ```
//!
//! Only this layout exists here: weights whose rows pair neighbouring elements (GGUF's Llama) are
//! permuted when they are loaded.

use crate::Context;
use crate::rows::for_row_part;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Cosines and sines for every position up to the largest seen.
pub struct RopeTable {
    inv_freq: Vec<f32>,
    magnitude: f32,
    /// For each position, `inv_freq.len()` cosines, then as many sines.
    cos_sin: Vec<f32>,
}

impl RopeTable {
    /// A table without positions; [`grow_to`](Self::grow_to) adds them. `inv_freq` holds one inverse
    /// frequency for each pair (rotary_dim / 2); cosines and sines are multiplied by `magnitude`
    /// (1 unless the scaling method says otherwise).
    pub fn new(inv_freq: Vec<f32>, magnitude: f32) -> Self {
        Self {
            inv_freq,
            magnitude,
            cos_sin: Vec::new(),
        }
    }

    /// How many elements of a head are rotated.
    pub fn rotary_dim(&self) -> usize {
        2 * self.inv_freq.len()
    }

    /// How many positions the table holds: 0 up to this, exclusive.
    pub fn positions(&self) -> usize {
        self.cos_sin.len() / self.rotary_dim().max(1)
    }

    /// Extends the table to `positions` positions or more, at least doubling it where it must grow,
    /// so that a caller may ask before every step.
    pub fn grow_to(&mut self, positions: usize) {
        let have = self.positions();
        if positions <= have || self.inv_freq.is_empty() {
            return;
        }
        let positions = positions.max(2 * have);
        self.cos_sin.reserve(positions * self.rotary_dim());
        for position in have..positions {
            // The angle is rounded to f32 before its cosine is taken, as the models were trained.
            let angle = |inv_freq: &f32| f64::from(position as f32 * inv_freq);
            let cos = |f| (angle(f).cos() * f64::from(self.magnitude)) as f32;
            let sin = |f| (angle(f).sin() * f64::from(self.magnitude)) as f32;
            self.cos_sin.extend(self.inv_freq.iter().map(cos));
            self.cos_sin.extend(self.inv_freq.iter().map(sin));
        }
    }

    /// The cosines and sines of a position, `rotary_dim / 2` of each.
    ///
    /// # Panics
    /// The position lies beyond the table.
    pub fn at(&self, position: u32) -> (&[f32], &[f32]) {
        let n = self.rotary_dim();
        let position = position as usize;
        assert!(
            position < self.positions(),
            "position {position} is beyond the table"
        );
        self.cos_sin[position * n..][..n].split_at(n / 2)
    }
}

/// Rotates the queries or keys in `x`, in place. Row i belongs to `positions[i]` and starts at
/// `i · row_stride` with `heads` heads of `head_dim` elements; so `x` may be the part of a fused
/// projection that begins with the first query (or key).
///
/// # Panics
/// A position lies beyond the table, `x` is too short, or a head is smaller than `rotary_dim`.
pub fn rope_neox(
    ctx: &Context,
    table: &RopeTable,
    x: &mut [f32],
    row_stride: usize,
    heads: usize,
    head_dim: usize,
    positions: &[u32],
) {
    let rotary_dim = table.rotary_dim();
    assert!(
        rotary_dim <= head_dim,
        "{rotary_dim} of {head_dim} elements"
    );
    let row = heads * head_dim;
    assert!(row <= row_stride, "rows overlap: {row} > {row_stride}");
    if rotary_dim == 0 {
        return;
    }
    for_row_part(ctx, positions.len(), (x, row_stride), |rows, x| {
        for (x, position) in x.chunks_mut(row_stride).zip(&positions[rows]) {
            let (cos, sin) = table.at(*position);
            let x = &mut x[..row];
            let rotate = Rotate {
                x,
                head_dim,
                cos,
                sin,
            };
            dispatch(ctx.isa(), rotate);
        }
    });
}

/// The heads of one row.
struct Rotate<'a> {
    x: &'a mut [f32],
    head_dim: usize,
    cos: &'a [f32],
    sin: &'a [f32],
}

impl Kernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let half = self.cos.len();
        let (cos, cos_tail) = self.cos.as_chunks::<LANES>();
        let (sin, sin_tail) = self.sin.as_chunks::<LANES>();
        for head in self.x.chunks_exact_mut(self.head_dim) {
            let (a, b) = head[..2 * half].split_at_mut(half);
            let (a, a_tail) = a.as_chunks_mut::<LANES>();
            let (b, b_tail) = b.as_chunks_mut::<LANES>();
            for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                let (cos, sin) = (simd.load(cos), simd.load(sin));
                let [x, y] = rotate(simd, [simd.load(a), simd.load(b)], cos, sin);
                simd.store(a, x);
                simd.store(b, y);
            }
            if !a_tail.is_empty() {
                let load = |x: &[f32]| simd.load_partial(x, 0.0);
                let pair = [load(a_tail), load(b_tail)];
                let [x, y] = rotate(simd, pair, load(cos_tail), load(sin_tail));
                simd.store_partial(a_tail, x);
                simd.store_partial(b_tail, y);
            }
        }
    }
}

#[inline(always)]
fn rotate<S: Simd>(simd: S, [a, b]: [S::F32; 2], cos: S::F32, sin: S::F32) -> [S::F32; 2] {
    let minus_sin = simd.sub(simd.splat(0.0), sin);
    [
        simd.mul_add(b, minus_sin, simd.mul(a, cos)),
        simd.mul_add(a, sin, simd.mul(b, cos)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{contexts, noise};

    fn inv_freq(rotary_dim: usize) -> Vec<f32> {
        (0..rotary_dim / 2)
            .map(|i| 10_000f32.powf(-(2.0 * i as f32) / rotary_dim as f32))
            .collect()
    }

    #[test]
    fn heads_are_rotated_and_everything_else_is_left_alone() {
        for (heads, head_dim, rotary_dim) in [(3, 64, 64), (2, 80, 80), (1, 72, 72), (4, 96, 24)] {
            let (positions, gap) = ([0u32, 1, 7, 300, 4095], 10);
            let row_stride = heads * head_dim + gap;
            let x = noise(positions.len() * row_stride - gap, 1);
            let frequencies = inv_freq(rotary_dim);
            let mut table = RopeTable::new(frequencies.clone(), 1.5);
            table.grow_to(4096);
            for ctx in contexts() {
                let mut out = x.clone();
                rope_neox(
                    &ctx, &table, &mut out, row_stride, heads, head_dim, &positions,
                );
                let mut expected: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                for (row, position) in positions.iter().enumerate() {
                    for head in 0..heads {
                        for (i, frequency) in frequencies.iter().enumerate() {
                            let a = row * row_stride + head * head_dim + i;
                            let b = a + rotary_dim / 2;
                            let (sin, cos) = f64::from(*position as f32 * frequency).sin_cos();
                            let (x, y) = (expected[a], expected[b]);
                            expected[a] = 1.5 * (x * cos - y * sin);
                            expected[b] = 1.5 * (y * cos + x * sin);
                        }
                    }
                }
                for (out, expected) in out.iter().zip(expected) {
                    assert!((f64::from(*out) - expected).abs() < 2e-6);
                }
            }
        }
    }

    #[test]
    fn a_table_grown_in_steps_is_the_table_grown_at_once() {
        let mut steps = RopeTable::new(inv_freq(16), 1.0);
        for positions in [1, 2, 5, 6, 40] {
            steps.grow_to(positions);
        }
        let mut once = RopeTable::new(inv_freq(16), 1.0);
        once.grow_to(steps.positions());
        assert!(steps.positions() >= 40);
        assert_eq!(steps.cos_sin, once.cos_sin);
    }

    #[test]
    #[should_panic(expected = "position 4 is beyond the table")]
    fn a_position_beyond_the_table_panics() {
        let mut table = RopeTable::new(inv_freq(16), 1.0);
        table.grow_to(4);
        rope_neox(&contexts()[0], &table, &mut [0.0; 16], 16, 1, 16, &[4]);
    }
}
