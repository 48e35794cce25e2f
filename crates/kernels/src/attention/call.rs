//! One call of paged attention: the work of a batch, cut into tasks.
//!
//! A task is a tile (some neighbouring rows of one request, all query heads of one key-value head, so
//! that they share each load of keys and values) over all its splits. A request with one tile, such
//! as one that decodes, would keep a single thread busy however long its context: each of its splits
//! is a task of its own, and a second loop merges their states. Both ways do the same operations in
//! the same order.
#![allow(unsafe_code)] // tasks write disjoint parts of one output

use std::cell::RefCell;
use std::ops::Range;

use super::cache::{CacheView, KvPool};
use super::chunk::ChunkScores;
use super::element::CacheElement;
use super::params::{AttentionParams, PagedBatch, Rows};
use super::state::{Merge, STATE_HEAD, finish};
use super::tile::{AttendSplit, QueryTile};
use crate::simd::{LANES, dispatch};
use crate::{Context, SharedMut};

/// Queries (rows × query heads to a key-value head) that a tile has at most, unless one row has
/// more: their state and a chunk of keys and values stay in the L2 cache.
const TILE_QUERIES: usize = 48;

thread_local! {
    /// The plan of the call that this thread makes.
    static PLAN: RefCell<Plan> = const { RefCell::new(Plan::new()) };
    /// Memory for the task that this thread runs.
    static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) };
}

/// [`paged_attention`](super::paged_attention) with a cache of `E`, the shapes checked.
pub(super) fn attend<E: CacheElement>(
    ctx: &Context,
    params: &AttentionParams,
    q: Rows<'_>,
    pool: &KvPool,
    batch: &PagedBatch<'_>,
    out: &mut [f32],
) {
    let call = AttentionCall {
        ctx,
        params,
        q,
        cache: pool.view::<E>(),
        batch,
        out: SharedMut::new(out),
    };
    PLAN.with_borrow_mut(|plan| {
        call.make_plan(plan);
        let mut states = std::mem::take(&mut plan.states);
        let shared = SharedMut::new(&mut states);
        let plan_ref = &*plan;
        ctx.pool().run(plan_ref.tasks, &|task| {
            SCRATCH.with_borrow_mut(|scratch| call.run_task(plan_ref, task, scratch, shared));
        });
        ctx.pool().run(plan_ref.merges, &|merge| {
            SCRATCH.with_borrow_mut(|scratch| call.run_merge(plan_ref, merge, scratch, shared));
        });
        plan.states = states;
    });
}

/// How a batch is cut into tasks.
struct Plan {
    requests: Vec<RequestPlan>,
    tasks: usize,
    /// (request, key-value head) pairs whose splits are tasks of their own.
    merges: usize,
    /// The states of those splits.
    states: Vec<[f32; LANES]>,
}

impl Plan {
    const fn new() -> Self {
        Self {
            requests: Vec::new(),
            tasks: 0,
            merges: 0,
            states: Vec::new(),
        }
    }

    /// The request that the i-th task (or merge) belongs to, `first` being the request's first.
    fn request_of(&self, i: usize, first: impl Fn(&RequestPlan) -> usize) -> &RequestPlan {
        let after = self.requests.partition_point(|request| first(request) <= i);
        &self.requests[after - 1]
    }
}

/// The part of a request in a [`Plan`].
struct RequestPlan {
    index: usize,
    first_task: usize,
    first_merge: usize,
    /// Where its splits' states start, in vectors.
    first_state: usize,
    rows_per_tile: usize,
    tiles: usize,
    /// The splits, if each is a task of its own (and then there is one tile).
    splits: Option<Range<usize>>,
}

/// Memory for a task, kept between tasks.
struct Scratch {
    queries: Vec<f32>,
    bounds: Vec<Range<usize>>,
    scores: Vec<ChunkScores>,
    split: Vec<[f32; LANES]>,
    total: Vec<[f32; LANES]>,
}

impl Scratch {
    const fn new() -> Self {
        Self {
            queries: Vec::new(),
            bounds: Vec::new(),
            scores: Vec::new(),
            split: Vec::new(),
            total: Vec::new(),
        }
    }
}

