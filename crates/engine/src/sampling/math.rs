//! Passes over a whole row of logits, written so that the compiler vectorises them.
//!
//! Sums are taken in a fixed order (lanes, then blocks in `f64`), so that they are the same bits
//! wherever and whenever a row is looked at.

/// Values summed in `f32` before they go into an `f64`.
const LANES: usize = 16;

/// The largest value; negative infinity if there is none. NaN is passed over.
pub(super) fn max(values: &[f32]) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            // Unlike `f32::max`, this is one instruction.
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(
        f32::NEG_INFINITY,
        |best, &value| if value > best { value } else { best },
    )
}

/// Index of the first of the largest values, or `None` if no value is above negative infinity.
pub(super) fn argmax(values: &[f32]) -> Option<usize> {
    const BLOCK: usize = 1024;
    let (mut best, mut block) = (f32::NEG_INFINITY, 0);
    for (i, values) in values.chunks(BLOCK).enumerate() {
        let largest = max(values);
        if largest > best {
            (best, block) = (largest, i);
        }
    }
    let start = block * BLOCK;
    let block = values.get(start..)?.iter().take(BLOCK);
    (best > f32::NEG_INFINITY).then(|| {
        block
            .zip(start..)
            .find(|(value, _)| **value == best)
            .map(|(_, i)| i)
    })?
}

/// `e^x` for `x <= 0`, within 2 ulp of the exact value; 0 below -87.
///
/// Cephes' `expf`: `x = n ln 2 + r` with `|r| <= ln 2 / 2`, a polynomial for `e^r`, and `2^n` put
/// together from its bits. No branches, so that loops over it vectorise.
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer
    const LN_2_HIGH: f32 = 0.693_359_375;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x < -87.0 { -87.0 } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p * r + coefficient;
    }
    let power = f32::from_bits((shifted.to_bits().wrapping_add(127)) << 23);
    let value = (p * r * r + r + 1.0) * power;
    if x < -87.0 { 0.0 } else { value }
}

/// `Σ e^((x - max) * scale)`, where `max` is at least every `x`.
pub(super) fn sum_exp(values: &[f32], max: f32, scale: f32) -> f64 {
    values
        .chunks(1024)
        .map(|block| sum_exp_block(block, max, scale))
        .sum()
}

fn sum_exp_block(block: &[f32], max: f32, scale: f32) -> f64 {
    let (chunks, rest) = block.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += exp((value - max) * scale);
        }
    }
    let rest: f64 = rest
        .iter()
        .map(|&value| f64::from(exp((value - max) * scale)))
        .sum();
    lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>() + rest
}

/// Natural logarithm of `Σ e^x`; negative infinity if every value is.
pub(super) fn log_sum_exp(values: &[f32]) -> f64 {
    let max = max(values);
    if max == f32::NEG_INFINITY {
        return f64::NEG_INFINITY;
    }
    f64::from(max) + sum_exp(values, max, 1.0).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_2_ulp() {
        for i in 0..=870_000 {
            let x = i as f32 * -1e-4;
            let exact = f64::from(x).exp();
            let ulp = f64::from(f32::EPSILON) * exact;
            assert!(
                (f64::from(exp(x)) - exact).abs() <= 2.0 * ulp,
                "exp({x}) = {} not {exact}",
                exp(x)
            );
        }
        assert_eq!(
            (exp(0.0), exp(-88.0), exp(f32::NEG_INFINITY)),
            (1.0, 0.0, 0.0)
        );
    }

    #[test]
    fn argmax_takes_the_first_of_equals_and_ignores_what_is_excluded() {
        let mut values = vec![f32::NEG_INFINITY; 5000];
        assert_eq!(argmax(&values), None);
        assert_eq!(argmax(&[]), None);
        (values[4999], values[3000], values[1500]) = (2.0, 2.0, 1.0);
        assert_eq!(argmax(&values), Some(3000));
        values[7] = f32::NAN;
        assert_eq!(argmax(&values), Some(3000));
        assert_eq!(argmax(&[f32::NAN; 40]), None);
    }

    #[test]
    fn log_sum_exp_agrees_with_the_definition() {
        let values: Vec<f32> = (0..3001).map(|i| (i as f32 * 0.37).sin() * 20.0).collect();
        let exact = values.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
        assert!((log_sum_exp(&values) - exact).abs() < 1e-6);
        assert_eq!(log_sum_exp(&[f32::NEG_INFINITY; 3]), f64::NEG_INFINITY);
    }
}
