//! The protocol of llama-bench: *prompt processing* (`pp512`) reads a prompt and computes the logits of its
//! last token; *token generation* (`tg64`) feeds one given token a step to each sequence, which already hold
//! `depth` tokens, and computes the logits of every one.
//!
//! Beside each figure stands the share that it is of what the machine can do at most, measured right after
//! it: for prompts the multiply-adds with weights a second, for generation the bytes read from memory, which
//! are all weights and the sequences' keys and values at each step.

use std::time::Instant;

use anyhow::Result;
use matou_bench::report::{Bound, Roof};
use matou_model::{BLOCK_SIZE, ForwardBatch, LanguageModel, Roofs, TokenCost};

/// One test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    /// Tokens of a prompt that is read; 0 in a test of generation.
    pub(super) prompt: usize,
    /// Tokens generated in each sequence; 0 in a test of prompts.
    pub(super) generate: usize,
    /// Tokens in the context before.
    pub(super) depth: usize,
    /// Sequences side by side.
    pub(super) batch: usize,
}

impl Test {
    /// Its name in llama-bench's tables.
    pub(super) fn name(&self) -> String {
        let mut name = match self.generate {
            0 => format!("pp{}", self.prompt),
            generate => format!("tg{generate}"),
        };
        if self.depth > 0 {
            name.push_str(&format!("@d{}", self.depth));
        }
        if self.batch > 1 {
            name.push_str(&format!(" batch {}", self.batch));
        }
        name
    }

    /// The longest context that it needs, in tokens.
    pub(super) fn context(&self) -> usize {
        self.depth + self.prompt.max(self.generate + 1)
    }

    /// Tokens that count.
    pub(super) fn tokens(&self) -> usize {
        self.prompt.max(self.generate) * self.batch
    }
}

/// A model and its cache, in which sequences of made-up tokens run.
pub(super) struct Bench<'a> {
    model: &'a mut dyn LanguageModel,
    blocks_per_sequence: usize,
    /// Bytes of the keys and values of a token.
    kv_token_bytes: u64,
    max_num_batched_tokens: usize,
}

impl<'a> Bench<'a> {
    /// A model whose cache has room for `sequences` of `context` tokens each.
    pub(super) fn new(
        model: &'a mut dyn LanguageModel,
        context: usize,
        block_bytes: usize,
        max_num_batched_tokens: usize,
    ) -> Self {
        Self {
            model,
            blocks_per_sequence: context.div_ceil(BLOCK_SIZE),
            kv_token_bytes: (block_bytes / BLOCK_SIZE) as u64,
            max_num_batched_tokens,
        }
    }

