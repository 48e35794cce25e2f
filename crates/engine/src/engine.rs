//! The engine thread: drain commands, schedule, forward, sample, update, again.
//!
//! One OS thread owns the model, the scheduler and all requests; everybody else holds a handle.
//! While there is work the thread never waits for anything, and while there is none it sleeps in
//! the receive call of its command channel.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread::JoinHandle;
use std::time::Instant;

use matou_model::{BLOCK_SIZE, LanguageModel};

use crate::config::{EngineConfig, EngineError};
use crate::handle::{EngineHandle, Shared};
use crate::kv_cache_manager::{KvCacheManager, blocks_needed};
use crate::lifecycle::Requests;
use crate::model_runner::ModelRunner;
use crate::pacing::PrefillPacer;
use crate::scheduler::Scheduler;
use crate::stats::EngineStats;
use crate::step::{SchedulerConfig, Step};
use crate::submission::EngineCommand;
use crate::turns::{Seat, Turns};

/// Most bytes of logits that prompt log-probabilities may take in a step.
const PROMPT_LOGITS_BYTES: usize = 64 << 20;

/// Starts engines.
pub struct Engine;

impl Engine {
    /// Prepares `model` and starts the thread that runs it.
    ///
    /// The thread ends when the last [`EngineHandle`] is dropped and all requests are done.
    ///
    /// # Errors
    ///
    /// When the limits contradict each other, the KV cache cannot be allocated, or there is no
    /// thread to be had.
    pub fn start(
        model: Box<dyn LanguageModel>,
        config: EngineConfig,
    ) -> Result<(EngineHandle, EngineThread), EngineError> {
        Self::start_sharing(model, config, &Turns::default(), None)
    }

    /// Like [`start`](Self::start), beside other engines of the same machine: their steps and this
    /// one's take turns. What was `counted` when the same model ran before is counted on.
    ///
    /// # Errors
    ///
    /// As of [`start`](Self::start).
    pub fn start_sharing(
        mut model: Box<dyn LanguageModel>,
        config: EngineConfig,
        turns: &Turns,
        counted: Option<EngineStats>,
    ) -> Result<(EngineHandle, EngineThread), EngineError> {
        config.validate()?;
        model.allocate_kv_cache(config.num_kv_blocks, config.kv_cache_dtype)?;
        let (sender, commands) = mpsc::channel();
        let described = (model.info().clone(), model.adapter_targets());
        let shared = Arc::new(Shared::new(config, described, counted));
        let engine = EngineLoop::new(model, shared.clone(), commands, turns.seat());
        let thread = std::thread::Builder::new()
            .name("matou-engine".to_owned())
            .spawn(move || engine.run())?;
        Ok((EngineHandle::new(shared, sender), EngineThread(thread)))
    }
}

/// The running engine thread.
#[derive(Debug)]
pub struct EngineThread(JoinHandle<()>);

impl EngineThread {
    /// Waits until the engine has ended.
    ///
    /// # Errors
    ///
    /// When the thread panicked.
    pub fn join(self) -> std::thread::Result<()> {
        self.0.join()
    }
}

/// What the thread owns.
struct EngineLoop {
    shared: Arc<Shared>,
    commands: Receiver<EngineCommand>,
    scheduler: Scheduler,
    requests: Requests,
    runner: ModelRunner,
    pacer: PrefillPacer,
    seat: Seat,
    max_len: usize,
    closing: bool,
}

