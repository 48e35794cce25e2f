//! Whose turn it is: clients and requests beside each other.

use super::*;

/// Lets sequences in one at a time until that with this id is, and returns how many came before it.
fn overtaken(
    scheduler: &mut Scheduler,
    id: SequenceId,
    mut arrive: impl FnMut(&mut Scheduler),
) -> usize {
    for before in 0..100_000 {
        arrive(scheduler);
        let step = run_step(scheduler, 1);
        let served = step.sequences[0].id;
        if served == id {
            return before;
        }
        scheduler.remove(served);
    }
    panic!("{id:?} is never served");
}

fn placed(place: usize, priority: i32) -> NewSequence {
    NewSequence {
        place,
        priority,
        ..sequence([1, 2, 3])
    }
}

fn of(client: u32, place: usize) -> NewSequence {
    NewSequence {
        client: ClientId(client),
        ..placed(place, 0)
    }
}

#[test]
fn a_request_of_many_sequences_lets_others_pass() {
    let mut scheduler = scheduler(100, 1, 64);
    for place in 0..2000 {
        scheduler.add(placed(place, 0));
    }
    overtaken(&mut scheduler, SequenceId(500), |_| {});
    // Another client's, then one of the same, which has a request waiting.
    let other = scheduler.add(placed(0, 0));
    let own = scheduler.add(placed(1, 0));
    assert!(overtaken(&mut scheduler, other, |_| {}) <= 2);
    assert!(overtaken(&mut scheduler, own, |_| {}) <= 3);
}

#[test]
fn nobody_starves_whatever_arrives() {
    let mut scheduler = scheduler(100, 1, 64);
    scheduler.add(placed(0, 0));
    let last = scheduler.add(placed(20, 8));
    // Endless requests that are the first of their clients, and as urgent as any may be.
    let arrive = |scheduler: &mut Scheduler| {
        scheduler.add(placed(0, -8));
    };
    let before = overtaken(&mut scheduler, last, arrive);
    assert!(before < 64 * 40, "{before} came first");
}

#[test]
fn a_client_that_has_less_than_its_share_gets_a_place() {
    let mut scheduler = scheduler(100, 4, 64);
    for place in 0..10 {
        scheduler.add(of(1, place));
    }
    run_step(&mut scheduler, 1);
    let newcomer = scheduler.add(of(2, 0));
    let step = run_step(&mut scheduler, 1);
    assert_eq!((step.sequences[0].id, step.num_preempted), (newcomer, 1));
    assert_eq!(step.sequences.len(), 4);
    // Two of four are its share; its third waits its turn like everybody's.
    let second = scheduler.add(of(2, 1));
    assert_eq!(run_step(&mut scheduler, 1).sequences[0].id, second);
    let third = scheduler.add(of(2, 2));
    let step = run_step(&mut scheduler, 1);
    assert_eq!(step.num_preempted, 0);
    assert!(step.sequences.iter().all(|one| one.id != third));
    // Who gave up its place first is the first to get one again.
    for gone in [newcomer, second, third] {
        scheduler.remove(gone);
    }
    assert!(
        shares(&run_step(&mut scheduler, 1))
            .iter()
            .any(|(id, _)| *id == 3)
    );
}

#[test]
fn a_client_that_has_less_than_its_share_gets_blocks() {
    let mut scheduler = scheduler(16, 8, 64);
    let of = |client: u32, place: usize, tokens: u32| NewSequence {
        client: ClientId(client),
        place,
        ..sequence(client * 1000 + place as u32 * 100..client * 1000 + place as u32 * 100 + tokens)
    };
    for place in 0..4 {
        scheduler.add(of(1, place, 50));
    }
    for _ in 0..6 {
        run_step(&mut scheduler, 1);
    }
    let newcomer = scheduler.add(of(2, 0, 30));
    let step = run_step(&mut scheduler, 1);
    assert_eq!(step.sequences[0].id, newcomer, "{step:?}");
    // One that needs as much as the other has waits.
    let large = scheduler.add(of(3, 0, 150));
    let step = run_step(&mut scheduler, 1);
    assert!(step.sequences.iter().all(|one| one.id != large), "{step:?}");
}

