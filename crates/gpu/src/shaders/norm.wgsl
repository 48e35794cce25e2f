// Root-mean-square normalisation: a workgroup for each row or head. Lane t sums the squares of
// elements t, t + WIDTH, ... in order; the lanes' sums are added as a tree. So a row's bits follow from its
// length alone.

struct Params {
    // Elements of a row (or head), and from the start of one row to the next.
    columns: u32,
    stride: u32,
    // Where the first head of a row starts, and how many heads there are; 0 and 1 for whole rows.
    first: u32,
    heads: u32,
    // Rows times heads.
    count: u32,
    eps: f32,
}

#if ADD
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> delta: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#end
#if ROWS
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
#end
#if HEADS
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
#end
var<immediate> p: Params;

var<workgroup> sums: array<f32, ${WIDTH}>;

@compute @workgroup_size(${WIDTH})
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.x + group.y * groups.x;
    if index >= p.count {
        return;
    }
    let start = (index / p.heads) * p.stride + p.first + (index % p.heads) * p.columns;
    var sum = 0.0;
    for (var i = lane; i < p.columns; i += ${WIDTH}u) {
#if ADD
        let value = x[start + i] + delta[start + i];
        x[start + i] = value;
#else
        let value = x[start + i];
#end
        sum = sum + value * value;
    }
    sums[lane] = sum;
    workgroupBarrier();
    for (var distance = ${WIDTH}u / 2u; distance > 0u; distance /= 2u) {
        if lane < distance {
            sums[lane] = sums[lane] + sums[lane + distance];
        }
        workgroupBarrier();
    }
    let scale = 1.0 / sqrt(sums[0] / f32(p.columns) + p.eps);
    // Each lane reads back what it wrote itself.
    for (var i = lane; i < p.columns; i += ${WIDTH}u) {
        let normed = (x[start + i] * scale) * weight[i];
#if HEADS
        x[start + i] = normed;
#else
        out[start + i] = normed;
#end
    }
}
