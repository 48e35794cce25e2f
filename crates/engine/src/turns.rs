//! Whose step is next, where several engines share the cores of one machine.
//!
//! A step uses all cores, so steps of different engines follow each other. The turn goes to the engine
//! that has used the least time of those that have work: a small model's steps are many and short, a
//! large one's few and long, and each gets an equal share of the machine, not of the number of steps.
//!
//! An engine without work counts for nothing. When it finds some, it starts level with those that have
//! been working: rest is not saved up.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The turns of all engines that share a machine. Cheap to clone; each engine that is
/// [started](crate::Engine::start_sharing) with it takes its steps in turn with the others.
#[derive(Debug, Clone, Default)]
pub struct Turns(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

/// Who has worked how much. Holds no clock, so that it can be tested without one.
#[derive(Debug, Default)]
struct Schedule {
    /// The engines that have work.
    active: BTreeMap<u64, Share>,
    /// Whose step is running.
    running: Option<u64>,
    /// Seats given so far: the next one's number.
    seats: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Share {
    /// Time used, level with the others' at the beginning of the work.
    used: Duration,
    /// Answers that wait for their next token with each step.
    streams: usize,
}

impl Schedule {
    /// Takes note that an engine has work, with so many streams in it.
    fn works(&mut self, seat: u64, streams: usize) {
        let level = self.active.values().map(|share| share.used).min();
        let share = self.active.entry(seat).or_insert(Share {
            used: level.unwrap_or_default(),
            streams,
        });
        share.streams = streams;
    }

    /// Whether the next step is this engine's: the one that has used the least, of those the one that
    /// has been here the longest.
    fn is_next(&self, seat: u64) -> bool {
        let least = self.active.iter().min_by_key(|(_, share)| share.used);
        self.running.is_none() && least.is_some_and(|(first, _)| *first == seat)
    }

    fn end(&mut self, seat: u64, took: Duration) {
        self.running = None;
        if let Some(share) = self.active.get_mut(&seat) {
            share.used += took;
        }
    }

    fn streams_beside(&self, seat: u64) -> usize {
        let others = self.active.iter().filter(|(other, _)| **other != seat);
        others.map(|(_, share)| share.streams).sum()
    }
}

impl Turns {
    /// A place among the engines.
    pub(crate) fn seat(&self) -> Seat {
        let mut schedule = self.lock();
        schedule.seats += 1;
        Seat {
            turns: self.clone(),
            number: schedule.seats,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        let schedule = self.0.schedule.lock();
        schedule.unwrap_or_else(PoisonError::into_inner)
    }
}

/// One engine's place. Dropped, the others no longer wait for it.
#[derive(Debug)]
pub(crate) struct Seat {
    turns: Turns,
    number: u64,
}

impl Seat {
    /// Waits for this engine's turn. `streams` is how many of its answers wait for their next token.
    ///
    /// Whoever has begun to take turns must take the next one soon, or [`rest`](Self::rest): the others
    /// wait for it.
    pub(crate) fn begin(&self, streams: usize) -> Turn<'_> {
        let mut schedule = self.turns.lock();
        schedule.works(self.number, streams);
        while !schedule.is_next(self.number) {
            let woken = self.turns.0.changed.wait(schedule);
            schedule = woken.unwrap_or_else(PoisonError::into_inner);
        }
        schedule.running = Some(self.number);
        Turn {
            seat: self,
            since: Instant::now(),
        }
    }

    /// Says that there is nothing to do.
    pub(crate) fn rest(&self) {
        if self.turns.lock().active.remove(&self.number).is_some() {
            self.turns.0.changed.notify_all();
        }
    }

    /// Answers of other engines that wait for their next token.
    pub(crate) fn streams_beside(&self) -> usize {
        self.turns.lock().streams_beside(self.number)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.rest();
    }
}

/// A step, from its beginning to its end.
pub(crate) struct Turn<'a> {
    seat: &'a Seat,
    since: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut schedule = self.seat.turns.lock();
        schedule.end(self.seat.number, self.since.elapsed());
        drop(schedule);
        self.seat.turns.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs steps of these lengths in turn until the time is over; how often each had its turn.
    fn run(lengths: &[u64], until: u64) -> Vec<u64> {
        let mut schedule = Schedule::default();
        let mut turns = vec![0; lengths.len()];
        let mut now = 0;
        while now < until {
            for seat in 0..lengths.len() {
                schedule.works(seat as u64, 1);
            }
            let seat = (0..lengths.len()).find(|seat| schedule.is_next(*seat as u64));
            let seat = seat.expect("somebody is next");
            schedule.running = Some(seat as u64);
            assert!(!(0..lengths.len()).any(|other| schedule.is_next(other as u64)));
            schedule.end(seat as u64, Duration::from_millis(lengths[seat]));
            now += lengths[seat];
            turns[seat] += 1;
        }
        turns
    }

    #[test]
    fn time_is_shared_and_not_steps() {
        assert_eq!(run(&[10, 10], 1000), [50, 50]);
        let turns = run(&[5, 100], 10_000);
        assert!((980..=1020).contains(&turns[0]), "{turns:?}");
        assert!((49..=51).contains(&turns[1]), "{turns:?}");
    }

    #[test]
    fn rest_is_not_saved_up() {
        let mut schedule = Schedule::default();
        schedule.works(1, 3);
        schedule.end(1, Duration::from_secs(100));
        schedule.works(2, 5);
        assert!(schedule.is_next(1), "level, and here for longer");
        schedule.end(1, Duration::from_millis(1));
        assert!(schedule.is_next(2));
        assert_eq!(schedule.streams_beside(1), 5);
        assert_eq!(schedule.streams_beside(2), 3);
        schedule.active.remove(&2);
        assert!(schedule.is_next(1), "nobody waits for who rests");
    }

    #[test]
    fn one_step_runs_at_a_time_and_all_come_to_an_end() {
        let turns = Turns::default();
        let running = Mutex::new(());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let (seat, running) = (turns.seat(), &running);
                scope.spawn(move || {
                    for round in 0..200 {
                        let turn = seat.begin(1);
                        let alone = running.try_lock();
                        assert!(alone.is_ok(), "two steps at a time");
                        drop((alone, turn));
                        if round % 7 == 0 {
                            seat.rest();
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn an_engine_that_is_gone_is_not_waited_for() {
        let turns = Turns::default();
        let (goes, stays) = (turns.seat(), turns.seat());
        drop(goes.begin(0));
        // It has work, and its turn is next.
        drop(goes);
        drop(stays.begin(0));
        drop(stays.begin(0));
        assert_eq!(stays.streams_beside(), 0);
    }
}