/// The arguments of one call.
struct AttentionCall<'a, E> {
    ctx: &'a Context,
    params: &'a AttentionParams,
    q: Rows<'a>,
    cache: CacheView<'a, E>,
    batch: &'a PagedBatch<'a>,
    out: SharedMut<'a, f32>,
}

impl<E: CacheElement> AttentionCall<'_, E> {
    fn make_plan(&self, plan: &mut Plan) {
        let kv_heads = self.params.kv_heads;
        let rows_per_tile = (TILE_QUERIES / self.params.group()).max(1);
        let (mut tasks, mut merges, mut states) = (0, 0, 0);
        plan.requests.clear();
        for index in 0..self.batch.seq_lens.len() {
            let rows = self.rows(index).len();
            if rows == 0 {
                continue;
            }
            let tiles = rows.div_ceil(rows_per_tile);
            let splits = self.tile(index, 0..rows, 0).splits();
            let splits = (tiles == 1 && splits.len() > 1).then_some(splits);
            let split_tasks = splits.as_ref().map_or(0, |splits| splits.len() * kv_heads);
            plan.requests.push(RequestPlan {
                index,
                first_task: tasks,
                first_merge: merges,
                first_state: states,
                rows_per_tile,
                tiles,
                splits,
            });
            if split_tasks > 0 {
                tasks += split_tasks;
                merges += kv_heads;
                states += split_tasks * rows * self.params.group() * self.state_row();
            } else {
                tasks += tiles * kv_heads;
            }
        }
        (plan.tasks, plan.merges) = (tasks, merges);
        plan.states
            .resize(plan.states.len().max(states), [0.0; LANES]);
    }

    fn state_row(&self) -> usize {
        STATE_HEAD + self.cache.shape.value_vectors()
    }

    /// The rows of a request, in the batch.
    fn rows(&self, request: usize) -> Range<usize> {
        let starts = &self.batch.query_start_loc[request..request + 2];
        starts[0] as usize..starts[1] as usize
    }

    /// A tile of the request's rows (counted within it).
    fn tile(&self, request: usize, rows: Range<usize>, kv_head: usize) -> QueryTile<'_, E> {
        let starts = &self.batch.block_table_start[request..request + 2];
        let (seq_len, query_len) = (
            self.batch.seq_lens[request] as usize,
            self.rows(request).len(),
        );
        assert!(
            seq_len >= query_len,
            "{query_len} rows of a context of {seq_len}"
        );
        QueryTile {
            params: self.params,
            cache: self.cache,
            block_table: &self.batch.block_tables[starts[0] as usize..starts[1] as usize],
            kv_head,
            position: seq_len - query_len + rows.start,
            rows: rows.len(),
        }
    }

    fn run_task(
        &self,
        plan: &Plan,
        task: usize,
        scratch: &mut Scratch,
        states: SharedMut<'_, [f32; LANES]>,
    ) {
        let request = plan.request_of(task, |request| request.first_task);
        let task = task - request.first_task;
        let (part, kv_head) = (task / self.params.kv_heads, task % self.params.kv_heads);
        let all_rows = self.rows(request.index).len();
        if let Some(splits) = &request.splits {
            let tile = self.tile(request.index, 0..all_rows, kv_head);
            let len = tile.queries() * tile.state_row();
            let slot = kv_head * splits.len() + part;
            let start = request.first_state + slot * len;
            // SAFETY: each split of each key-value head of each request has its own states.
            let state = unsafe { states.slice_mut(start..start + len) };
            self.load(request.index, 0, &tile, scratch);
            let kernel = AttendSplit {
                tile: &tile,
                split: splits.start + part,
                queries: &scratch.queries,
                bounds: &scratch.bounds,
                scores: &mut scratch.scores,
                state,
            };
            dispatch(self.ctx.isa(), kernel);
            return;
        }
        // Later rows have more to attend to: the longest tasks first, so that no thread ends late.
        let first = (request.tiles - 1 - part) * request.rows_per_tile;
        let rows = first..all_rows.min(first + request.rows_per_tile);
        let tile = self.tile(request.index, rows, kv_head);
        self.load(request.index, first, &tile, scratch);
        self.attend_tile(request.index, first, &tile, scratch);
    }

    /// Brings the queries of a tile into the scratch memory, scaled, with the positions that they
    /// attend to, and makes room for their scores.
    fn load(&self, request: usize, first: usize, tile: &QueryTile<'_, E>, scratch: &mut Scratch) {
        let len = self.params.group() * self.params.head_dim;
        let heads = tile.kv_head * len..(tile.kv_head + 1) * len;
        let first = self.rows(request).start + first;
        scratch.queries.clear();
        scratch.bounds.clear();
        for row in 0..tile.rows {
            let queries = &self.q.row(first + row)[heads.clone()];
            let scaled = queries.iter().map(|query| query * self.params.scale);
            scratch.queries.extend(scaled);
            let bounds = std::iter::repeat_n(tile.bounds(row), self.params.group());
            scratch.bounds.extend(bounds);
        }
        scratch.scores.resize(tile.queries(), Default::default());
    }

    /// Attends to all splits of a tile, and writes the results.
    fn attend_tile(
        &self,
        request: usize,
        first: usize,
        tile: &QueryTile<'_, E>,
        scratch: &mut Scratch,
    ) {
        let state_row = tile.state_row();
        let len = tile.queries() * state_row;
        let Scratch { split, total, .. } = scratch;
        split.resize(len, [0.0; LANES]);
        total.resize(len, [0.0; LANES]);
        Merge::reset(total, state_row);
        for index in tile.splits() {
            let attend = AttendSplit {
                tile,
                split: index,
                queries: &scratch.queries,
                bounds: &scratch.bounds,
                scores: &mut scratch.scores,
                state: split,
            };
            dispatch(self.ctx.isa(), attend);
            let merge = Merge {
                total,
                split,
                state_row,
            };
            dispatch(self.ctx.isa(), merge);
        }
        self.write(request, first, tile, total);
    }

    /// Merges the states of a request whose splits were tasks of their own, and writes the results.
    fn run_merge(
        &self,
        plan: &Plan,
        merge: usize,
        scratch: &mut Scratch,
        states: SharedMut<'_, [f32; LANES]>,
    ) {
        let request = plan.request_of(merge, |request| request.first_merge);
        let kv_head = merge - request.first_merge;
        let splits = request.splits.as_ref().map_or(0, Range::len);
        let rows = 0..self.rows(request.index).len();
        let tile = self.tile(request.index, rows, kv_head);
        let (state_row, len) = (tile.state_row(), tile.queries() * tile.state_row());
        let start = request.first_state + kv_head * splits * len;
        // SAFETY: the states of one key-value head of one request, which only this task touches.
        let states = unsafe { states.slice_mut(start..start + splits * len) };
        let total = &mut scratch.total;
        total.resize(len, [0.0; LANES]);
        Merge::reset(total, state_row);
        for split in states.chunks_exact(len) {
            let merge = Merge {
                total,
                split,
                state_row,
            };
            dispatch(self.ctx.isa(), merge);
        }
        self.write(request.index, 0, &tile, total);
    }

    fn write(
        &self,
        request: usize,
        first: usize,
        tile: &QueryTile<'_, E>,
        states: &[[f32; LANES]],
    ) {
        let len = self.params.group() * self.params.head_dim;
        let first = self.rows(request).start + first;
        let rows = states.chunks_exact(self.params.group() * tile.state_row());
        for (row, states) in (first..first + tile.rows).zip(rows) {
            let start = row * len * self.params.kv_heads + tile.kv_head * len;
            // SAFETY: each task (or merge) has its own rows and heads.
            let out = unsafe { self.out.slice_mut(start..start + len) };
            let heads = out.chunks_exact_mut(self.params.head_dim);
            for (state, out) in states.chunks_exact(tile.state_row()).zip(heads) {
                finish(state, out);
            }
        }
    }
}
