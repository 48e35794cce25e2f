//! The embedding of a prompt: the mean of its tokens' final hidden states.

/// The sum of the hidden states so far. They are added in the order of their tokens, so that the
/// result does not depend on the chunks in which a prompt is computed.
#[derive(Debug, Default)]
pub(crate) struct EmbeddingSum(Vec<f64>);

impl EmbeddingSum {
    /// Adds row-major `[tokens, hidden_size]` states, the first of which is that of token `first`.
    /// From token 0 on, which comes again after a preemption, the sum begins anew.
    pub(crate) fn add(&mut self, states: &[f32], first: usize, hidden_size: usize) {
        if states.is_empty() {
            return;
        }
        if first == 0 {
            self.0 = vec![0.0; hidden_size];
        }
        for state in states.chunks_exact(hidden_size) {
            for (sum, value) in self.0.iter_mut().zip(state) {
                *sum += f64::from(*value);
            }
        }
    }

    /// The mean over `tokens`.
    pub(crate) fn mean(&self, tokens: usize) -> Vec<f32> {
        let mean = |sum: &f64| (sum / tokens as f64) as f32;
        self.0.iter().map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_change_nothing_and_a_second_beginning_forgets_the_first() {
        let states = [0.1, 1e8, 0.3, -1e8, 0.7, 3.0];
        let mut whole = EmbeddingSum::default();
        whole.add(&states, 0, 2);
        let mut chunked = EmbeddingSum::default();
        chunked.add(&states[2..], 0, 2);
        chunked.add(&states[..2], 0, 2);
        chunked.add(&states[2..4], 1, 2);
        chunked.add(&[], 0, 2);
        chunked.add(&states[4..], 2, 2);
        assert_eq!(whole.mean(3), chunked.mean(3));
        assert_eq!(whole.mean(3), [1.1 / 3.0, 1.0]);
    }
}
