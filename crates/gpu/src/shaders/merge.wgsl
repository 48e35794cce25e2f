// Merges the states of a query's splits, in ascending order, into its result: a workgroup for each
// token and head. The first split replaces the empty state bit for bit.

struct Params {
    first_token: u32,
    tokens: u32,
    heads: u32,
    window: u32,
}

const HEAD_DIM = ${HEAD_DIM}u;
const SPLIT = 512u;
const LOWEST = -3.0e38;

// As in attend.wgsl.
@group(0) @binding(0) var<storage, read> states: array<f32>;
@group(0) @binding(1) var<storage, read> tokens: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.x + group.y * groups.x;
    if index >= p.tokens * p.heads {
        return;
    }
    let token = p.first_token + index / p.heads;
    let head = index % p.heads;
    let position = tokens[token].x;
    let begin = select(0u, position + 1u - p.window, p.window > 0u && position >= p.window);
    let splits = position / SPLIT + 1u - begin / SPLIT;
    var maximum = LOWEST;
    var sum = 0.0;
#for j DIMS_EACH
    var acc${j} = 0.0;
#end
    for (var split = 0u; split < splits; split++) {
        let state = ((tokens[token].z + split) * p.heads + head) * (HEAD_DIM + 2u);
        let split_maximum = states[state + HEAD_DIM];
        let largest = max(maximum, split_maximum);
        let kept = exp_negative(maximum - largest);
        let added = exp_negative(split_maximum - largest);
        maximum = largest;
        sum = sum * kept + states[state + HEAD_DIM + 1u] * added;
#for j DIMS_EACH
        if lane + ${j}u * 64u < HEAD_DIM {
            acc${j} = acc${j} * kept + states[state + lane + ${j}u * 64u] * added;
        }
#end
    }
    let start = (token * p.heads + head) * HEAD_DIM;
#for j DIMS_EACH
    if lane + ${j}u * 64u < HEAD_DIM {
        out[start + lane + ${j}u * 64u] = acc${j} / sum;
    }
#end
}
