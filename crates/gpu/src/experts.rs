//! Sparse experts: which of them a token chooses, and the sum of what they say.

use crate::elementwise::{Elementwise, Operand};
use crate::error::GpuError;
use crate::grid::grid;
use crate::stream::{Binding, Call, Stream};
use crate::tensor::{Indices, Tensor};

impl Stream {
    /// The `chosen` experts of each row of `logits` (`[tokens, experts]`): those with the largest logits, of
    /// equals the first. Returns `tokens · chosen` numbers, a token's ascending, and their shares,
    /// `[tokens, chosen]`: the softmax over those chosen.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// There are fewer experts than `chosen`.
    pub fn route(&self, logits: &Tensor, chosen: usize) -> Result<(Indices, Tensor), GpuError> {
        let (tokens, experts) = logits.shape();
        assert!(chosen <= experts, "{chosen} of {experts} experts");
        let ids = self.tensor(tokens, chosen)?;
        let shares = self.tensor(tokens, chosen)?;
        let source = || {
            let exp = include_str!("shaders/exp.wgsl");
            format!("{exp}{}", include_str!("shaders/route.wgsl"))
        };
        if tokens > 0 {
            self.run(Call {
                key: "route",
                source: &source,
                buffers: &[
                    Binding::Read(&logits.buffer),
                    Binding::Write(&ids.buffer),
                    Binding::Write(&shares.buffer),
                ],
                immediates: &[tokens, experts, chosen].map(|n| n as u32),
                groups: grid(tokens, 64),
            })?;
        }
        let ids = Indices {
            len: tokens * chosen,
            buffer: ids.buffer,
        };
        Ok((ids, shares))
    }

    /// The sums of what the chosen experts say, for `shares` of `[tokens, chosen]`: row i of the result
    /// is Σ `out[i · chosen + j]` · `shares[i, j]` over j, in order. The bits of
    /// [`add_weighted_rows`](Self::add_weighted_rows) to zeros, expert by expert.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// `out` has not a row for each share.
    pub fn sum_chosen(&self, out: &Tensor, shares: &Tensor) -> Result<Tensor, GpuError> {
        const SUM: Elementwise = Elementwise {
            key: "sum-chosen",
            params: "columns: u32, chosen: u32,",
            buffers: &[
                Operand::Floats("out"),
                Operand::Floats("shares"),
                Operand::Result("y"),
            ],
            body: "let first = i / p.columns * p.chosen;
                   var sum = 0.0;
                   for (var j = first; j < first + p.chosen; j++) {
                       sum = sum + out[j * p.columns + i % p.columns] * shares[j];
                   }
                   y[i] = sum;",
        };
        let ((tokens, chosen), columns) = (shares.shape(), out.columns);
        assert_eq!(out.rows, tokens * chosen, "rows of the experts' outputs");
        let y = self.tensor(tokens, columns)?;
        let buffers = [
            Binding::Read(&out.buffer),
            Binding::Read(&shares.buffer),
            Binding::Write(&y.buffer),
        ];
        let params = [columns as u32, chosen as u32];
        self.elementwise(&SUM, tokens * columns, &buffers, &params)?;
        Ok(y)
    }
}
