//! Weights, layers and model families on candle tensors
