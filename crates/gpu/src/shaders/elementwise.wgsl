// Operations on single elements: one invocation for each of `count`. What differs between them is
// filled in: the bindings, the parameters after `count`, and what is done with element `i`.

struct Params {
    count: u32,
${PARAMS}
}

${BINDINGS}
var<immediate> p: Params;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * 256u + lane;
    if i < p.count {
${BODY}
    }
}