    /// Runs a test once: tokens a second, and the seconds that it took.
    pub(super) fn run(&mut self, test: &Test) -> Result<(f64, f64)> {
        for sequence in 0..test.batch {
            self.read(0, test.depth, sequence)?;
        }
        let start;
        if test.generate == 0 {
            start = Instant::now();
            for sequence in 0..test.batch {
                self.read(test.depth, test.prompt, sequence)?;
            }
        } else {
            self.generation_step(0, test)?;
            start = Instant::now();
            for step in 1..=test.generate {
                self.generation_step(step, test)?;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok((test.tokens() as f64 / seconds, seconds))
    }

    /// How a figure compares with what the machine can do, which is measured now.
    pub(super) fn roof(&self, test: &Test, tokens_per_s: f64) -> Option<Roof> {
        let (cost, roofs) = (self.model.token_cost()?, self.model.measure_roofs()?);
        Some(match test.generate {
            0 => self.prompt_roof(test, tokens_per_s, &cost, &roofs),
            _ => self.generation_roof(test, tokens_per_s, &cost, &roofs),
        })
    }

    /// Prompts are bound by arithmetic.
    fn prompt_roof(&self, test: &Test, tokens_per_s: f64, cost: &TokenCost, roofs: &Roofs) -> Roof {
        let macs_per_s = cost.layers.macs as f64 * tokens_per_s;
        let peak = self.peak_macs(roofs);
        // Weights are read once for each chunk of a prompt.
        let chunks = test.prompt.div_ceil(self.max_num_batched_tokens);
        let bytes = cost.layers.bytes as f64 * chunks as f64
            + (self.kv_token_bytes * test.prompt as u64) as f64;
        Roof {
            bound: Bound::Arithmetic,
            per_unit: cost.layers.macs,
            used_per_s: macs_per_s,
            peak_per_s: peak,
            share: macs_per_s / peak,
            macs_per_s,
            bytes_per_s: bytes * tokens_per_s / test.prompt.max(1) as f64,
            peak_bytes_per_s: roofs.read_bandwidth,
            peak_macs_per_s: peak,
        }
    }

    /// Generation is bound by memory.
    fn generation_roof(
        &self,
        test: &Test,
        tokens_per_s: f64,
        cost: &TokenCost,
        roofs: &Roofs,
    ) -> Roof {
        let all = cost.layers + cost.head;
        let positions = (test.depth + test.generate / 2) * test.batch;
        let bytes_per_step = all.bytes + self.kv_token_bytes * positions as u64;
        let steps_per_s = tokens_per_s / test.batch as f64;
        let bytes_per_s = bytes_per_step as f64 * steps_per_s;
        Roof {
            bound: Bound::Memory,
            per_unit: bytes_per_step,
            used_per_s: bytes_per_s,
            peak_per_s: roofs.read_bandwidth,
            share: bytes_per_s / roofs.read_bandwidth,
            macs_per_s: all.macs as f64 * tokens_per_s,
            bytes_per_s,
            peak_bytes_per_s: roofs.read_bandwidth,
            peak_macs_per_s: self.peak_macs(roofs),
        }
    }

    fn peak_macs(&self, roofs: &Roofs) -> f64 {
        match self.model.info().quantization.as_str() {
            "F32" | "F16" | "BF16" => roofs.f32_macs,
            _ => roofs.int8_macs,
        }
    }

    /// The most likely tokens after some made-up prompts: what a faster build has to compute too.
    pub(super) fn greedy(
        &mut self,
        prompts: usize,
        prompt: usize,
        tokens: usize,
    ) -> Result<Vec<u32>> {
        let mut all = Vec::new();
        for number in 0..prompts {
            let mut ids: Vec<u32> = (0..prompt).map(|i| self.token(i + 1000 * number)).collect();
            let mut computed = 0;
            for _ in 0..tokens {
                let mut batch = ForwardBatch::default();
                let run = &ids[computed..];
                batch.push_request(run, computed, &self.block_table(0), [run.len() - 1]);
                computed = ids.len();
                let logits = self.model.forward(&batch)?;
                let row = logits.row(0);
                let best =
                    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]).then(b.cmp(&a)));
                let best = best.unwrap_or(0) as u32;
                ids.push(best);
                all.push(best);
            }
        }
        Ok(all)
    }

    /// Reads `tokens` after `before`, and computes the logits of the last.
    fn read(&mut self, before: usize, tokens: usize, sequence: usize) -> Result<()> {
        let end = before + tokens;
        for start in (before..end).step_by(self.max_num_batched_tokens) {
            let chunk_end = end.min(start + self.max_num_batched_tokens);
            let ids: Vec<_> = (start..chunk_end).map(|i| self.token(i)).collect();
            let wanted = (chunk_end == end).then_some(ids.len() - 1);
            let mut batch = ForwardBatch::default();
            batch.push_request(&ids, start, &self.block_table(sequence), wanted);
            self.model.forward(&batch)?;
        }
        Ok(())
    }

    fn generation_step(&mut self, step: usize, test: &Test) -> Result<()> {
        let mut batch = ForwardBatch::default();
        for sequence in 0..test.batch {
            let token = self.token(step + sequence);
            batch.push_request(
                &[token],
                test.depth + step,
                &self.block_table(sequence),
                [0],
            );
        }
        self.model.forward(&batch)?;
        Ok(())
    }

    /// The i-th token of the made-up text, spread over the vocabulary.
    fn token(&self, i: usize) -> u32 {
        ((i * 7919 + 11) % self.model.info().vocab_size) as u32
    }

    /// The blocks of a sequence: each has its own, one after the other.
    fn block_table(&self, sequence: usize) -> Vec<u32> {
        let first = sequence * self.blocks_per_sequence;
        (first..first + self.blocks_per_sequence)
            .map(|block| block as u32)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_called_as_in_llama_bench() {
        let test = |prompt, generate, depth, batch| {
            Test {
                prompt,
                generate,
                depth,
                batch,
            }
            .name()
        };
        assert_eq!(test(512, 0, 0, 1), "pp512");
        assert_eq!(test(512, 0, 4096, 1), "pp512@d4096");
        assert_eq!(test(0, 64, 0, 8), "tg64 batch 8");
        assert_eq!(test(0, 64, 4096, 8), "tg64@d4096 batch 8");
    }
}
