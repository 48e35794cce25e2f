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

/// Tokens in one block of the KV cache.
pub const BLOCK_SIZE: usize = 16;

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
}

impl ForwardBatch {
    /// Number of requests in the batch.
    pub fn num_requests(&self) -> usize {
        self.seq_lens.len()
    }

    /// Number of tokens in the batch.
    pub fn num_tokens(&self) -> usize {
        self.input_ids.len()
    }
}

/// Logits of the rows that [`ForwardBatch::logits_indices`] asked for, in that order.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    data: Vec<f32>,
    vocab_size: usize,
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
        Self { data, vocab_size }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.data.len() / self.vocab_size
    }

    /// Logits over the vocabulary of row `i`.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data[i * self.vocab_size..][..self.vocab_size]
    }

    /// The same, to be changed in place (samplers do).
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[i * self.vocab_size..][..self.vocab_size]
    }
}
