//! The kernels from outside: every format against the reference implementation and exact arithmetic.

mod dequantize;
mod matmul;
