//! Matrix products with packed weights.
#![allow(unsafe_code)] // tasks write disjoint parts of the output

use crate::Context;
use crate::memory::SharedMut;
use crate::packed::PackedMatrix;

/// `out[t, n] = x[t, k] · Wᵀ` for each of the matrices `ws`, whose outputs stand side by side: `out` is row-major
/// `[t, Σ rows]`.
///
/// # Panics
/// If the matrices differ in columns, or `x` and `out` do not hold the same number of rows.
pub fn matmul(ctx: &Context, ws: &[&PackedMatrix], x: &[f32], out: &mut [f32]) {
    let Some(cols) = ws.first().map(|w| w.cols()) else {
        return;
    };
    let width: usize = ws.iter().map(|w| w.rows()).sum();
    assert!(
        ws.iter().all(|w| w.cols() == cols),
        "matrices that share an input have equal columns"
    );
    assert_eq!(x.len() % cols, 0, "the input is whole rows of {cols}");
    assert_eq!(
        out.len(),
        x.len() / cols * width,
        "the output is whole rows of {width}"
    );
    let mut first = 0;
    for w in ws {
        let out = SharedMut::new(out);
        ctx.pool().run(w.rows(), &|r| {
            let mut row = vec![0.0; cols];
            w.row(r, &mut row);
            for (t, x) in x.chunks_exact(cols).enumerate() {
                let sum = x.iter().zip(&row).map(|(x, w)| x * w).sum();
                let at = t * width + first + r;
                // SAFETY: each row of the matrix is one task and has elements of its own.
                unsafe { out.slice_mut(at..at + 1)[0] = sum };
            }
        });
        first += w.rows();
    }
}
