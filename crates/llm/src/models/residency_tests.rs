use super::*;

const CLIENT: ClientId = ClientId::ANYBODY;
const MOST: usize = 1000;

/// Models of these sizes under a budget, driven by hand.
struct House {
    residency: Residency,
    now: Duration,
    load_time: Duration,
    loads: Vec<ModelId>,
}

impl House {
    fn new(budget: u64, sizes: &[u64]) -> Self {
        let mut residency = Residency::new(budget);
        for &size in sizes {
            residency.add(size, false);
        }
        Self {
            residency,
            now: Duration::from_secs(100),
            load_time: Duration::from_secs(1),
            loads: Vec::new(),
        }
    }

    fn enter(&mut self, id: ModelId) -> Entry {
        self.residency.enter(id, None, (CLIENT, MOST), self.now)
    }

    fn again(&mut self, id: ModelId, ticket: Ticket) -> Entry {
        self.residency
            .enter(id, Some(ticket), (CLIENT, MOST), self.now)
    }

    fn release(&mut self, id: ModelId) {
        self.residency.release(id, KeepAlive::Forever, self.now);
    }

    fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    /// Does what is decided until nothing is left to do; loading takes its time, unloading none.
    fn settle(&mut self) -> Decision {
        loop {
            let decision = self.residency.next(self.now);
            assert!(self.residency.used() <= self.residency.budget());
            for &id in &decision.unload {
                self.residency.gone(id, self.now);
            }
            if let Some(id) = decision.load {
                self.now += self.load_time;
                self.residency.loaded(id, self.now);
                self.loads.push(id);
            }
            if decision.load.is_none() && decision.unload.is_empty() {
                return decision;
            }
        }
    }

    /// Lets a request in, loading the model if need be.
    fn use_once(&mut self, id: ModelId) {
        if let Entry::Waits(ticket) = self.enter(id) {
            self.settle();
            assert_eq!(self.again(id, ticket), Entry::In);
        }
        self.release(id);
    }

    fn resident(&self) -> Vec<ModelId> {
        let ids = 0..self.residency.models.len();
        ids.filter(|id| self.residency.phase(*id) == Phase::Resident)
            .collect()
    }
}

#[test]
fn a_model_is_loaded_when_it_is_asked_for_and_once() {
    let mut house = House::new(10, &[4, 4]);
    let (first, second) = (house.enter(0), house.enter(0));
    let decision = house.residency.next(house.now);
    assert_eq!(decision.load, Some(0));
    assert_eq!(house.residency.next(house.now), Decision::default());
    assert_eq!(house.residency.requests(0), (0, 2));
    house.residency.loaded(0, house.now);
    for entry in [first, second] {
        let Entry::Waits(ticket) = entry else {
            panic!("{entry:?}")
        };
        assert_eq!(house.again(0, ticket), Entry::In);
    }
    assert_eq!(house.residency.requests(0), (2, 0));
}

#[test]
fn what_was_used_the_longest_ago_goes_and_only_as_much_as_is_needed() {
    let mut house = House::new(10, &[1, 6, 3, 5]);
    for id in [0, 1, 2] {
        house.use_once(id);
        house.pass(10.0);
    }
    house.use_once(3);
    // The smallest was used the longest ago, but its memory would not do, and the next one's does.
    assert_eq!(house.resident(), [0, 2, 3]);
    assert_eq!(house.loads, [0, 1, 2, 3]);
}

#[test]
fn a_model_in_use_stays_and_a_pinned_one_always() {
    let mut house = House::new(10, &[5, 5, 5]);
    house.residency.set_pinned(0, true);
    house.use_once(0);
    house.use_once(1);
    assert_eq!(house.enter(1), Entry::In);
    house.pass(100.0);
    let Entry::Waits(ticket) = house.enter(2) else {
        panic!("there is no room");
    };
    house.settle();
    assert_eq!(house.resident(), [0, 1]);
    house.release(1);
    house.settle();
    assert_eq!(house.resident(), [0, 2]);
    assert_eq!(house.again(2, ticket), Entry::In);
    assert_eq!(house.residency.room_for(2), 5);
}

