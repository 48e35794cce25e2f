//! Weights in memory, and products with them.
//!
//! | file | what it holds |
//! |---|---|
//! | `layout` | format → how its strips are packed, read and multiplied |
//! | `matrix` | a matrix of strips |
//! | `arena` | the memory of matrices |
//! | `product` | the matrix product, shared among threads |
//! | `each` | several small products at once |
//! | `dequantize` | weights as floats, without packing them |

mod arena;
mod dequantize;
mod each;
mod layout;
mod matrix;
mod product;

pub use dequantize::dequantize;
pub use each::{Product, matmul_each};
pub use matrix::{PackError, PackedMatrix};
pub use product::matmul;
