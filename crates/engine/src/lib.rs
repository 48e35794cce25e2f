//! Continuous batching: scheduler, KV block pool, sampling, engine thread