#[test]
fn a_door_closes_after_a_turn_and_nothing_that_runs_is_cut() {
    let mut house = House::new(5, &[5, 5]);
    house.use_once(0);
    assert_eq!(house.enter(0), Entry::In);
    let Entry::Waits(other) = house.enter(1) else {
        panic!("there is no room");
    };
    let decision = house.settle();
    assert!(
        decision.again.is_some(),
        "the turn's end is looked forward to"
    );
    assert_eq!(house.enter(0), Entry::In, "it has its turn");
    house.pass(TURN.as_secs_f64());
    house.settle();
    let Entry::Waits(late) = house.enter(0) else {
        panic!("others wait for longer");
    };
    house.settle();
    assert_eq!(house.resident(), [0], "two requests are still answered");
    house.release(0);
    house.settle();
    assert_eq!(house.resident(), [0]);
    house.release(0);
    house.settle();
    assert_eq!(house.resident(), [1]);
    assert_eq!(house.again(1, other), Entry::In);
    house.release(1);
    house.settle();
    assert_eq!(
        house.again(0, late),
        Entry::In,
        "it had its place in the line"
    );
}

#[test]
fn a_door_opens_again_when_nobody_waits_any_more() {
    let mut house = House::new(5, &[5, 5]);
    house.use_once(0);
    house.enter(0);
    let Entry::Waits(other) = house.enter(1) else {
        panic!("there is no room");
    };
    house.pass(60.0);
    house.settle();
    let Entry::Waits(own) = house.enter(0) else {
        panic!("others wait for longer");
    };
    house.residency.give_up(1, other);
    house.settle();
    assert_eq!(house.again(0, own), Entry::In);
}

#[test]
fn who_switches_now_and_then_never_waits_and_who_switches_always_does() {
    let mut house = House::new(5, &[5, 5]);
    house.load_time = Duration::from_secs(4);
    let switches = |house: &mut House, times: usize| -> usize {
        let mut at_once = 0;
        for i in 0..times {
            let id = i % 2;
            let Entry::Waits(ticket) = house.enter(id) else {
                house.release(id);
                continue;
            };
            let mut waited = false;
            while house.again(id, ticket) != Entry::In {
                let decision = house.settle();
                if house.residency.phase(id) != Phase::Resident {
                    waited = true;
                    house.now = decision.again.expect("it will be its turn");
                }
            }
            house.release(id);
            at_once += usize::from(!waited);
        }
        at_once
    };
    assert_eq!(switches(&mut house, 6), 6);
    let begin = (house.now, house.loads.len());
    let at_once = switches(&mut house, 200);
    assert!(at_once < 150, "{at_once}");
    let loading = house.load_time * u32::try_from(house.loads.len() - begin.1).unwrap();
    let share = loading.as_secs_f64() / (house.now - begin.0).as_secs_f64();
    assert!(share < 0.75, "{share:.2} of the time is spent loading");
    house.pass(600.0);
    assert_eq!(switches(&mut house, 6), 6);
}

#[test]
fn a_model_stays_for_as_long_as_it_was_told() {
    let mut house = House::new(10, &[5]);
    house.use_once(0);
    assert_eq!(house.enter(0), Entry::In);
    let minute = KeepAlive::For(Duration::from_secs(60));
    house.residency.release(0, minute, house.now);
    assert_eq!(
        house.settle().again,
        Some(house.now + Duration::from_secs(60))
    );
    house.pass(59.0);
    house.settle();
    assert_eq!(house.resident(), [0]);
    house.pass(1.0);
    house.settle();
    assert!(house.resident().is_empty());

    house.use_once(0);
    assert_eq!(house.enter(0), Entry::In);
    house
        .residency
        .keep(0, KeepAlive::For(Duration::ZERO), house.now);
    house.settle();
    assert_eq!(house.resident(), [0], "it is in use");
    house
        .residency
        .release(0, KeepAlive::For(Duration::ZERO), house.now);
    house.settle();
    assert!(house.resident().is_empty());
}

