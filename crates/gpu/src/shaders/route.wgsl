// Chooses the experts of each token: the largest logits, the first of equals, with their shares of the
// softmax of the chosen; then orders them by number, so that sums over them have one order. One invocation
// a token: there are few experts, and they are chosen once a layer.

struct Params {
    tokens: u32,
    experts: u32,
    chosen: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
// [tokens, chosen]
@group(0) @binding(1) var<storage, read_write> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> shares: array<f32>;
var<immediate> p: Params;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let token = (group.x + group.y * groups.x) * 64u + lane;
    if token >= p.tokens {
        return;
    }
    let row = token * p.experts;
    let first = token * p.chosen;
    var sum = 0.0;
    for (var k = 0u; k < p.chosen; k++) {
        var best = p.experts;
        for (var expert = 0u; expert < p.experts; expert++) {
            var taken = false;
            for (var j = 0u; j < k; j++) {
                taken = taken || ids[first + j] == expert;
            }
            if !taken && (best == p.experts || logits[row + expert] > logits[row + best]) {
                best = expert;
            }
        }
        ids[first + k] = best;
        let share = exp_negative(logits[row + best] - logits[row + ids[first]]);
        shares[first + k] = share;
        sum = sum + share;
    }
    for (var k = 0u; k < p.chosen; k++) {
        let id = ids[first + k];
        let share = shares[first + k] / sum;
        var at = k;
        while at > 0u && ids[first + at - 1u] > id {
            ids[first + at] = ids[first + at - 1u];
            shares[first + at] = shares[first + at - 1u];
            at -= 1u;
        }
        ids[first + at] = id;
        shares[first + at] = share;
    }
}
