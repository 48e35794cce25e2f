// Merges the states of a query's splits, in ascending order, into its result: a workgroup for each
// token and head. The first split replaces the empty state bit for bit.

struct Params {
    first_token: u32,
    tokens: u32,
    heads: u32,
    window: u32,
}

const HEAD_DIM = ${HEAD_DIM}u;
const SPLIT = ${SPLIT}u;
const LANES = ${LANES}u;
const LOWEST = -3.0e38;

// As in attend.wgsl.
@group(0) @binding(0) var<storage, read> states: array<f32>;
@group(0) @binding(1) var<storage, read> tokens: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
var<immediate> p: Params;

@compute @workgroup_size(LANES)
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
    // Several splits' states are loaded before the first is used: a long context has many. Beyond the last
    // it is loaded again, and not added.
    for (var first = 0u; first < splits; first += ${AHEAD}u) {
#for k AHEAD
        let split${k} = tokens[token].z + min(first + ${k}u, splits - 1u);
        let state${k} = (split${k} * p.heads + head) * (HEAD_DIM + 2u);
        let maximum${k} = states[state${k} + HEAD_DIM];
        let sum${k} = states[state${k} + HEAD_DIM + 1u];
#for j DIMS_EACH
        // Lanes beyond the head read its maximum, for nothing.
        let acc${k}_${j} = states[state${k} + min(lane + ${j}u * LANES, HEAD_DIM)];
#end
#end
#for k AHEAD
        if first + ${k}u < splits {
            let largest = max(maximum, maximum${k});
            let kept = exp_negative(maximum - largest);
            let added = exp_negative(maximum${k} - largest);
            maximum = largest;
            sum = sum * kept + sum${k} * added;
#for j DIMS_EACH
            acc${j} = acc${j} * kept + acc${k}_${j} * added;
#end
        }
#end
    }
    let start = (token * p.heads + head) * HEAD_DIM;
#for j DIMS_EACH
    if lane + ${j}u * LANES < HEAD_DIM {
        out[start + lane + ${j}u * LANES] = acc${j} / sum;
    }
#end
}
