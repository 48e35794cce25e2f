//! What one step of a model takes and gives: a ragged batch of tokens in, rows of logits out.
//!
//! There is no "prefill" and no "decode" here. Every request brings a run of one or more tokens, the
//! runs lie one after the other in flat arrays, and offsets say where each begins:
//!
//! ```text
//!                    request 0         request 1   request 2
//! input_ids        [ 17  4  9  2  8 |    31      |  5  6 ]        T = 8
//! positions        [  0  1  2  3  4 |   200      | 16 17 ]
//! slot_mapping     [ 48 49 50 51 52 |   904      | 32 33 ]        block * 16 + offset
//! query_start_loc  [  0             |     5      |  6      8 ]    R + 1
//! seq_lens         [  5             |   201      | 18 ]           R, after this step
//! ```

use std::sync::Arc;

pub use matou_kernels::BLOCK_SIZE;

use crate::adapter::Adapter;

/// The flat arrays of one step, `T` tokens of `R` requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ForwardBatch {
    /// `[T]` token ids, the requests' runs one after the other.
    pub input_ids: Vec<u32>,
    /// `[T]` absolute position of each token in its request.
    pub positions: Vec<u32>,
    /// `[T]` where each token's keys and values are written: `block * BLOCK_SIZE + offset`.
    pub slot_mapping: Vec<u32>,
    /// `[R + 1]` offsets of each request's run in the arrays above.
    pub query_start_loc: Vec<u32>,
    /// `[R]` context length of each request once this step's tokens are written.
    pub seq_lens: Vec<u32>,
    /// The requests' block tables, concatenated: entry `j` of a request holds its positions
    /// `j * BLOCK_SIZE ..`. Entries that a sliding window has left behind may hold any block.
    pub block_tables: Vec<u32>,
    /// `[R + 1]` offsets of each request's table in `block_tables`.
    pub block_table_start: Vec<u32>,
    /// Rows of the batch (`< T`, ascending) whose logits are wanted.
    pub logits_indices: Vec<u32>,
    /// Rows of the batch (`< T`, ascending) whose final hidden states are wanted.
    pub hidden_indices: Vec<u32>,
    /// The adapter of each request, as far as there are any: requests beyond the end have none.
    pub adapters: Vec<Option<Arc<Adapter>>>,
}

impl ForwardBatch {
    /// Appends a request: a run of tokens that follows `num_computed_tokens` known ones.
    ///
    /// `block_table` covers the request's whole context, this run included (it may be longer).
    /// `wanted` are the offsets in the run, ascending, of the tokens whose logits are wanted.
    ///
    /// # Panics
    ///
    /// When the block table is too short for the run.
    pub fn push_request(
        &mut self,
        input_ids: &[u32],
        num_computed_tokens: usize,
        block_table: &[u32],
        wanted: impl IntoIterator<Item = usize>,
    ) {
        let first_row = self.num_tokens();
        let seq_len = num_computed_tokens + input_ids.len();
        if self.query_start_loc.is_empty() {
            self.query_start_loc.push(0);
            self.block_table_start.push(0);
        }
        self.input_ids.extend_from_slice(input_ids);
        for position in num_computed_tokens..seq_len {
            let block = block_table[position / BLOCK_SIZE];
            self.positions.push(position as u32);
            self.slot_mapping
                .push(block * BLOCK_SIZE as u32 + (position % BLOCK_SIZE) as u32);
        }
        self.query_start_loc.push(self.input_ids.len() as u32);
        self.seq_lens.push(seq_len as u32);
        self.block_tables
            .extend_from_slice(&block_table[..seq_len.div_ceil(BLOCK_SIZE)]);
        self.block_table_start.push(self.block_tables.len() as u32);
        self.logits_indices
            .extend(wanted.into_iter().map(|offset| (first_row + offset) as u32));
    }

    /// Asks for the final hidden states of all tokens of the request that was appended last.
    pub fn want_hidden_states(&mut self) {
        let first_row = self.query_start_loc.iter().rev().nth(1);
        let rows = first_row.copied().unwrap_or(0)..self.num_tokens() as u32;
        self.hidden_indices.extend(rows);
    }

    /// Gives the request that was appended last an adapter.
    pub fn set_adapter(&mut self, adapter: Arc<Adapter>) {
        let last = self.num_requests().saturating_sub(1);
        self.adapters.resize(last, None);
        self.adapters.push(Some(adapter));
    }

    /// Number of requests in the batch.
    pub fn num_requests(&self) -> usize {
        self.seq_lens.len()
    }

    /// Number of tokens in the batch.
    pub fn num_tokens(&self) -> usize {
        self.input_ids.len()
    }
}

/// Logits of the rows that [`ForwardBatch::logits_indices`] asked for, in that order, and the hidden
/// states of those in [`ForwardBatch::hidden_indices`].
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    data: Vec<f32>,
    vocab_size: usize,
    hidden: Vec<f32>,
}

impl Logits {
    /// Row-major `[rows, vocab_size]` logits.
    ///
    /// # Panics
    ///
    /// When `data` is not a whole number of rows.
    pub fn new(data: Vec<f32>, vocab_size: usize) -> Self {
        assert!(
            vocab_size > 0 && data.len().is_multiple_of(vocab_size),
            "{} logits are not rows of {vocab_size}",
            data.len()
        );
        Self {
            data,
            vocab_size,
            hidden: Vec::new(),
        }
    }

    /// The same with row-major `[rows, hidden_size]` final hidden states: what the head reads.
    pub fn with_hidden_states(self, hidden: Vec<f32>) -> Self {
        Self { hidden, ..self }
    }

    /// Row-major `[rows, hidden_size]` final hidden states; empty unless they were asked for.
    pub fn hidden_states(&self) -> &[f32] {
        &self.hidden
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.data.len() / self.vocab_size
    }

    /// Logits over the vocabulary of row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.vocab_size..][..self.vocab_size]
    }

    /// All rows, to be changed in place (samplers do).
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.data.chunks_exact_mut(self.vocab_size)
    }
}
