// Attention of up to QUERIES queries (neighbouring tokens of one request, query heads of one key-value
// head) to one split of positions: a workgroup with a lane for each position of a chunk.
//
// For each chunk of positions a lane computes the scores of its position, then the queries' maxima
// are raised, what they have so far is rescaled, and the weighted values are added, lanes now standing
// for words of a row of values. All of it follows absolute positions, and no query sees the others: its
// bits are the same whichever share its workgroup.

struct Params {
    first_item: u32,
    items: u32,
    heads: u32,
    kv_heads: u32,
    // Elements of a row of [queries | keys | values].
    stride: u32,
    // Positions that a query attends to, itself included; 0 without a bound.
    window: u32,
    // Of the cache; a block number beyond is read as the last, never as memory of others.
    blocks: u32,
    scale: f32,
    // 0 for none.
    softcap: f32,
}

const HEAD_DIM = ${HEAD_DIM}u;
const QUERIES = ${QUERIES}u;
// Query heads to a key-value head that a workgroup has, and workgroups for all of them.
const TILE_HEADS = ${TILE_HEADS}u;
const HEAD_TILES = ${HEAD_TILES}u;
// Four words of a key at a time; each has this many vectors of elements.
const UNITS = ${UNITS}u;
const UNIT_VECTORS = ${UNIT_VECTORS}u;
const VECTORS = UNITS * UNIT_VECTORS;
// Units of the keys of a head of a block, and words of a row of values.
const KEY_UNITS = ${KEY_UNITS}u;
const VALUE_ROW = ${VALUE_ROW}u;
const WORDS = ${WORDS}u;
#if Q8
// Of values that share a scale.
const SCALE_WORDS = ${SCALE_WORDS}u;
#end
const SPLIT = ${SPLIT}u;
// Positions of a chunk are as many as lanes; of a part, whose maximum and sum one lane takes; of a block.
const LANES = ${LANES}u;
const CHUNK = LANES;
const PART = ${PART}u;
const PARTS = CHUNK / PART;
const BLOCK = ${BLOCK}u;
// Below every score: the maximum of no scores.
const LOWEST = -3.0e38;

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read> values: array<u32>;
// First token, tokens, split.
@group(0) @binding(3) var<storage, read> items: array<vec4<u32>>;
// Of each token: position, where its block table starts, where its states start.
@group(0) @binding(4) var<storage, read> tokens: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> block_tables: array<u32>;
// Of each token, split and head: HEAD_DIM weighted sums, the maximum, the sum of weights.
@group(0) @binding(6) var<storage, read_write> states: array<f32>;
var<immediate> p: Params;

var<workgroup> queries: array<vec4<f32>, QUERIES * VECTORS>;
// Scores, then weights, of a chunk.
var<workgroup> weights: array<f32, QUERIES * CHUNK>;
// Of a part each.
var<workgroup> partial: array<f32, QUERIES * PARTS>;

fn query_element(start: u32, dim: u32) -> f32 {
    if dim < HEAD_DIM {
        return qkv[start + dim] * p.scale;
    }
    return 0.0;
}

#if F32
fn value_elements(word: u32) -> ${VALUE} {
    return bitcast<f32>(word);
}
#end
#if F16
fn value_elements(word: u32) -> ${VALUE} {
    return unpack2x16float(word);
}
#end
#if Q8
fn eight_bit(word: u32) -> vec4<f32> {
    let signed = bitcast<i32>(word);
    return vec4<f32>(vec4<i32>(
        (signed << 24u) >> 24u, (signed << 16u) >> 24u, (signed << 8u) >> 24u, signed >> 24u,
    ));
}
#end

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = group.x + group.y * groups.x;
    let item_groups = p.kv_heads * HEAD_TILES;
    if index >= p.items * item_groups {
        return;
    }
    let item = items[p.first_item + index / item_groups];
    let kv_head = (index % item_groups) / HEAD_TILES;
    let heads_each = p.heads / p.kv_heads;
    let tile_head = (index % HEAD_TILES) * TILE_HEADS;
    let first_head = kv_head * heads_each + tile_head;
    let tile_heads = min(TILE_HEADS, heads_each - tile_head);
    let last_token = item.x + item.y - 1u;
    let split_start = item.z * SPLIT;
    let table = tokens[item.x].y;

    for (var i = lane; i < QUERIES * VECTORS; i += LANES) {
        let query = i / VECTORS;
        let dim = (i % VECTORS) * 4u;
        let token = min(item.x + query / TILE_HEADS, last_token);
        let head = first_head + min(query % TILE_HEADS, tile_heads - 1u);
        let start = token * p.stride + head * HEAD_DIM;
        queries[i] = vec4<f32>(
            query_element(start, dim), query_element(start, dim + 1u),
            query_element(start, dim + 2u), query_element(start, dim + 3u),
        );
    }
    workgroupBarrier();

    // What each query attends to in this split, which may be nothing.