#[test]
fn answers_that_wait_for_their_prompt_do_not_put_others_behind_them() {
    let mut scheduler = scheduler(1000, 4, 64);
    let mut leader = None;
    for place in 0..512 {
        // A request of four prompts, 128 answers to each.
        leader = leader.filter(|_| place % 128 > 0);
        let id = scheduler.add(NewSequence {
            leader,
            ..placed(place, 0)
        });
        leader = leader.or(Some(id));
    }
    run_step(&mut scheduler, 1);
    let bystander = scheduler.add(placed(1, 0));
    assert!(overtaken(&mut scheduler, bystander, |_| {}) <= 8);
}
/// Runs a large request beside a small one each `every` steps, of so many other clients in turn, and behind
/// some; whether it gets its answer.
fn large_beside_small(clients: u32, every: usize, life: usize, ahead: usize) -> bool {
    let mut scheduler = scheduler(16, 8, 64);
    let small = |number: u32| NewSequence {
        client: ClientId(2 + number % clients),
        ..sequence(number * 1000..number * 1000 + 20)
    };
    let mut client = 1;
    for _ in 0..ahead {
        scheduler.add(small(client));
        client += 1;
    }
    if ahead > 0 {
        run_step(&mut scheduler, 1);
    }
    let large = scheduler.add(NewSequence {
        client: ClientId(1),
        ..sequence(0..200)
    });
    for i in 0..20_000 {
        if i % every == every - 1 {
            scheduler.add(small(client));
            client += 1;
        }
        let step = run_step(&mut scheduler, 1);
        for scheduled in &step.sequences {
            let done = scheduler.sequence(scheduled.id).output_token_ids().len() >= life;
            if done && scheduled.id != large {
                scheduler.remove(scheduled.id);
            }
        }
        if scheduler.sequence(large).output_token_ids().len() >= 20 {
            return true;
        }
    }
    false
}

#[test]
fn a_large_request_beside_small_ones_gets_its_answer() {
    let mut starved = Vec::new();
    let clients = [1, 2, 3, u32::MAX];
    for (clients, every) in clients
        .iter()
        .flat_map(|n| [1, 2, 4, 8].map(|every| (*n, every)))
    {
        for (life, ahead) in [2, 10, 40]
            .iter()
            .flat_map(|life| [0, 3].map(|ahead| (*life, ahead)))
        {
            if !large_beside_small(clients, every, life, ahead) {
                starved.push((clients, every, life, ahead));
            }
        }
    }
    assert!(starved.is_empty(), "{starved:?}");
}

#[test]
fn where_there_is_room_for_all_nobody_gives_anything_up() {
    let mut scheduler = scheduler(100, 8, 64);
    for place in 0..4 {
        scheduler.add(of(1, place));
    }
    run_step(&mut scheduler, 1);
    scheduler.add(of(1, 1));
    scheduler.add(of(2, 1));
    let step = run_step(&mut scheduler, 1);
    assert_eq!((step.sequences.len(), step.num_preempted), (6, 0));
}

#[test]
fn who_is_let_in_early_takes_what_others_give_up_and_nothing_else() {
    let mut scheduler = scheduler(16, 8, 256);
    let long = |client: u32, tokens: u32| NewSequence {
        client: ClientId(client),
        ..sequence(client * 1000..client * 1000 + tokens)
    };
    scheduler.add(long(1, 40));
    scheduler.add(long(1, 41));
    run_step(&mut scheduler, 1);
    // It waits for blocks that are free but not enough yet.
    scheduler.add(long(2, 170));
    let small = scheduler.add(long(3, 10));
    let free = scheduler.pool().num_available();
    let step = run_step(&mut scheduler, 1);
    assert_eq!((step.sequences[0].id, step.num_preempted), (small, 1));
    assert!(scheduler.pool().num_available() >= free);
}

#[test]
fn who_is_let_in_early_is_not_put_back_in_the_same_step() {
    let mut scheduler = with_window(10, 2, 128, Some(16));
    let long = |client: u32, tokens: u32, priority: i32| NewSequence {
        client: ClientId(client),
        priority,
        ..sequence(client * 1000..client * 1000 + tokens)
    };
    let decodes = scheduler.add(long(1, 4, 0));
    run_step(&mut scheduler, 1);
    let reads = scheduler.add(long(1, 400, -8));
    scheduler.set_prefill_limit(120);
    run_step(&mut scheduler, 1);
    // Its next piece would need one block more than the newcomer leaves.
    let newcomer = scheduler.add(long(2, 17, 0));
    scheduler.set_prefill_limit(usize::MAX);
    let step = run_step(&mut scheduler, 1);
    assert_eq!(shares(&step), [(newcomer.0, 17)]);
    assert_eq!(scheduler.running.last().map(|last| last.id), Some(newcomer));
    scheduler.remove(newcomer);
    scheduler.remove(decodes);
    assert_eq!(run_step(&mut scheduler, 1).sequences[0].id, reads);
}

#[test]
fn who_goes_before_the_line_leaves_the_first_its_part_of_each_step() {
    let mut scheduler = scheduler(1000, 8, 64);
    scheduler.add(of(1, 0));
    let reader = scheduler.add(NewSequence {
        client: ClientId(1),
        ..sequence(0..500)
    });
    run_step(&mut scheduler, 1);
    scheduler.remove(reader);
    let large = scheduler.add(NewSequence {
        client: ClientId(1),
        ..sequence(5000..5200)
    });
    // Each brings a prompt that could fill a step, and has gone when the next comes.
    for client in 2..50 {
        let other = scheduler.add(NewSequence {
            client: ClientId(client),
            ..sequence(client * 1000..client * 1000 + 64)
        });
        run_step(&mut scheduler, 1);
        scheduler.remove(other);
    }
    assert!(scheduler.sequence(large).has_output(), "it was never read");
}
