//! Products with packed weights: what one task computes.
//!
//! ```text
//!   task     a range of strips × a range of input rows, and where the outputs go
//!   integer  kernels of the quantised formats       float  those of F32, F16, BF16
//! ```
//!
//! Every kernel has a scalar reference in the same file, and gives the same bits as it: on every
//! instruction set, for any number of input rows, threads and tasks.

pub(crate) mod float;
pub(crate) mod integer;
pub(crate) mod task;
