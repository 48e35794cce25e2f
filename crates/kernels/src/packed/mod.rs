//! Weights in memory, and products with them.
//!
//! | file | what it holds |
//! |---|---|
//! | `layout` | format → how its strips are packed, read and multiplied |
//! | `matrix` | a matrix of strips |
//! | `arena` | the memory of matrices |
//! | `product` | the matrix product, shared among threads |
//! | `dequantize` | weights as floats, without packing them |

mod arena;
mod dequantize;
mod layout;
mod matrix;
mod product;

pub use dequantize::dequantize;
pub use matrix::{PackError, PackedMatrix};
pub use product::matmul;
