//! What the tests of this crate share.

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{Context, Isa};

/// Every instruction set of this CPU with one, two and three threads.
pub(crate) fn contexts() -> Vec<Context> {
    let isas = Isa::available();
    let threads = [1, 2, 3];
    isas.iter()
        .flat_map(|isa| threads.map(|threads| Context::new(*isa, threads)))
        .collect()
}

/// `len` numbers that look like activations: about normal, mostly within ±3.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut normal = || (0..4).map(|_| rng.random_range(-1.0..1.0f32)).sum::<f32>();
    (0..len).map(|_| normal()).collect()
}
