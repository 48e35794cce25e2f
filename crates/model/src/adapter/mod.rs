//! Low-rank adapters (LoRA: Hu et al. 2021, <https://arxiv.org/abs/2106.09685>), applied beside the
//! weights and never merged into them, so that any rows of a step may have any adapter.
//!
//! ```text
//! AdapterFiles ─ open: headers and config            peft · gguf
//!      │
//!      ▼  AdapterTargets::load: shapes against the model's
//! Adapter ── one LinearAdapter a linear layer: y += scale · B (A x), and what else it changes
//!      ▲
//! AdapterRows: which rows of a step have which adapter
//! ```

mod files;
mod gguf;
mod linear;
mod loaded;
mod magnitude;
mod math;
mod matrix;
mod modules;
mod peft;
mod rows;
mod targets;

pub use self::files::AdapterFiles;
pub(crate) use self::linear::{Adapted, LinearAdapter, LowRank, Part};
pub use self::loaded::Adapter;
pub(crate) use self::magnitude::row_lengths;
pub(crate) use self::math::{AdapterMath, TargetWeight};
pub(crate) use self::matrix::{AdapterMatrix, floats as adapter_floats, pack_matrix};
pub(crate) use self::rows::AdapterRows;
pub use self::targets::AdapterTargets;
pub(crate) use self::targets::{TargetLinear, TargetPart, TargetsBuilder};
