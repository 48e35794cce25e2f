//! The engine's behaviour, seen through its handle, with a model that reads its context through the
//! block tables it is given.

mod common;
mod determinism;
mod failure;
mod lifecycle;
mod structured;
mod threads;