#for q QUERIES
    let present${q} = ${q}u / TILE_HEADS < item.y && ${q}u % TILE_HEADS < tile_heads;
    let position${q} = tokens[min(item.x + ${q}u / TILE_HEADS, last_token)].x;
    let after${q} = select(0u, min(position${q} + 1u, split_start + SPLIT), present${q});
    let window${q} = select(0u, position${q} + 1u - p.window, p.window > 0u && position${q} >= p.window);
    let from${q} = max(window${q}, split_start);
    var maximum${q} = LOWEST;
    // Of this lane's positions.
    var sum${q} = 0.0;
#for j WORDS_EACH
    var acc${q}_${j} = ${VALUE}();
#end
#end
    // The first token is the first to begin, the last the last to end.
    let tile_start = from0;
    let tile_end = min(tokens[last_token].x + 1u, split_start + SPLIT);

    for (var chunk = tile_start / CHUNK * CHUNK; chunk < tile_end; chunk += CHUNK) {
        let position = chunk + lane;
#for q QUERIES
        var s${q} = vec4<f32>();
#end
        if position >= tile_start && position < tile_end {
            let block = min(block_tables[table + position / BLOCK], p.blocks - 1u);
            let base = (block * p.kv_heads + kv_head) * KEY_UNITS + position % BLOCK;
#if Q8
            for (var unit = 0u; unit < UNITS; unit += 2u) {
                let a = keys[base + unit * BLOCK];
                let b = keys[base + unit * BLOCK + BLOCK];
                let slot = position % BLOCK;
                let scales = keys[base - slot + UNITS * BLOCK + unit / 2u * (BLOCK / 4u) + slot / 4u];
                let scale = bitcast<f32>(scales[slot % 4u]);
                let k0 = eight_bit(a.x);
                let k1 = eight_bit(a.y);
                let k2 = eight_bit(a.z);
                let k3 = eight_bit(a.w);
                let k4 = eight_bit(b.x);
                let k5 = eight_bit(b.y);
                let k6 = eight_bit(b.z);
                let k7 = eight_bit(b.w);
                let at = unit * 4u;
#for q QUERIES
                {
                    var g = k0 * queries[${q}u * VECTORS + at];
                    g = g + k1 * queries[${q}u * VECTORS + at + 1u];
                    g = g + k2 * queries[${q}u * VECTORS + at + 2u];
                    g = g + k3 * queries[${q}u * VECTORS + at + 3u];
                    g = g + k4 * queries[${q}u * VECTORS + at + 4u];
                    g = g + k5 * queries[${q}u * VECTORS + at + 5u];
                    g = g + k6 * queries[${q}u * VECTORS + at + 6u];
                    g = g + k7 * queries[${q}u * VECTORS + at + 7u];
                    s${q} = s${q} + g * scale;
                }
#end
            }
#else
            for (var unit = 0u; unit < UNITS; unit++) {
                let words = keys[base + unit * BLOCK];
#if F32
                let k0 = bitcast<vec4<f32>>(words);
#for q QUERIES
                s${q} = s${q} + k0 * queries[${q}u * VECTORS + unit];
#end
#end
#if F16
                let k0 = vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
                let k1 = vec4<f32>(unpack2x16float(words.z), unpack2x16float(words.w));
#for q QUERIES
                s${q} = s${q} + k0 * queries[${q}u * VECTORS + 2u * unit];
                s${q} = s${q} + k1 * queries[${q}u * VECTORS + 2u * unit + 1u];
#end
#end
            }
#end
        }
#for q QUERIES
        let visible${q} = position >= from${q} && position < after${q};
        var score${q} = (s${q}.x + s${q}.y) + (s${q}.z + s${q}.w);
        if p.softcap > 0.0 {
            score${q} = p.softcap * tanh_by_exp(score${q} / p.softcap);
        }
        weights[${q}u * CHUNK + lane] = select(LOWEST, score${q}, visible${q});
#end
        workgroupBarrier();
        for (var i = lane; i < QUERIES * PARTS; i += LANES) {
            var largest = weights[i * PART];
            for (var k = 1u; k < PART; k++) {
                largest = max(largest, weights[i * PART + k]);
            }
            partial[i] = largest;
        }
        workgroupBarrier();
#for q QUERIES
        {
            var largest = maximum${q};
            for (var k = 0u; k < PARTS; k++) {
                largest = max(largest, partial[${q}u * PARTS + k]);
            }
            // exp(0) is 1 exactly: without a larger score nothing changes.
            let factor = exp_negative(maximum${q} - largest);
            maximum${q} = largest;
            let weight = select(0.0, exp_negative(score${q} - largest), visible${q});
            sum${q} = sum${q} * factor + weight;
            weights[${q}u * CHUNK + lane] = weight;
#for j WORDS_EACH
            acc${q}_${j} = acc${q}_${j} * factor;
#end
        }
#end
        workgroupBarrier();
        let end = min(tile_end, chunk + CHUNK);
        // Runs of positions of one block, whole ones: the words of all are loaded before the first is used,
        // since memory is what there is to wait for. Positions that a query does not see may hold anything:
        // their weight is 0, and what they come to is not added.
        for (var at = max(tile_start, chunk) / ${RUN}u * ${RUN}u; at < end; at += ${RUN}u) {
            let block = min(block_tables[table + at / BLOCK], p.blocks - 1u);
            let rows = ((block * p.kv_heads + kv_head) * BLOCK + at % BLOCK) * VALUE_ROW;
            let slot = at - chunk;
#for j WORDS_EACH
            if lane + ${j}u * LANES < WORDS {
                let w = lane + ${j}u * LANES;
#for k RUN
                let word${k} = values[rows + ${k}u * VALUE_ROW + w];
#if Q8
                let scale${k} = values[rows + ${k}u * VALUE_ROW + WORDS + w / SCALE_WORDS];
#end
#end
#for k RUN
                {
#if Q8
                    let v = eight_bit(word${k}) * bitcast<f32>(scale${k});
#else
                    let v = value_elements(word${k});
#end
#for q QUERIES
                    let weight${q} = weights[${q}u * CHUNK + slot + ${k}u];
                    acc${q}_${j} = select(acc${q}_${j}, acc${q}_${j} + v * weight${q}, weight${q} > 0.0);
#end
                }
#end
            }
#end
        }
        // The next chunk's scores take the place of these weights.
        workgroupBarrier();
    }

