// Writes the keys and values of new tokens into their slots of the cache (see attention/layout.rs). One
// invocation for each unit of words of a head of a token; in 8-bit caches for those that share a scale.

struct Params {
    // Tokens x key-value heads x units.
    count: u32,
    kv_heads: u32,
    // Elements of a row of [queries | keys | values], and where keys and values start in it.
    stride: u32,
    first_key: u32,
    first_value: u32,
    // Slots of the cache; writes beyond are dropped.
    slots: u32,
}

const HEAD_DIM = ${HEAD_DIM}u;
// Elements to a word, and words to a row of a head.
const PER_WORD = ${PER_WORD}u;
const WORDS = ${WORDS}u;
// Words of an invocation, and invocations to a head.
const UNIT_WORDS = ${STORE_WORDS}u;
const UNITS = ${STORE_UNITS}u;
// Words of the keys of a head of a block, where their scales start, and words of a row of values.
const KEY_WORDS = ${KEY_WORDS}u;
const KEY_SCALES = ${KEY_SCALES}u;
const VALUE_ROW = ${VALUE_ROW}u;
// Positions of a block, words of a unit of keys, elements that share a scale, and invocations of a workgroup.
const BLOCK = ${BLOCK}u;
const KEY_UNIT = ${UNIT}u;
const SCALE_GROUP = ${SCALE_GROUP}u;
const LANES = ${LANES}u;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> slot_mapping: array<u32>;
@group(0) @binding(2) var<storage, read_write> keys: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<u32>;
var<immediate> p: Params;

// Element `dim` of the head that starts at `start`; 0 beyond its end.
fn element(start: u32, dim: u32) -> f32 {
    if dim < HEAD_DIM {
        return qkv[start + dim];
    }
    return 0.0;
}

#if Q8
fn scale_of(start: u32, dim: u32) -> f32 {
    var largest = 0.0;
    for (var i = 0u; i < SCALE_GROUP; i++) {
        largest = max(largest, abs(element(start, dim + i)));
    }
    return largest / 127.0;
}
#end

fn word(start: u32, dim: u32, steps: f32) -> u32 {
#if F32
    return bitcast<u32>(element(start, dim));
#end
#if F16
    return pack2x16float(vec2<f32>(element(start, dim), element(start, dim + 1u)));
#end
#if Q8
    let x = vec4<f32>(
        element(start, dim), element(start, dim + 1u), element(start, dim + 2u), element(start, dim + 3u),
    );
    let codes = vec4<i32>(clamp(round(x * steps), vec4<f32>(-127.0), vec4<f32>(127.0)));
    let bytes = vec4<u32>(codes) & vec4<u32>(255u);
    return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
#end
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = (group.x + group.y * groups.x) * LANES + lane;
    if i >= p.count {
        return;
    }
    let unit = i % UNITS;
    let head = (i / UNITS) % p.kv_heads;
    let token = i / (UNITS * p.kv_heads);
    let slot = slot_mapping[token];
    if slot >= p.slots {
        return;
    }
    let block_head = (slot / BLOCK) * p.kv_heads + head;
    let position = slot % BLOCK;
    let key = token * p.stride + p.first_key + head * HEAD_DIM;
    let value = token * p.stride + p.first_value + head * HEAD_DIM;
    let key_block = block_head * KEY_WORDS;
    let value_row = (block_head * BLOCK + position) * VALUE_ROW;
    var key_steps = 1.0;
    var value_steps = 1.0;
#if Q8
    let key_scale = scale_of(key, unit * SCALE_GROUP);
    let value_scale = scale_of(value, unit * SCALE_GROUP);
    key_steps = select(1.0 / key_scale, 0.0, key_scale == 0.0);
    value_steps = select(1.0 / value_scale, 0.0, value_scale == 0.0);
    keys[key_block + KEY_SCALES + unit * BLOCK + position] = bitcast<u32>(key_scale);
    values[value_row + WORDS + unit] = bitcast<u32>(value_scale);
#end
    for (var j = 0u; j < UNIT_WORDS; j++) {
        let w = unit * UNIT_WORDS + j;
        let at = ((w / KEY_UNIT) * BLOCK + position) * KEY_UNIT + w % KEY_UNIT;
        keys[key_block + at] = word(key, w * PER_WORD, key_steps);
        if w < WORDS {
            values[value_row + w] = word(value, w * PER_WORD, value_steps);
        }
    }
}
