// The first half of the elements plus the second.

@group(0) @binding(0) var<storage, read_write> y: array<f32>;

struct Shape { count: u32 }
var<immediate> shape: Shape;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lid: u32,
) {
    let i = (wg.x + wg.y * count.x) * 64u + lid;
    if (i < shape.count) {
        y[i] = y[i] + y[i + shape.count];
    }
}