#[test]
fn a_request_of_a_model_that_is_gone_is_not_waited_for_again_and_again() {
    let mut house = House::new(10, &[5]);
    house.use_once(0);
    assert_eq!(house.enter(0), Entry::In);
    house.residency.died(0, house.now);
    house.residency.gone(0, house.now);
    let second = KeepAlive::For(Duration::from_secs(1));
    house.residency.release(0, second, house.now);
    house.pass(10.0);
    assert_eq!(house.settle(), Decision::default());
}

#[test]
fn models_go_until_the_rest_is_within_a_smaller_budget() {
    let mut house = House::new(12, &[4, 4, 4]);
    for id in 0..3 {
        house.use_once(id);
        house.pass(1.0);
    }
    assert_eq!(house.enter(0), Entry::In);
    house.residency.set_budget(7);
    let decision = house.residency.next(house.now);
    assert_eq!(decision.unload, [1, 2], "the first is in use");
    for id in decision.unload {
        house.residency.gone(id, house.now);
    }
    house.residency.set_budget(3);
    assert!(house.residency.next(house.now).unload.is_empty());
    house.release(0);
    assert_eq!(house.residency.next(house.now).unload, [0]);
}

#[test]
fn a_model_that_is_told_to_go_finishes_and_takes_in_no_more() {
    let mut house = House::new(10, &[5]);
    house.use_once(0);
    assert_eq!(house.enter(0), Entry::In);
    house.residency.dismiss(0);
    let Entry::Waits(ticket) = house.enter(0) else {
        panic!("it is to go");
    };
    house.settle();
    assert_eq!(house.residency.requests(0), (1, 1));
    house.release(0);
    house.settle();
    assert_eq!(house.loads, [0, 0], "it is loaded again for who waits");
    assert_eq!(house.again(0, ticket), Entry::In);
}

#[test]
fn a_client_waits_with_so_many_requests_and_no_more() {
    let mut house = House::new(10, &[5]);
    for _ in 0..3 {
        assert!(matches!(
            house.residency.enter(0, None, (ClientId(1), 3), house.now),
            Entry::Waits(_)
        ));
    }
    let entry = house.residency.enter(0, None, (ClientId(1), 3), house.now);
    assert_eq!(entry, Entry::Full);
    let other = house.residency.enter(0, None, (ClientId(2), 3), house.now);
    assert!(
        matches!(other, Entry::Waits(_)),
        "others have places of their own"
    );
}

#[test]
fn a_random_walk_stays_within_the_budget_and_serves_everybody() {
    let mut house = House::new(12, &[5, 4, 7, 3, 12]);
    let mut seed = 1_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let mut waiting: Vec<(ModelId, Ticket, Duration)> = Vec::new();
    let mut running: Vec<ModelId> = Vec::new();
    let mut longest = Duration::ZERO;
    for _ in 0..20_000 {
        match random(3) {
            0 if waiting.len() < 40 => {
                let id = random(5) as usize;
                match house.enter(id) {
                    Entry::In => running.push(id),
                    Entry::Waits(ticket) => waiting.push((id, ticket, house.now)),
                    Entry::Full => panic!("there are places"),
                }
            }
            1 if !running.is_empty() => {
                let id = running.swap_remove(random(running.len() as u64) as usize);
                house.release(id);
            }
            _ => house.pass(0.2),
        }
        house.settle();
        let now = house.now;
        waiting.retain(|&(id, ticket, since)| {
            let entry = house.residency.enter(id, Some(ticket), (CLIENT, MOST), now);
            if entry == Entry::In {
                longest = longest.max(now - since);
                running.push(id);
            }
            entry != Entry::In
        });
    }
    assert!(house.loads.len() > 100, "{}", house.loads.len());
    let now = house.now;
    let oldest = waiting.iter().map(|(_, _, since)| now - *since).max();
    let longest = longest.max(oldest.unwrap_or_default());
    assert!(
        longest < Duration::from_secs(600),
        "somebody waited for {longest:?}"
    );
}
