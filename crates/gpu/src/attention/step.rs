//! What the layers of a step share: where its tokens are, and the plans made of that.

use std::sync::{Arc, Mutex, PoisonError};

use super::plan::{Pass, PlanKey, Request};
use crate::error::GpuError;
use crate::stream::Stream;
use crate::tensor::Indices;

/// The rows of a step, uploaded once for all layers.
pub struct AttentionStep {
    requests: Vec<Request>,
    pub(super) rows: usize,
    pub(super) block_tables: Indices,
    pub(super) slots: Indices,
    /// The largest slot that is written.
    pub(super) last_slot: Option<u32>,
    /// Layers with another window or other heads have plans of their own.
    plans: Mutex<Vec<(PlanKey, Arc<UploadedPlan>)>>,
}

/// A plan, where the kernels can read it.
pub(super) struct UploadedPlan {
    pub(super) items: Indices,
    pub(super) tokens: Indices,
    pub(super) passes: Vec<Pass>,
}

impl AttentionStep {
    /// A step of R requests and T tokens: `query_start_loc` (R + 1), `seq_lens` (R, this step's tokens
    /// included), `block_tables` and `block_table_start` (R + 1) are those of
    /// [`PagedBatch`](matou_kernels::PagedBatch); `positions` (T) are the tokens' positions, ascending by
    /// one within a request, and `slot_mapping` (T) says where their keys and values go: block · 16 +
    /// position in the block.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// The numbers do not fit each other.
    pub fn new(
        stream: &Stream,
        query_start_loc: &[u32],
        seq_lens: &[u32],
        block_tables: &[u32],
        block_table_start: &[u32],
        positions: &[u32],
        slot_mapping: &[u32],
    ) -> Result<Self, GpuError> {
        let count = seq_lens.len();
        assert_eq!(query_start_loc.len(), count + 1, "query_start_loc");
        assert_eq!(block_table_start.len(), count + 1, "block_table_start");
        assert!(query_start_loc.is_sorted(), "requests overlap");
        let rows = query_start_loc[count] as usize;
        assert_eq!(query_start_loc[0], 0, "the first request's rows");
        assert_eq!(positions.len(), rows, "positions");
        assert_eq!(slot_mapping.len(), rows, "slot_mapping");
        let mut requests = Vec::with_capacity(count);
        for request in 0..count {
            let rows = query_start_loc[request] as usize..query_start_loc[request + 1] as usize;
            let table =
                block_table_start[request] as usize..block_table_start[request + 1] as usize;
            if rows.is_empty() {
                continue;
            }
            let seq_len = seq_lens[request];
            assert!(
                seq_len as usize >= rows.len(),
                "a context shorter than its rows"
            );
            let first = seq_len - rows.len() as u32;
            assert!(
                positions[rows.clone()].iter().copied().eq(first..seq_len),
                "positions of request {request} are not {first} to {seq_len}"
            );
            assert!(table.end <= block_tables.len(), "a block table is missing");
            assert!(
                table.len() * matou_kernels::BLOCK_SIZE >= seq_len as usize,
                "{} blocks for {seq_len} positions",
                table.len()
            );
            requests.push(Request {
                rows,
                position: first as usize,
                table: table.start,
            });
        }
        Ok(Self {
            requests,
            rows,
            block_tables: stream.indices(block_tables)?,
            slots: stream.indices(slot_mapping)?,
            last_slot: slot_mapping.iter().max().copied(),
            plans: Mutex::default(),
        })
    }

    /// Rows of all requests.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The plan of a kind of layer, made when the first of them asks.
    pub(super) fn plan(
        &self,
        stream: &Stream,
        key: PlanKey,
    ) -> Result<Arc<UploadedPlan>, GpuError> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, plan)) = plans.iter().find(|(other, _)| *other == key) {
            return Ok(Arc::clone(plan));
        }
        let plan = key.plan(&self.requests);
        let plan = Arc::new(UploadedPlan {
            items: stream.indices(plan.items.as_flattened())?,
            tokens: stream.indices(plan.tokens.as_flattened())?,
            passes: plan.passes,
        });
        plans.push((key, Arc::clone(&plan)));
        Ok(plan)
    }
}
