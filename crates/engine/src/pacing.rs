//! How many prompt tokens a step may carry while other sequences decode.
//!
//! Every stream waits for the whole step, so a long prompt taken in at full budget would make all
//! of them stutter. A step may take [`FACTOR`] times as long as the streams alone would need, and
//! what is left beside them is filled with prompt:
//!
//! ```text
//!   ├── decode (measured now and then) ──┼── prompt tokens × what one costs ──┤
//!   0                                    1                                 FACTOR
//! ```
//!
//! Where more requests wait for their first token than streams for their next, the spare time grows
//! by as much: a lone stream does not hold up a full queue.
//!
//! Both are measured from the steps themselves: the cost of a prompt token includes the attention to
//! what is before it, which on a CPU is most of the cost once a context is a few thousand tokens long.
//! The result is a handful of tokens a step on a CPU, hundreds on a GPU.
//!
//! Where a prompt is cut does not change any result, so timing may decide it.

/// Longest step with prompt tokens, as a multiple of the same step without. The promise is 2; the
/// rest is left to noise. Reading a long context costs the same for one prompt token as for eight,
/// so the last tenths are worth more to a prompt than the first.
const FACTOR: f64 = 1.9;
/// A step without prompt tokens is run at least this often, so that what it takes stays known: the
/// streams' contexts grow. Costs a thirtieth of the prompt's speed.
const PROBE_INTERVAL: usize = 32;
/// The same when the number of streams has changed since.
const CHANGED_PROBE_INTERVAL: usize = 4;
/// Weight of the latest step in the averages.
const ALPHA: f64 = 0.25;
/// The cost of a prompt token may grow by this factor at most in a step: a step may be slow for
/// reasons of the machine's own.
const MAX_GROWTH: f64 = 4.0;

/// Longest step, in seconds, beside streams of another model, which wait for all of it: about what
/// people do not notice.
const BESIDE_OTHERS: f64 = 0.1;
/// Prompt tokens of such a step as long as nothing is known, and the least: fewer would read the
/// weights for next to nothing.
const FEW_TOKENS: usize = 32;

/// Measures steps and says how much prompt they may carry.
#[derive(Debug, Default)]
pub(crate) struct PrefillPacer {
    /// The latest steps without prompt tokens.
    decode: Option<DecodeStep>,
    /// Seconds that a prompt token adds to a step.
    token_seconds: Option<f64>,
    /// Steps with prompt tokens and streams since the last one without.
    mixed_steps: usize,
}

#[derive(Debug, Clone, Copy)]
struct DecodeStep {
    streams: usize,
    seconds: f64,
}

impl PrefillPacer {
    /// Takes note of a step that took `seconds`: `streams` sequences decoded in it, and others read
    /// `prompt_tokens`.
    pub(crate) fn observe(&mut self, streams: usize, prompt_tokens: usize, seconds: f64) {
        if prompt_tokens == 0 {
            self.observe_decode(streams, seconds);
        } else if streams == 0 {
            // At full width a token is cheaper than in a handful, but it is a beginning.
            self.token_seconds
                .get_or_insert(seconds / prompt_tokens as f64);
        } else {
            self.mixed_steps += 1;
            if let Some(decode) = self.decode {
                self.observe_tokens(prompt_tokens, (seconds - decode.seconds).max(0.0));
            }
        }
    }

    fn observe_decode(&mut self, streams: usize, seconds: f64) {
        self.mixed_steps = 0;
        let before = self.decode.filter(|decode| decode.streams == streams);
        let seconds = before.map_or(seconds, |decode| average(decode.seconds, seconds));
        self.decode = Some(DecodeStep { streams, seconds });
    }

    fn observe_tokens(&mut self, tokens: usize, seconds: f64) {
        let cost = seconds / tokens as f64;
        self.token_seconds = Some(self.token_seconds.map_or(cost, |before| {
            average(before, cost.min(before * MAX_GROWTH))
        }));
    }

    /// Prompt tokens that a step in which `streams` sequences decode may carry, when `prompts` others
    /// are being read or wait for it. Zero now and then, but never twice without a step that is
    /// measured in between.
    pub(crate) fn prefill_limit(&self, streams: usize, prompts: usize) -> usize {
        if streams == 0 {
            return usize::MAX;
        }
        let Some(decode) = self.decode else { return 0 };
        let interval = if decode.streams == streams {
            PROBE_INTERVAL
        } else {
            CHANGED_PROBE_INTERVAL
        };
        if self.mixed_steps >= interval {
            return 0;
        }
        let share = (prompts as f64 / streams as f64).max(1.0);
        let spare = (FACTOR - 1.0) * share * decode.seconds;
        let tokens = self.token_seconds.map_or(1.0, |cost| spare / cost);
        (tokens as usize).max(1)
    }

