//! From a model's name to its files on disk
