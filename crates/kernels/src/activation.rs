//! Activations and other element-wise operations on whole tensors.
//!
//! silu(x) = x · σ(x); gelu's tanh form is x · σ(2y) with y = √(2/π) · (x + 0.044715 · x³), since
//! (1 + tanh y) / 2 = σ(2y). Both keep their relative accuracy where the result is small.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use crate::Context;
use crate::norm::AddAssign;
use crate::rows::for_row_part;
use crate::simd::{Kernel, LANES, Simd, dispatch, sigmoid};

/// `out[i] = silu(gate[i]) · up[i]`; `gate_up` is [rows, 2·ff], the gate before the up projection.
///
/// # Panics
/// The lengths do not fit each other.
pub fn swiglu(ctx: &Context, gate_up: &[f32], ff: usize, out: &mut [f32]) {
    gated(ctx, Silu, gate_up, ff, out);
}

/// `out[i] = gelu(gate[i]) · up[i]` with gelu's tanh form; shapes as in [`swiglu`].
///
/// # Panics
/// The lengths do not fit each other.
pub fn geglu_tanh(ctx: &Context, gate_up: &[f32], ff: usize, out: &mut [f32]) {
    gated(ctx, GeluTanh, gate_up, ff, out);
}

/// `x[i] = silu(x[i])`.
pub fn silu(ctx: &Context, x: &mut [f32]) {
    for_row_part(ctx, x.len(), (x, 1), |_, x| {
        dispatch(ctx.isa(), InPlace { function: Silu, x });
    });
}

/// `x[i] = gelu(x[i])`, gelu's tanh form.
pub fn gelu_tanh(ctx: &Context, x: &mut [f32]) {
    for_row_part(ctx, x.len(), (x, 1), |_, x| {
        let function = GeluTanh;
        dispatch(ctx.isa(), InPlace { function, x });
    });
}

/// `a[i] += b[i]`.
///
/// # Panics
/// The lengths differ.
pub fn add(ctx: &Context, a: &mut [f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "operands differ in length");
    for_row_part(ctx, a.len(), (a, 1), |part, a| {
        dispatch(ctx.isa(), AddAssign { a, b: &b[part] });
    });
}

/// Adds `bias` to each row of `x`.
///
/// # Panics
/// `x` is not whole rows of `bias.len()` elements.
pub fn add_bias(ctx: &Context, x: &mut [f32], bias: &[f32]) {
    let n = bias.len();
    if n == 0 && x.is_empty() {
        return;
    }
    assert!(
        x.len().is_multiple_of(n),
        "{} elements are not whole rows of {n}",
        x.len()
    );
    for_row_part(ctx, x.len() / n, (x, n), |_, x| {
        for a in x.chunks_exact_mut(n) {
            dispatch(ctx.isa(), AddAssign { a, b: bias });
        }
    });
}

/// `x[i] = cap · tanh(x[i] / cap)`, of the standard library: the same bits on every instruction set.
pub fn softcap(ctx: &Context, x: &mut [f32], cap: f32) {
    for_row_part(ctx, x.len(), (x, 1), |_, x| {
        x.iter_mut().for_each(|x| *x = cap * (*x / cap).tanh());
    });
}

/// `x[i] *= factor`.
pub fn scale(ctx: &Context, x: &mut [f32], factor: f32) {
    for_row_part(ctx, x.len(), (x, 1), |_, x| {
        dispatch(ctx.isa(), Scale { x, factor });
    });
}

/// A function of one number, lane by lane.
trait Activation: Copy + Sync {
    fn apply<S: Simd>(self, simd: S, x: S::F32) -> S::F32;
}

#[derive(Clone, Copy)]
struct Silu;

impl Activation for Silu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::F32) -> S::F32 {
        simd.mul(x, sigmoid(simd, x))
    }
}

#[derive(Clone, Copy)]
struct GeluTanh;

impl Activation for GeluTanh {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::F32) -> S::F32 {
        /// 2 · √(2/π).
        const A: f32 = (2.0 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2) as f32;
        const B: f32 = A * 0.044_715;
        let square = simd.mul(x, x);
        let polynomial = simd.mul_add(square, simd.splat(B), simd.splat(A));
        simd.mul(x, sigmoid(simd, simd.mul(x, polynomial)))
    }
}

fn gated<F: Activation>(ctx: &Context, function: F, gate_up: &[f32], ff: usize, out: &mut [f32]) {
    assert_eq!(
        gate_up.len(),
        2 * out.len(),
        "gate and up are not twice the output"
    );
    if ff == 0 {
        return;
    }
    assert!(
        out.len().is_multiple_of(ff),
        "{} elements are not whole rows of {ff}",
        out.len()
    );
    for_row_part(ctx, out.len() / ff, (out, ff), |rows, out| {
        let gate_up = &gate_up[2 * ff * rows.start..2 * ff * rows.end];
        for (gate_up, out) in gate_up.chunks_exact(2 * ff).zip(out.chunks_exact_mut(ff)) {
            let (gate, up) = gate_up.split_at(ff);
            dispatch(
                ctx.isa(),
                Gated {
                    function,
                    gate,
                    up,
                    out,
                },
            );
        }
    });
}

