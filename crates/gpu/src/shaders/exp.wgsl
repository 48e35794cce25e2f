// Exponentials from additions and multiplications alone: what a driver's own `exp` gives is its own
// affair, and its relative error grows with the argument.

// exp(x) for x <= 0, to about an ULP; 0 below -87.33, where results would be subnormal. A NaN stays
// one. x = n ln 2 + r with an integer n; exp(r) = 1 + r + r^2 P(r), as in the kernels of the CPU.
fn exp_negative(x: f32) -> f32 {
    let bounded = select(x, -88.0, x < -88.0);
    let n = floor(bounded * 1.44269504 + 0.5);
    // ln 2 in two parts; the first has 15 bits, so that its product with n is exact.
    let r = (bounded - n * 0.69314575) - n * 1.4286068e-6;
    var p = 0.0013814584;
    p = p * r + 0.008368724;
    p = p * r + 0.04166839;
    p = p * r + 0.16666521;
    p = p * r + 0.49999994;
    let exp_r = ((r * r) * p + r) + 1.0;
    let scaled = exp_r * bitcast<f32>((i32(n) + 127) << 23u);
    return select(scaled, 0.0, x < -87.33);
}

// 1 / (1 + exp(-x)), with its relative accuracy kept where it is small.
fn sigmoid(x: f32) -> f32 {
    let e = exp_negative(-abs(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

fn tanh_by_exp(x: f32) -> f32 {
    let e = exp_negative(-2.0 * abs(x));
    let magnitude = (1.0 - e) / (1.0 + e);
    return select(magnitude, -magnitude, x < 0.0);
}
