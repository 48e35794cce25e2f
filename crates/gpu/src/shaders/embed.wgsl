// Rows of a matrix as floats. An invocation reads a group of columns of a row.

const GROUP = ${GROUP}u;
const STRIP_ROWS = ${STRIP_ROWS}u;
const LANES = ${LANES}u;

@group(0) @binding(0) var<storage, read> w: array<u32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

struct Shape {
    // Rows to read.
    count: u32,
    columns: u32,
    strip_words: u32,
    // The rows that this piece of the matrix holds.
    first: u32,
    rows: u32,
}
var<immediate> shape: Shape;

${WEIGHTS}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
#if QUANTIZED
    fill_table(lid, LANES);
    workgroupBarrier();
#end
    let groups = (shape.columns + GROUP - 1u) / GROUP;
    let id = (wg.x + wg.y * count.x) * LANES + lid;
    let token = id / groups;
    if (token >= shape.count) {
        return;
    }
    let row = ids[token] - shape.first;
    if (row >= shape.rows) {
        return;
    }
    let g = id % groups;
    let base = (row / STRIP_ROWS) * shape.strip_words;
    var at = token * shape.columns + g * GROUP;
#if QUANTIZED
    let block = base + (g / GROUPS) * BLOCK_WORDS;
    let i = g % GROUPS;
    let c = codes(block + HEADER_WORDS + i * GROUP_WORDS + row % STRIP_ROWS);
    let s = scales(block, i, row % STRIP_ROWS);
    let m = minima(block, i, row % STRIP_ROWS);
#for v VECTORS
    for (var k = 0u; k < 4u; k++) {
        let value = extractBits(bitcast<i32>(c.a[${v}]), 8u * k, 8u) - OFFSET;
#if MINIMA
        y[at + ${v}u * 4u + k] = s.x * f32(value) + m.x;
#else
        y[at + ${v}u * 4u + k] = s.x * f32(value);
#end
    }
    for (var k = 0u; k < 4u; k++) {
        let value = extractBits(bitcast<i32>(c.b[${v}]), 8u * k, 8u) - OFFSET;
#if MINIMA
        y[at + GROUP / 2u + ${v}u * 4u + k] = s.y * f32(value) + m.y;
#else
        y[at + GROUP / 2u + ${v}u * 4u + k] = s.y * f32(value);
#end
    }
#end
#else
    let end = min(g * GROUP + GROUP, shape.columns);
    for (var k = g * GROUP; k < end; k++) {
        y[at] = weight(base, k, row % STRIP_ROWS);
        at++;
    }
#end
}
