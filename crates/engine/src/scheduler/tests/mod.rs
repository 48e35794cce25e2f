//! The scheduler without a model: tokens are made up, steps take no time.

use super::*;

mod turns;

fn scheduler(num_blocks: usize, max_num_seqs: usize, max_num_batched_tokens: usize) -> Scheduler {
    with_window(num_blocks, max_num_seqs, max_num_batched_tokens, None)
}

fn with_window(
    num_blocks: usize,
    max_num_seqs: usize,
    max_num_batched_tokens: usize,
    sliding_window: Option<usize>,
) -> Scheduler {
    let config = SchedulerConfig {
        max_num_seqs,
        max_num_batched_tokens,
        max_prompt_logits: 8,
    };
    Scheduler::new(
        config,
        KvCacheManager::new(num_blocks, true, sliding_window),
    )
}

fn sequence(prompt: impl IntoIterator<Item = u32>) -> NewSequence {
    NewSequence {
        prompt_token_ids: prompt.into_iter().collect(),
        place: 0,
        client: ClientId::default(),
        priority: 0,
        cache_salt: None,
        adapter: None,
        num_open_tokens: 0,
        leader: None,
        prompt_logits: false,
        prompt_hidden: false,
    }
}

/// Runs a step to its end: every sequence that can be sampled gets `token`.
fn run_step(scheduler: &mut Scheduler, token: u32) -> Step {
    let step = scheduler.schedule();
    scheduler.complete(&step);
    for scheduled in step
        .sequences
        .iter()
        .filter(|scheduled| scheduled.is_last_chunk)
    {
        scheduler.append_token(scheduled.id, token);
    }
    scheduler.check_integrity().unwrap();
    step
}

/// Sequence numbers and tokens of a step.
fn shares(step: &Step) -> Vec<(u64, usize)> {
    step.sequences
        .iter()
        .map(|scheduled| (scheduled.id.0, scheduled.num_tokens))
        .collect()
}

#[test]
fn a_long_prompt_is_computed_in_chunks_beside_decoding() {
    let mut scheduler = scheduler(100, 8, 64);
    scheduler.add(sequence(0..10));
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(0, 10)]);
    scheduler.add(sequence(100..250));
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(0, 1), (1, 63)]);
    scheduler.set_prefill_limit(20);
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(0, 1), (1, 20)]);
    scheduler.remove(SequenceId(0));
    // Nobody decodes any more, so the limit does not hold.
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(1, 64)]);
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(1, 3)]);
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(1, 1)]);
}

#[test]
fn all_that_decode_advance_however_long_the_prompts_are() {
    let mut scheduler = scheduler(1000, 16, 16);
    for i in 0..15 {
        scheduler.add(sequence([i]));
    }
    run_step(&mut scheduler, 1);
    scheduler.add(sequence(0..500));
    for _ in 0..50 {
        let step = run_step(&mut scheduler, 1);
        assert_eq!(shares(&step), (0..16).map(|id| (id, 1)).collect::<Vec<_>>());
    }
}

#[test]
fn first_come_first_served_up_to_max_num_seqs() {
    let mut scheduler = scheduler(100, 2, 64);
    for i in 0..4 {
        scheduler.add(sequence([i; 5]));
    }
    assert_eq!(shares(&run_step(&mut scheduler, 9)), [(0, 5), (1, 5)]);
    scheduler.remove(SequenceId(0));
    assert_eq!(shares(&run_step(&mut scheduler, 9)), [(1, 1), (2, 5)]);
}

#[test]
fn a_lower_priority_value_is_served_first() {
    let mut scheduler = scheduler(100, 1, 64);
    for (i, priority) in [0, 5, -1].into_iter().enumerate() {
        scheduler.add(NewSequence {
            priority,
            ..sequence([i as u32; 5])
        });
    }
    for expected in [2, 0, 1] {
        assert_eq!(shares(&run_step(&mut scheduler, 9)), [(expected, 5)]);
        scheduler.remove(SequenceId(expected));
    }
}

#[test]
fn a_prefix_in_the_cache_is_not_computed_again() {
    let mut scheduler = scheduler(100, 8, 64);
    let first = scheduler.add(sequence(0..40));
    run_step(&mut scheduler, 1);
    scheduler.add(sequence(0..50));
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(0, 1), (1, 18)]);
    assert_eq!(
        scheduler.sequence(SequenceId(1)).num_cached_tokens,
        Some(32)
    );
    // Two blocks are shared, so seven table entries take five blocks.
    assert_eq!(scheduler.pool().num_in_use(), 3 + 2);
    scheduler.remove(first);
    scheduler.check_integrity().unwrap();
}

