//! What a batch must satisfy before kernels index memory by its numbers.

use crate::error::{ModelError, Result};
use crate::forward_batch::{BLOCK_SIZE, ForwardBatch};

impl ForwardBatch {
    /// Checks that the arrays fit together, a model of `vocab_size` tokens and a cache of
    /// `num_blocks` blocks.
    pub(crate) fn validate(&self, vocab_size: usize, num_blocks: usize) -> Result<()> {
        let tokens = self.num_tokens();
        if tokens == 0 {
            return Err(invalid("there are no tokens".to_owned()));
        }
        if self.positions.len() != tokens || self.slot_mapping.len() != tokens {
            return Err(invalid(format!(
                "{tokens} tokens have {} positions and {} slots",
                self.positions.len(),
                self.slot_mapping.len()
            )));
        }
        if let Some(id) = self.input_ids.iter().find(|&&id| id as usize >= vocab_size) {
            return Err(invalid(format!(
                "token {id} is outside the vocabulary of {vocab_size}"
            )));
        }
        check_offsets(
            "query_start_loc",
            &self.query_start_loc,
            self.num_requests(),
            tokens,
        )?;
        check_offsets(
            "block_table_start",
            &self.block_table_start,
            self.num_requests(),
            self.block_tables.len(),
        )?;
        if self.adapters.len() > self.num_requests() {
            return Err(invalid(format!(
                "{} requests have {} adapters",
                self.num_requests(),
                self.adapters.len()
            )));
        }
        (0..self.num_requests())
            .try_for_each(|request| self.validate_request(request, num_blocks))?;
        self.validate_slots_are_distinct()?;
        for (name, rows) in [
            ("logits_indices", &self.logits_indices),
            ("hidden_indices", &self.hidden_indices),
        ] {
            let ascending = rows.is_sorted_by(|a, b| a < b);
            let in_range = rows.last().is_none_or(|&row| (row as usize) < tokens);
            if !ascending || !in_range {
                return Err(invalid(format!(
                    "{name} are not ascending rows of {tokens}: {rows:?}"
                )));
            }
        }
        Ok(())
    }

    /// Positions end at the sequence's length, and each token's slot is the block table's.
    fn validate_request(&self, request: usize, num_blocks: usize) -> Result<()> {
        let rows =
            self.query_start_loc[request] as usize..self.query_start_loc[request + 1] as usize;
        let table = &self.block_tables[self.block_table_start[request] as usize
            ..self.block_table_start[request + 1] as usize];
        let seq_len = self.seq_lens[request] as usize;
        if rows.is_empty() || rows.len() > seq_len || table.len() * BLOCK_SIZE < seq_len {
            return Err(invalid(format!(
                "request {request} brings {} tokens to a context of {seq_len} in {} blocks",
                rows.len(),
                table.len()
            )));
        }
        if let Some(block) = table.iter().find(|&&block| block as usize >= num_blocks) {
            return Err(invalid(format!(
                "request {request} uses block {block} of {num_blocks}"
            )));
        }
        let first_position = seq_len - rows.len();
        for (row, position) in rows.zip(first_position..) {
            let slot = table[position / BLOCK_SIZE] as usize * BLOCK_SIZE + position % BLOCK_SIZE;
            if self.positions[row] as usize != position || self.slot_mapping[row] as usize != slot {
                return Err(invalid(format!(
                    "row {row} of request {request} has position {} and slot {}, not {position} and {slot}",
                    self.positions[row], self.slot_mapping[row]
                )));
            }
        }
        Ok(())
    }

    /// Threads write slots side by side, so no two rows may share one.
    fn validate_slots_are_distinct(&self) -> Result<()> {
        let mut slots = self.slot_mapping.clone();
        slots.sort_unstable();
        match slots.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(invalid(format!("two rows write slot {}", pair[0]))),
            None => Ok(()),
        }
    }
}

/// Offsets of `parts` consecutive parts of `total`.
fn check_offsets(name: &str, offsets: &[u32], parts: usize, total: usize) -> Result<()> {
    let covers =
        offsets.first() == Some(&0) && offsets.last().map(|&end| end as usize) == Some(total);
    if offsets.len() == parts + 1 && covers && offsets.is_sorted() {
        return Ok(());
    }
    Err(invalid(format!(
        "{name} does not cut {total} into {parts} parts: {offsets:?}"
    )))
}

fn invalid(message: String) -> ModelError {
    ModelError::InvalidBatch(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCAB: usize = 100;
    const BLOCKS: usize = 8;

    fn two_requests() -> ForwardBatch {
        let mut batch = ForwardBatch::default();
        batch.push_request(&[5, 6, 7], 0, &[3], [2]);
        batch.push_request(&[9], 17, &[1, 0], [0]);
        batch
    }

    #[test]
    fn a_sound_batch_passes() {
        two_requests().validate(VOCAB, BLOCKS).unwrap();
    }

    #[test]
    fn every_contradiction_is_named() {
        type Corruption = fn(&mut ForwardBatch);
        let corruptions: [(Corruption, &str); 11] = [
            (|batch| *batch = ForwardBatch::default(), "no tokens"),
            (|batch| batch.positions.truncate(1), "1 positions"),
            (|batch| batch.input_ids[0] = 100, "token 100"),
            (|batch| batch.query_start_loc[1] = 9, "query_start_loc"),
            (|batch| batch.block_table_start[2] = 2, "block_table_start"),
            (|batch| batch.seq_lens[0] = 2, "context of 2"),
            (|batch| batch.seq_lens[1] = 33, "in 2 blocks"),
            (|batch| batch.block_tables[0] = 8, "block 8"),
            (|batch| batch.slot_mapping[3] = 0, "row 3"),
            (|batch| batch.logits_indices = vec![3, 3], "logits_indices"),
            (|batch| batch.logits_indices = vec![4], "logits_indices"),
        ];
        for (corrupt, expected) in corruptions {
            let mut batch = two_requests();
            corrupt(&mut batch);
            let message = batch.validate(VOCAB, BLOCKS).unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} lacks {expected:?}");
        }
    }

    #[test]
    fn two_requests_may_not_write_the_same_slot() {
        let mut batch = ForwardBatch::default();
        batch.push_request(&[5], 0, &[3], [0]);
        batch.push_request(&[6], 0, &[3], [0]);
        let message = batch.validate(VOCAB, BLOCKS).unwrap_err().to_string();
        assert!(message.contains("slot 48"), "{message}");
    }
}
