// R strips of rows times up to T rows of inputs: see product/mod.rs. A workgroup is the rows of a strip
// times the splits of the columns; neighbouring workgroups have the same strips and other inputs.

// Rows of a strip, splits of the columns, and invocations of a workgroup.
const STRIP_ROWS = ${STRIP_ROWS}u;
const SPLITS = ${SPLITS}u;
const SIZE = STRIP_ROWS * SPLITS;
// Columns that follow each other in a split.
const GROUP = ${GROUP}u;

@group(0) @binding(0) var<storage, read> w: array<u32>;
#if QUANTIZED
// Records of a group: codes, codes, (scale, sum, sums of the halves).
const RECORD_VECTORS = ${RECORD_VECTORS}u;
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
var<workgroup> partial: array<f32, ${T}u * SIZE>;

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

@compute @workgroup_size(SIZE)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    // The grid is folded: there may be more tiles of inputs than a dimension takes.
    let index = wg.x + wg.y * count.x;
    let tiles = (shape.tokens + ${T}u - 1u) / ${T}u;
    let strip = index / tiles * ${R}u;
    if (strip >= shape.strips) {
        return;
    }
    let token = index % tiles * ${T}u;
    let row = lid % STRIP_ROWS;
    let split = lid / STRIP_ROWS;
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
    let groups = (shape.columns + GROUP - 1u) / GROUP;
#if QUANTIZED
    fill_table(lid, SIZE);
    workgroupBarrier();
    let x_row = groups * RECORD_VECTORS;
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
#if QUANTIZED
    // With few rows of inputs there is little to do between loads, and memory is waited for: so the
    // weights of several groups are loaded before the first is used. They are added in ascending order
    // all the same. Beyond the last group the first is loaded again, and not added.
    for (var first = split; first < groups; first += SPLITS * ${AHEAD}u) {
#for u AHEAD
        let ahead${u} = first + SPLITS * ${u}u;
#if SEVERAL
        let g${u} = select(first, ahead${u}, ahead${u} < groups);
#else
        let g${u} = first;
#end
        let i${u} = g${u} % GROUPS;
        let block${u} = g${u} / GROUPS * BLOCK_WORDS;
        let codes${u} = block${u} + HEADER_WORDS + i${u} * GROUP_WORDS + row;
#for r R
        let c${u}_${r} = codes(base${r} + codes${u});
        let s${u}_${r} = scales(base${r} + block${u}, i${u}, row);
        let m${u}_${r} = minima(base${r} + block${u}, i${u}, row);
#end
#end
#for u AHEAD
#for t T
        {
            let at = x${t} + g${u} * RECORD_VECTORS;
            let xa = x[at];
            let xb = x[at + 1u];
            let tail = x[at + 2u];
#for r R
            let next${r} = sum${r}_${t}
                + group_product(c${u}_${r}, s${u}_${r}, m${u}_${r}, xa, xb, tail);
#if SEVERAL
            sum${r}_${t} = select(sum${r}_${t}, next${r}, ahead${u} < groups);
#else
            sum${r}_${t} = next${r};
#end
#end
        }
#end
#end
    }
#else
    for (var g = split; g < groups; g += SPLITS) {
        let end = min(g * GROUP + GROUP, shape.columns);
#for t T
#for r R
        var chain${r}_${t} = 0.0;
#end
#end
        var k = g * GROUP;
        // Several columns are loaded before the first is used: as above.
        for (; k + ${AHEAD}u <= end; k += ${AHEAD}u) {
#for u AHEAD
#for r R
            let w${u}_${r} = weight(base${r}, k + ${u}u, row);
#end
#end
#for u AHEAD
#for t T
            let x${u}_${t} = x[x${t} + k + ${u}u];
#for r R
            chain${r}_${t} = chain${r}_${t} + x${u}_${t} * w${u}_${r};
#end
#end
#end
        }
        for (; k < end; k++) {
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
    }
#end
#for r R
    // The partial sums are added in the order of splits.
#for t T
    partial[${t}u * SIZE + lid] = sum${r}_${t};
#end
    workgroupBarrier();
    for (var i = lid; i < ${T}u * STRIP_ROWS; i += SIZE) {
        let t = i / STRIP_ROWS;
        let start = t * SIZE + i % STRIP_ROWS;
        var sum = partial[start];
        for (var split = 1u; split < SPLITS; split++) {
            sum = sum + partial[start + split * STRIP_ROWS];
        }
        let column = (strip + ${r}u) * STRIP_ROWS + i % STRIP_ROWS;
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