#[test]
fn siblings_wait_for_their_leader_and_share_its_prompt() {
    let mut scheduler = scheduler(100, 8, 32);
    let leader = scheduler.add(sequence(0..50));
    for _ in 0..2 {
        scheduler.add(NewSequence {
            leader: Some(leader),
            ..sequence(0..50)
        });
    }
    scheduler.add(sequence([99; 4]));
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(0, 32)]);
    // The stranger may pass while the siblings wait.
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(0, 18), (3, 4)]);
    assert_eq!(
        shares(&run_step(&mut scheduler, 1)),
        [(0, 1), (3, 1), (1, 2), (2, 2)]
    );
    assert_eq!(scheduler.pool().num_in_use(), 3 + 1 + 3);
}

#[test]
fn siblings_do_not_wait_for_a_leader_that_is_gone() {
    let mut scheduler = scheduler(100, 8, 32);
    let leader = scheduler.add(sequence(0..50));
    scheduler.add(NewSequence {
        leader: Some(leader),
        ..sequence(0..50)
    });
    run_step(&mut scheduler, 1);
    scheduler.remove(leader);
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(1, 18)]);
}

#[test]
fn the_youngest_is_preempted_and_loses_nothing() {
    let mut scheduler = scheduler(6, 8, 64);
    scheduler.add(sequence(0..31));
    scheduler.add(sequence(100..131));
    // Both fill three blocks; the seventh is not there.
    for _ in 0..18 {
        assert_eq!(run_step(&mut scheduler, 1).num_preempted, 0);
    }
    let kept = scheduler.sequence(SequenceId(1)).token_ids().to_vec();
    let step = run_step(&mut scheduler, 1);
    assert_eq!((step.num_preempted, shares(&step)), (1, vec![(0, 1)]));
    assert_eq!((scheduler.num_running(), scheduler.num_waiting()), (1, 1));
    assert_eq!(scheduler.sequence(SequenceId(1)).token_ids(), kept);
    scheduler.remove(SequenceId(0));
    // Two of its blocks are still in the cache; the other was evicted for the first sequence.
    let step = run_step(&mut scheduler, 1);
    assert_eq!(shares(&step), [(1, 49 - 32)]);
    assert_eq!(scheduler.sequence(SequenceId(1)).token_ids()[..49], kept);
}

#[test]
fn nobody_is_let_in_for_whom_there_is_no_room() {
    let mut scheduler = scheduler(6, 8, 64);
    scheduler.add(sequence(0..40));
    scheduler.add(sequence(100..150));
    scheduler.add(sequence([7]));
    // The last would fit, but must not overtake.
    for _ in 0..10 {
        assert_eq!(run_step(&mut scheduler, 1).sequences.len(), 1);
    }
    scheduler.remove(SequenceId(0));
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(1, 50), (2, 1)]);
}

#[test]
fn prompt_logits_are_rationed_and_not_taken_from_the_cache() {
    let mut scheduler = scheduler(100, 8, 64);
    scheduler.add(sequence(0..40));
    run_step(&mut scheduler, 1);
    scheduler.add(NewSequence {
        prompt_logits: true,
        ..sequence(0..20)
    });
    scheduler.add(NewSequence {
        prompt_logits: true,
        ..sequence(0..20)
    });
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(0, 1), (1, 8)]);
    assert_eq!(shares(&run_step(&mut scheduler, 1)), [(0, 1), (1, 8)]);
    assert_eq!(
        shares(&run_step(&mut scheduler, 1)),
        [(0, 1), (1, 4), (2, 4)]
    );
}

