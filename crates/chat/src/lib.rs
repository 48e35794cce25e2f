//! Text side of a chat model: tokenizer, template, detokenizer, stop strings