#for q QUERIES
    weights[${q}u * CHUNK + lane] = sum${q};
#end
    workgroupBarrier();
    for (var i = lane; i < QUERIES * PARTS; i += LANES) {
        var sum = weights[i * PART];
        for (var k = 1u; k < PART; k++) {
            sum = sum + weights[i * PART + k];
        }
        partial[i] = sum;
    }
    workgroupBarrier();
#for q QUERIES
    if present${q} && from${q} < after${q} {
        let split = item.z - window${q} / SPLIT;
        let token = item.x + ${q}u / TILE_HEADS;
        let row = (tokens[token].z + split) * p.heads + first_head + ${q}u % TILE_HEADS;
        let state = row * (HEAD_DIM + 2u);
#for j WORDS_EACH
        if lane + ${j}u * LANES < WORDS {
            let dim = (lane + ${j}u * LANES) * ${PER_WORD}u;
#if F32
            states[state + dim] = acc${q}_${j};
#else
#for k PER_WORD
            states[state + dim + ${k}u] = acc${q}_${j}[${k}];
#end
#end
        }
#end
        if lane == 0u {
            var sum = partial[${q}u * PARTS];
            for (var k = 1u; k < PARTS; k++) {
                sum = sum + partial[${q}u * PARTS + k];
            }
            states[state + HEAD_DIM] = maximum${q};
            states[state + HEAD_DIM + 1u] = sum;
        }
    }
#end
}
