// Rows of a matrix as floats. An invocation reads 32 columns of a row.

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

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
#if QUANTIZED
    fill_table(lid, 64u);
    workgroupBarrier();
#end
    let groups = (shape.columns + 31u) / 32u;
    let id = (wg.x + wg.y * count.x) * 64u + lid;
    let token = id / groups;
    if (token >= shape.count) {
        return;
    }
    let row = ids[token] - shape.first;
    if (row >= shape.rows) {
        return;
    }
    let g = id % groups;
    let base = (row / 16u) * shape.strip_words;
    var at = token * shape.columns + g * 32u;
#if QUANTIZED
    let block = base + (g / GROUPS) * BLOCK_WORDS;
    let i = g % GROUPS;
    let c = codes(block + HEADER_WORDS + i * GROUP_WORDS + row % 16u);
    let s = scales(block, i, row % 16u);
    let m = minima(block, i, row % 16u);
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
        y[at + 16u + ${v}u * 4u + k] = s.y * f32(value) + m.y;
#else
        y[at + 16u + ${v}u * 4u + k] = s.y * f32(value);
#end
    }
#end
#else
    let end = min(g * 32u + 32u, shape.columns);
    for (var k = g * 32u; k < end; k++) {
        y[at] = weight(base, k, row % 16u);
        at++;
    }
#end
}
