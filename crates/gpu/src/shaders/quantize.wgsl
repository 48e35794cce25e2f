// Rows of f32 to records of a group of columns: words of codes, the scale, the sum of the codes as f32,
// and the sums of its halves as i32. An invocation makes a word of a record: four columns.
//
// With SPLIT the row becomes two: what the codes hold, and after all of these rows what they leave.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> records: array<u32>;

// Records of the input, in all its rows.
struct Shape { records: u32 }
var<immediate> shape: Shape;

// Columns and words of a record, its words of codes, and records of a workgroup.
const GROUP = ${GROUP}u;
const RECORD_WORDS = ${RECORD_WORDS}u;
const LANES = GROUP / 4u;
const RECORDS = ${RECORDS}u;
// No record.
const NONE = 0xffffffffu;

var<workgroup> shared_largest: array<u32, RECORDS * LANES>;
var<workgroup> shared_sums: array<i32, RECORDS * LANES>;

// Bits of the largest magnitude of a record: as an integer a NaN is the largest of all. Bits of what is
// too small to have an inverse are 0.
fn largest_of(v: vec4<f32>, lid: u32) -> u32 {
    let bits = bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu);
    shared_largest[lid] = max(max(bits.x, bits.y), max(bits.z, bits.w));
    workgroupBarrier();
    var largest = 0u;
    for (var i = 0u; i < LANES; i++) {
        largest = max(largest, shared_largest[lid - lid % LANES + i]);
    }
    workgroupBarrier();
    return select(largest, 0u, largest < 0x03aa2425u); // 1e-36
}

// Writes one record, and returns what its codes stand for.
fn quantize(v: vec4<f32>, record: u32, lid: u32) -> vec4<f32> {
    let largest = largest_of(v, lid);
    let finite = largest < 0x7f800000u;
    var scale = 0.0;
    var codes = vec4<i32>(0);
    if (finite && largest != 0u) {
        scale = bitcast<f32>(largest) / 127.0;
        let inverse = 127.0 / bitcast<f32>(largest);
        codes = clamp(vec4<i32>(round(v * inverse)), vec4<i32>(-127), vec4<i32>(127));
    }
    shared_sums[lid] = codes.x + codes.y + codes.z + codes.w;
    workgroupBarrier();
    let lane = lid % LANES;
    let bytes = bitcast<vec4<u32>>(codes) & vec4<u32>(255u);
    if (record != NONE) {
        let at = record * RECORD_WORDS;
        records[at + lane] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
        if (lane == 0u) {
            var first = 0;
            var last = 0;
            for (var i = 0u; i < LANES / 2u; i++) {
                first += shared_sums[lid + i];
                last += shared_sums[lid + LANES / 2u + i];
            }
            // What is not finite stays visible.
            records[at + LANES] = select(0x7fc00000u, bitcast<u32>(scale), finite);
            records[at + LANES + 1u] = bitcast<u32>(f32(first + last));
            records[at + LANES + 2u] = bitcast<u32>(first);
            records[at + LANES + 3u] = bitcast<u32>(last);
        }
    }
    workgroupBarrier();
    return vec4<f32>(codes) * scale;
}

@compute @workgroup_size(RECORDS * LANES)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let record = (wg.x + wg.y * count.x) * RECORDS + lid / LANES;
    let inside = record < shape.records;
    var v = vec4<f32>(0.0);
    if (inside) {
        let at = record * GROUP + lid % LANES * 4u;
        v = vec4<f32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
    }
    let coarse = quantize(v, select(NONE, record, inside), lid);
#if SPLIT
    quantize(v - coarse, select(NONE, record + shape.records, inside), lid);
#end
}