struct Gated<'a, F> {
    function: F,
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl<F: Activation> Kernel for Gated<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (gate, gate_tail) = self.gate.as_chunks::<LANES>();
        let (up, up_tail) = self.up.as_chunks::<LANES>();
        let (out, out_tail) = self.out.as_chunks_mut::<LANES>();
        for ((gate, up), out) in gate.iter().zip(up).zip(out) {
            let activated = self.function.apply(simd, simd.load(gate));
            simd.store(out, simd.mul(activated, simd.load(up)));
        }
        if !out_tail.is_empty() {
            let activated = self.function.apply(simd, simd.load_partial(gate_tail, 0.0));
            let up = simd.load_partial(up_tail, 0.0);
            simd.store_partial(out_tail, simd.mul(activated, up));
        }
    }
}

struct InPlace<'a, F> {
    function: F,
    x: &'a mut [f32],
}

impl<F: Activation> Kernel for InPlace<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (x, tail) = self.x.as_chunks_mut::<LANES>();
        for x in x {
            simd.store(x, self.function.apply(simd, simd.load(x)));
        }
        if !tail.is_empty() {
            let y = self.function.apply(simd, simd.load_partial(tail, 0.0));
            simd.store_partial(tail, y);
        }
    }
}

/// `x *= factor`.
pub(crate) struct Scale<'a> {
    pub(crate) x: &'a mut [f32],
    pub(crate) factor: f32,
}

impl Kernel for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for x in self.x {
            *x *= self.factor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{contexts, noise};

    fn silu_reference(x: f32) -> f64 {
        let x = f64::from(x);
        x / (1.0 + (-x).exp())
    }

    fn gelu_reference(x: f32) -> f64 {
        let x = f64::from(x);
        let y = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        // x · (1 + tanh y) / 2 without the cancellation.
        x / (1.0 + (-2.0 * y).exp())
    }

    fn assert_close(value: f32, exact: f64, relative: f64) {
        let error = (f64::from(value) - exact).abs();
        assert!(
            error <= relative * exact.abs() + 1e-36,
            "{value} is not {exact}"
        );
    }

    #[test]
    fn activations_agree_with_their_definitions() {
        let x: Vec<f32> = (-20_000..20_003).map(|i| i as f32 * 1e-3).collect();
        for ctx in contexts() {
            let mut y = x.clone();
            silu(&ctx, &mut y);
            x.iter()
                .zip(&y)
                .for_each(|(x, y)| assert_close(*y, silu_reference(*x), 4e-7));
            let mut y = x.clone();
            gelu_tanh(&ctx, &mut y);
            // The argument of exp reaches 100 here, and its relative error counts that often.
            x.iter()
                .zip(&y)
                .for_each(|(x, y)| assert_close(*y, gelu_reference(*x), 2e-5));
        }
    }

    #[test]
    fn extreme_inputs_saturate() {
        for ctx in contexts() {
            for (function, name) in [
                (silu as fn(&Context, &mut [f32]), "silu"),
                (gelu_tanh, "gelu"),
            ] {
                let mut x = [1e30, 200.0, -200.0, 0.0, f32::NAN];
                function(&ctx, &mut x);
                assert_eq!(x[..2], [1e30, 200.0], "{name}");
                assert!(x[2].abs() < 1e-30, "{name}: {}", x[2]);
                assert_eq!(x[3], 0.0, "{name}");
                assert!(x[4].is_nan(), "{name}");
            }
        }
    }

    #[test]
    fn gated_activations_take_the_gate_first() {
        for (rows, ff) in [(1, 5), (3, 16), (70, 576), (2, 1537)] {
            let gate_up = noise(rows * 2 * ff, 1);
            for ctx in contexts() {
                let (mut swiglu_out, mut geglu_out) = (vec![0.0; rows * ff], vec![0.0; rows * ff]);
                swiglu(&ctx, &gate_up, ff, &mut swiglu_out);
                geglu_tanh(&ctx, &gate_up, ff, &mut geglu_out);
                for row in 0..rows {
                    for i in 0..ff {
                        let gate = gate_up[row * 2 * ff + i];
                        let up = f64::from(gate_up[row * 2 * ff + ff + i]);
                        assert_close(swiglu_out[row * ff + i], silu_reference(gate) * up, 5e-7);
                        assert_close(geglu_out[row * ff + i], gelu_reference(gate) * up, 2e-6);
                    }
                }
            }
        }
    }

    #[test]
    fn biases_are_added_to_each_row() {
        for (rows, n) in [(1, 5), (3, 16), (70, 576), (2, 1537)] {
            let (x, bias) = (noise(rows * n, 3), noise(n, 4));
            let expected: Vec<f32> = (0..rows * n).map(|i| x[i] + bias[i % n]).collect();
            for ctx in contexts() {
                let mut sum = x.clone();
                add_bias(&ctx, &mut sum, &bias);
                assert_eq!(sum, expected);
            }
        }
        add_bias(&contexts()[0], &mut [], &[]);
    }

    #[test]
    fn capped_numbers_have_the_bits_of_one_thread() {
        let x: Vec<f32> = noise(50_001, 5).iter().map(|x| x * 20.0).collect();
        let expected: Vec<f32> = x.iter().map(|x| 30.0 * (x / 30.0).tanh()).collect();
        for ctx in contexts() {
            let mut capped = x.clone();
            softcap(&ctx, &mut capped, 30.0);
            assert_eq!(capped, expected);
        }
    }

    #[test]
    fn add_and_scale_do_what_they_say() {
        let (a, b) = (noise(50_001, 1), noise(50_001, 2));
        for ctx in contexts() {
            let mut sum = a.clone();
            add(&ctx, &mut sum, &b);
            scale(&ctx, &mut sum, 0.5);
            let expected: Vec<f32> = a.iter().zip(&b).map(|(a, b)| (a + b) * 0.5).collect();
            assert_eq!(sum, expected);
        }
    }
}
