//! What attention is told: the shape of a layer, and where the rows of a batch are.

/// Rows of numbers: row i starts at `data[i * stride]`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// All rows; the last may end before a whole stride.
    pub data: &'a [f32],
    /// Elements from the start of a row to the start of the next.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// Row i and whatever follows it.
    pub(super) fn row(self, i: usize) -> &'a [f32] {
        &self.data[i * self.stride..]
    }
}

/// The shape of an attention layer.
#[derive(Clone, Copy, Debug)]
pub struct AttentionParams {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// What scores are multiplied by, usually 1/√head_dim.
    pub scale: f32,
    /// How many positions a query attends to, itself included; all up to itself if `None`.
    pub sliding_window: Option<usize>,
    /// Scores s become c · tanh(s / c).
    pub softcap: Option<f32>,
}

impl AttentionParams {
    /// Query heads to a key-value head.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

/// Which rows belong to which request, and where the requests' keys and values are.
#[derive(Clone, Copy)]
pub struct PagedBatch<'a> {
    /// R + 1 numbers: request r has the rows from the r-th to the (r+1)-th.
    pub query_start_loc: &'a [u32],
    /// R context lengths, the rows of this batch included; the last row of request r is at position
    /// `seq_lens[r] − 1`.
    pub seq_lens: &'a [u32],
    /// The block tables of all requests, one after the other. Entries of blocks that lie wholly
    /// before a request's sliding window may hold anything.
    pub block_tables: &'a [u32],
    /// R + 1 numbers: request r has the block table from the r-th to the (r+1)-th.
    pub block_table_start: &'a [u32],
}