    /// Prompt tokens that a step may carry while answers of another model stream, which shares the
    /// machine with this one.
    pub(crate) fn limit_beside_others(&self) -> usize {
        let tokens = self.token_seconds.map_or(0.0, |cost| BESIDE_OTHERS / cost);
        (tokens as usize).max(FEW_TOKENS)
    }
}

fn average(mean: f64, value: f64) -> f64 {
    mean + ALPHA * (value - mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which a step takes `base + row · (streams + tokens) + depth · tokens · position`.
    struct Machine {
        base: f64,
        row: f64,
        depth: f64,
    }

    impl Machine {
        fn step(&self, streams: usize, tokens: usize, position: usize) -> f64 {
            let attention = self.depth * (tokens * position) as f64;
            self.base + self.row * (streams + tokens) as f64 + attention
        }

        /// Lets a prompt be read beside streams; what each step took, relative to one without it.
        fn read(&self, pacer: &mut PrefillPacer, streams: usize, prompt: usize) -> Vec<f64> {
            let mut ratios = Vec::new();
            let mut position = 0;
            while position < prompt {
                let tokens = pacer.prefill_limit(streams, 1).min(prompt - position);
                let seconds = self.step(streams, tokens, position);
                pacer.observe(streams, tokens, seconds);
                position += tokens;
                ratios.push(seconds / self.step(streams, 0, 0));
            }
            ratios
        }
    }

    const MACHINES: [Machine; 3] = [
        // A small model on two cores; a large one; a GPU.
        Machine {
            base: 1e-3,
            row: 0.4e-3,
            depth: 0.2e-6,
        },
        Machine {
            base: 50e-3,
            row: 5e-3,
            depth: 1e-6,
        },
        Machine {
            base: 20e-3,
            row: 50e-6,
            depth: 1e-9,
        },
    ];

    #[test]
    fn a_step_beside_another_models_streams_is_short() {
        for machine in MACHINES {
            let mut pacer = PrefillPacer::default();
            assert_eq!(pacer.limit_beside_others(), FEW_TOKENS);
            pacer.observe(0, 512, machine.step(0, 512, 256));
            let tokens = pacer.limit_beside_others();
            let seconds = machine.step(0, tokens, 256);
            let least = machine.step(0, FEW_TOKENS, 256);
            assert!(
                seconds <= (2.0 * BESIDE_OTHERS).max(least),
                "{tokens}: {seconds}"
            );
        }
    }

    #[test]
    fn streams_keep_more_than_half_their_speed_and_prompts_get_the_rest() {
        for machine in MACHINES {
            for streams in [1, 4, 32] {
                let mut pacer = PrefillPacer::default();
                pacer.observe(0, 512, machine.step(0, 512, 256));
                let ratios = machine.read(&mut pacer, streams, 4_000);
                let slow = ratios.iter().filter(|ratio| **ratio > 2.0).count();
                assert!(
                    slow <= 4,
                    "{slow} of {} steps beside {streams}",
                    ratios.len()
                );
                let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
                assert!(
                    mean > 1.3,
                    "{mean} beside {streams}: the prompt could have had more"
                );
            }
        }
    }

    #[test]
    fn one_slow_step_does_not_stall_a_prompt() {
        let [machine, ..] = MACHINES;
        let mut pacer = PrefillPacer::default();
        machine.read(&mut pacer, 4, 500);
        let before = pacer.prefill_limit(4, 1);
        pacer.observe(4, before, 1.0);
        machine.read(&mut pacer, 4, 100);
        assert!(pacer.prefill_limit(4, 1) * 2 >= before);
    }

    #[test]
    fn a_full_queue_counts_for_more_than_a_lone_stream() {
        let [machine, ..] = MACHINES;
        let mut pacer = PrefillPacer::default();
        machine.read(&mut pacer, 1, 500);
        let (alone, queue) = (pacer.prefill_limit(1, 1), pacer.prefill_limit(1, 64));
        assert!(
            queue >= 50 * alone,
            "{queue} tokens for 64, {alone} for one"
        );
        let mut pacer = PrefillPacer::default();
        machine.read(&mut pacer, 64, 500);
        assert_eq!(pacer.prefill_limit(64, 64), pacer.prefill_limit(64, 1));
    }

    #[test]
    fn prompts_always_advance() {
        // Each token costs a thousand times what the streams take.
        let machine = Machine {
            base: 0.0,
            row: 1e-6,
            depth: 1.0,
        };
        let mut pacer = PrefillPacer::default();
        let steps = machine.read(&mut pacer, 1, 300).len();
        assert!(steps <= 300 + 300 / CHANGED_PROBE_INTERVAL, "{steps}");
    }

    #[test]
    fn nothing_is_held_back_where_nobody_decodes() {
        assert_eq!(PrefillPacer::default().prefill_limit(0, 1), usize::MAX);
    }
}
