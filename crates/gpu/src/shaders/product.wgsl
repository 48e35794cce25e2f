// R strips of 16 rows times up to T rows of inputs: see product.rs. A workgroup is 16 rows times 8
// splits of the columns; grid: x is the tile of inputs, y and z the R strips.

@group(0) @binding(0) var<storage, read> w: array<u32>;
#if QUANTIZED
// Records of three: codes, codes, (scale, sum, sums of the halves).
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
#end
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#if BIAS
@group(0) @binding(3) var<storage, read> bias: array<f32>;
#end
#if STACK
// For each row of outputs its matrix.
@group(0) @binding(3) var<storage, read> matrix_of: array<u32>;
#end

struct Shape {
    // Strips and rows of this piece of the matrix (of one matrix of a stack), words of a strip.
    strips: u32,
    rows: u32,
    strip_words: u32,
    columns: u32,
    // Rows of outputs.
    tokens: u32,
    // Columns of the output, and the first of this piece.
    width: u32,
    first: u32,
    // Of a stack: rows of outputs for each row of inputs, the first matrix of this piece, and how many.
    copies: u32,
    first_matrix: u32,
    matrices: u32,
}
var<immediate> shape: Shape;

// By row of inputs, split, and row of the strip.
var<workgroup> partial: array<f32, ${PARTIALS}>;

${WEIGHTS}

#if QUANTIZED
fn dot16(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y)
        + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

// The contribution of one group of 32 columns.
fn group_product(
    c: Codes,
    s: vec2<f32>,
    m: vec2<f32>,
    xa: vec4<u32>,
    xb: vec4<u32>,
    tail: vec4<u32>,
) -> f32 {
    let sums = bitcast<vec2<i32>>(tail.zw);
#if HALVES
    let d0 = dot16(c.a, xa) - OFFSET * sums.x;
    let d1 = dot16(c.b, xb) - OFFSET * sums.y;
    var r = f32(d0) * s.x;
    r = r + f32(d1) * s.y;
#if MINIMA
    r = r + m.x * f32(sums.x);
    r = r + m.y * f32(sums.y);
#end
#else
    let d = dot16(c.a, xa) + dot16(c.b, xb) - OFFSET * (sums.x + sums.y);
    var r = f32(d) * s.x;
#if MINIMA
    r = r + m.x * bitcast<f32>(tail.y);
#end
#end
    return r * bitcast<f32>(tail.x);
}
#end

@compute @workgroup_size(128)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let strip = (wg.y + wg.z * count.y) * ${R}u;
    if (strip >= shape.strips) {
        return;
    }
    let token = wg.x * ${T}u;
    let row = lid & 15u;
    let split = lid >> 4u;
#if STACK
    let matrix = matrix_of[token] - shape.first_matrix;
    if (matrix >= shape.matrices) {
        return;
    }
    let stack_base = matrix * shape.strips * shape.strip_words;
    let token_in = token / shape.copies;
    let last = token_in;
#else
    let token_in = token;
    let last = shape.tokens - 1u;
#end
    let groups = (shape.columns + 31u) / 32u;
#if QUANTIZED
    fill_table(lid, 128u);
    workgroupBarrier();
    let x_row = groups * 3u;
#else
    let x_row = shape.columns;
#end
    // Strips and rows of inputs beyond the last are the last again, and are not written.
#for r R
    var base${r} = min(strip + ${r}u, shape.strips - 1u) * shape.strip_words;
#if STACK
    base${r} += stack_base;
#end
#end
#for t T
    let x${t} = min(token_in + ${t}u, last) * x_row;
#for r R
    var sum${r}_${t} = 0.0;
#end
#end
    for (var g = split; g < groups; g += 8u) {
#if QUANTIZED
        let i = g % GROUPS;
        let block_offset = (g / GROUPS) * BLOCK_WORDS;
        let codes_offset = block_offset + HEADER_WORDS + i * GROUP_WORDS + row;
#for r R
        let c${r} = codes(base${r} + codes_offset);
        let s${r} = scales(base${r} + block_offset, i, row);
        let m${r} = minima(base${r} + block_offset, i, row);
#end
#for t T
        {
            let at = x${t} + g * 3u;
            let xa = x[at];
            let xb = x[at + 1u];
            let tail = x[at + 2u];
#for r R
            sum${r}_${t} = sum${r}_${t} + group_product(c${r}, s${r}, m${r}, xa, xb, tail);
#end
        }
#end
#else
        let end = min(g * 32u + 32u, shape.columns);
#for t T
#for r R
        var chain${r}_${t} = 0.0;
#end
#end
        for (var k = g * 32u; k < end; k++) {
#for r R
            let w${r} = weight(base${r}, k, row);
#end
#for t T
            let x${t}_k = x[x${t} + k];
#for r R
            chain${r}_${t} = chain${r}_${t} + x${t}_k * w${r};
#end
#end
        }
#for t T
#for r R
        sum${r}_${t} = sum${r}_${t} + chain${r}_${t};
#end
#end
#end
    }
#for r R
    // The partial sums are added in the order of splits.
#for t T
    partial[${t}u * 128u + lid] = sum${r}_${t};
#end
    workgroupBarrier();
    for (var i = lid; i < ${T}u * 16u; i += 128u) {
        let t = i >> 4u;
        let start = t * 128u + (i & 15u);
        var sum = partial[start];
        for (var split = 1u; split < 8u; split++) {
            sum = sum + partial[start + split * 16u];
        }
        let column = (strip + ${r}u) * 16u + (i & 15u);
        if (token + t < shape.tokens && column < shape.rows) {
            let at = shape.first + column;
#if BIAS
            sum = sum + bias[at];
#end
            y[(token + t) * shape.width + at] = sum;
        }
    }
    workgroupBarrier();
#end
}