/// Says that the thread has ended when it is dropped, be it by a panic.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl EngineLoop {
    fn new(
        model: Box<dyn LanguageModel>,
        shared: Arc<Shared>,
        commands: Receiver<EngineCommand>,
        seat: Seat,
    ) -> Self {
        let (config, info) = (shared.config(), model.info());
        // A step has a token of every running sequence at least.
        let most = model.max_step_tokens().unwrap_or(usize::MAX).max(1);
        let limits = SchedulerConfig {
            max_num_seqs: config.max_num_seqs.min(most),
            max_num_batched_tokens: config.max_num_batched_tokens.min(most),
            max_prompt_logits: (PROMPT_LOGITS_BYTES / size_of::<f32>() / info.vocab_size.max(1))
                .max(1),
        };
        let window = info.sliding_window;
        let kv_cache =
            KvCacheManager::new(config.num_kv_blocks, config.enable_prefix_caching, window);
        let whole_context =
            blocks_needed(config.max_model_len, window, config.max_num_batched_tokens);
        let max_len = if whole_context <= config.num_kv_blocks {
            config.max_model_len
        } else {
            config.num_kv_blocks * BLOCK_SIZE
        };
        Self {
            scheduler: Scheduler::new(limits, kv_cache),
            requests: Requests::default(),
            runner: ModelRunner::new(model),
            pacer: PrefillPacer::default(),
            seat,
            max_len,
            closing: false,
            shared,
            commands,
        }
    }

    fn run(mut self) {
        let _says_so = Ended(Arc::clone(&self.shared));
        while self.drain_commands() {
            self.step();
            if self.runner.is_lost() {
                // Whoever still waits is told that the engine has ended; the model can be loaded again.
                tracing::error!("what the model computes on has gone: the engine ends");
                break;
            }
            if self.scheduler.is_empty() {
                self.seat.rest();
            }
        }
    }

    /// One step: each sequence in it advances by its share of the token budget.
    fn step(&mut self) {
        self.requests
            .end_unwanted(&mut self.scheduler, &mut self.shared.stats());
        let streams = self.scheduler.num_decoding();
        // No more than can run: streams are not to stall for a long queue.
        let waiting = self
            .scheduler
            .num_waiting()
            .min(self.shared.config().max_num_seqs);
        let prompts = self.scheduler.num_running() + waiting - streams;
        let mut prefill_limit = self.pacer.prefill_limit(streams, prompts);
        if self.seat.streams_beside() > 0 {
            prefill_limit = prefill_limit.min(self.pacer.limit_beside_others());
        }
        self.scheduler.set_prefill_limit(prefill_limit);
        let step = self.scheduler.schedule();
        self.count(&step);
        if step.sequences.is_empty() {
            // All requests were cancelled.
            return self.publish(&mut self.shared.stats());
        }
        let turn = self.seat.begin(streams);
        let started = Instant::now();
        self.requests
            .note_started(&step, started, &mut self.shared.stats());
        let outputs = self
            .runner
            .execute(&step, &self.scheduler, &mut self.requests);
        let now = Instant::now();
        drop(turn);
        // Held until all is said: who has seen an event finds the gauges as they are after it.
        let mut stats = self.shared.stats();
        match outputs {
            Ok(outputs) => {
                self.scheduler.complete(&step);
                let hidden_size = self.runner.hidden_size();
                self.requests
                    .update(outputs, hidden_size, &mut self.scheduler, now, &mut stats);
            }
            Err(error) => {
                self.requests
                    .fail_step(&step, &error, &mut self.scheduler, &mut stats);
            }
        }
        self.publish(&mut stats);
        drop(stats);
        self.pacer.observe(
            step.num_tokens() - step.num_prefill_tokens,
            step.num_prefill_tokens,
            (now - started).as_secs_f64(),
        );
    }

    /// Takes in what the handles have sent; sleeps if there is nothing to do. Returns false when
    /// there never will be again.
    fn drain_commands(&mut self) -> bool {
        loop {
            let idle = self.scheduler.is_empty();
            let command = if idle && !self.closing {
                self.rest();
                self.commands.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                self.commands.try_recv()
            };
            match command {
                Ok(EngineCommand::Submit(submissions)) => {
                    let max_priority = self.shared.config().max_priority;
                    for submission in submissions {
                        self.requests.admit(
                            submission,
                            &mut self.scheduler,
                            self.max_len,
                            max_priority,
                        );
                    }
                }
                Ok(EngineCommand::Shutdown) => self.closing = true,
                Err(_) => return !idle,
            }
        }
    }

    /// Before sleeping: everything must have been given back.
    fn rest(&self) {
        if cfg!(debug_assertions)
            && let Err(fault) = self.scheduler.check_integrity()
        {
            panic!("the KV cache is inconsistent: {fault}");
        }
        self.publish(&mut self.shared.stats());
    }

    /// Counts a step before its events are sent: who has seen an event finds it counted.
    fn count(&self, step: &Step) {
        let mut stats = self.shared.stats();
        stats.preemptions += step.num_preempted as u64;
        if !step.sequences.is_empty() {
            stats.steps += 1;
            stats.batch_size.observe(step.sequences.len() as f64);
            stats.step_tokens.observe(step.num_tokens() as f64);
        }
    }

    /// Shows how things stand between two steps.
    fn publish(&self, stats: &mut EngineStats) {
        stats.running = self.scheduler.num_running();
        stats.waiting = self.scheduler.num_waiting();
        stats.kv_blocks_used = self.scheduler.pool().num_in_use();
        stats.kv_blocks_cached = self.scheduler.pool().num_cached();
    }
}