#[test]
fn a_sliding_window_lets_a_sequence_outgrow_the_cache() {
    let mut scheduler = with_window(6, 1, 32, Some(24));
    scheduler.add(sequence(0..150));
    let mut steps = 0;
    while scheduler.sequence(SequenceId(0)).num_tokens() < 400 {
        assert_eq!(run_step(&mut scheduler, 1).sequences.len(), 1);
        steps += 1;
    }
    assert_eq!(steps, 5 + 249);
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// A prompt that often begins like others.
fn random_prompt(random: &mut Random) -> Vec<u32> {
    let (stem, len) = (random.below(4) as u32, 1 + random.below(70) as u32);
    let own = random.below(len.into()) as u32;
    (0..len)
        .map(|i| {
            if i < own {
                stem * 1000 + i
            } else {
                random.below(50) as u32
            }
        })
        .collect()
}

#[test]
fn the_pool_stays_whole_through_100_000_random_operations() {
    for (seed, window, max_seqs, max_tokens) in [
        (1, None, 6, 24),
        (2, Some(20), 6, 24),
        (3, Some(16), 3, 64),
        (4, Some(16), 4, 40),
    ] {
        let mut random = Random(seed);
        // Small enough that preemption and eviction are the rule.
        let mut scheduler = with_window(10, max_seqs, max_tokens, window);
        let mut live: Vec<SequenceId> = Vec::new();
        let (mut preempted, mut finished) = (0, 0);
        for _ in 0..50_000 {
            match random.below(10) {
                0 | 1 if live.len() < 20 => {
                    let n = 1 + random.below(3) as usize;
                    let prompt = random_prompt(&mut random);
                    let mut leader = None;
                    let client = ClientId(random.below(3) as u32);
                    for place in 0..n {
                        let priority = random.below(3) as i32 - 1;
                        let id = scheduler.add(NewSequence {
                            place,
                            client,
                            priority,
                            leader,
                            ..sequence(prompt.clone())
                        });
                        leader.get_or_insert(id);
                        live.push(id);
                    }
                }
                2 if !live.is_empty() => {
                    let id = live.swap_remove(random.below(live.len() as u64) as usize);
                    scheduler.remove(id);
                }
                3 => scheduler.set_prefill_limit(random.below(30) as usize),
                _ => {
                    let step = scheduler.schedule();
                    scheduler.check_integrity().unwrap();
                    assert!(step.num_tokens() <= max_tokens && step.sequences.len() <= max_seqs);
                    assert!(
                        scheduler.is_empty() || !step.sequences.is_empty(),
                        "a step without work"
                    );
                    preempted += step.num_preempted;
                    for (i, one) in step.sequences.iter().enumerate() {
                        let is_running = scheduler.running.iter().any(|rank| rank.id == one.id);
                        let is_twice = step.sequences[..i].iter().any(|other| other.id == one.id);
                        assert!(is_running && !is_twice, "{one:?} of {step:?}");
                    }
                    assert!(step.num_prefill_tokens <= step.num_tokens());
                    if random.below(50) == 0 {
                        // The step failed: its sequences end, and nothing of it was computed.
                        for scheduled in &step.sequences {
                            scheduler.remove(scheduled.id);
                            live.retain(|id| *id != scheduled.id);
                        }
                    } else {
                        scheduler.complete(&step);
                        for scheduled in step
                            .sequences
                            .iter()
                            .filter(|scheduled| scheduled.is_last_chunk)
                        {
                            scheduler.append_token(scheduled.id, random.below(50) as u32);
                            if scheduler.sequence(scheduled.id).num_tokens() > 120 {
                                scheduler.remove(scheduled.id);
                                live.retain(|id| *id != scheduled.id);
                                finished += 1;
                            }
                        }
                    }
                }
            }
            scheduler.check_integrity().unwrap();
        }
        assert!(
            preempted > 100 && finished > 100,
            "{preempted} preempted, {finished} finished"
        );
        live.iter().for_each(|id| scheduler.remove(*id));
        assert_eq!(scheduler.pool().num_in_use(), 0);
        scheduler.check_integrity().unwrap();
    }
}

#[test]
fn nobody_starves_under_an_endless_stream_of_newcomers() {
    for seed in 1..=10 {
        let mut random = Random(seed);
        let mut scheduler = scheduler(20, 4, 16);
        let lowly = NewSequence {
            priority: 2,
            ..sequence(0..100)
        };
        let lowly = scheduler.add(lowly);
        let mut steps = 0;
        while scheduler.sequence(lowly).output_token_ids().len() < 30 {
            // A newcomer each step, more urgent and more than can be served.
            let priority = random.below(3) as i32 - 1;
            scheduler.add(NewSequence {
                priority,
                ..sequence(random_prompt(&mut random))
            });
            let step = run_step(&mut scheduler, random.below(50) as u32);
            for scheduled in step.sequences {
                let done = scheduler.sequence(scheduled.id).output_token_ids().len() >= 20;
                if done && scheduled.id != lowly {
                    scheduler.remove(scheduled.id);
                }
            }
            steps += 1;
            assert!(steps < 60_000, "sequence 0 starves (seed {seed})");
        }
    }
}

#[test]
fn a_cached_prefix_longer_than_its_window_finds_room() {
    // Eight blocks; the sequence needs three at a time, and leaves all eight behind, cached.
    let prompt = 0..8 * BLOCK_SIZE as u32;
    let mut scheduler = with_window(8, 4, 16, Some(16));
    let first = scheduler.add(sequence(prompt.clone()));
    for _ in 0..8 {
        run_step(&mut scheduler, 1);
    }
    scheduler.remove(first);
    scheduler.add(sequence(prompt.chain(500..600)));
    for _ in 0..8 {
        let step = run_step(&mut scheduler, 1);
        assert!(
            !step.sequences.is_empty(),
            "a sequence waits and nothing is computed"
        );
    }
}
