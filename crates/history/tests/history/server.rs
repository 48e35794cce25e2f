//! Responses and sign-ins.

use matou_history::{History, KeptResponse, Limits, Owner, SIGN_INS_OF_KEY};

use crate::support::{me, other};

const LIMITS: Limits = Limits {
    max_responses: 1024,
    max_bytes: 10_000,
};

/// Keeps a response that takes so many bytes: 512 beside its text.
fn keep(history: &History, owner: &Owner, id: &str, bytes: usize, limits: Limits) -> bool {
    let response = "x".repeat(bytes - 512 - 4);
    let kept = KeptResponse {
        response: &response,
        input: "[]",
        messages: "[]",
    };
    history.keep_response(owner, id, &kept, limits, 1).unwrap()
}

fn is_kept(history: &History, owner: &Owner, id: &str) -> bool {
    history.response(owner, id).unwrap().is_some()
}

#[test]
fn a_response_comes_back_as_it_was() {
    let history = History::in_memory().unwrap();
    let kept = KeptResponse {
        response: "{\"id\":\"é\"}",
        input: "[1]",
        messages: "[2]",
    };
    assert!(history.keep_response(&me(), "a", &kept, LIMITS, 1).unwrap());
    let stored = history.response(&me(), "a").unwrap().unwrap();
    assert_eq!(stored.response, kept.response);
    assert_eq!(
        (stored.input.as_str(), stored.messages.as_str()),
        ("[1]", "[2]")
    );
}

#[test]
fn the_oldest_go_when_room_is_needed() {
    let history = History::in_memory().unwrap();
    for id in ["a", "b", "c"] {
        assert!(keep(&history, &me(), id, 4000, LIMITS));
    }
    let kept = ["a", "b", "c"].map(|id| is_kept(&history, &me(), id));
    assert_eq!(kept, [false, true, true]);
    let deleted = ["b", "b", "a"].map(|id| history.delete_response(&me(), id).unwrap());
    assert_eq!(deleted, [true, false, false]);
    keep(&history, &me(), "d", 6000, LIMITS);
    assert!(is_kept(&history, &me(), "c") && is_kept(&history, &me(), "d"));
    assert!(!keep(&history, &me(), "e", 10_001, LIMITS));
    assert!(!is_kept(&history, &me(), "e") && is_kept(&history, &me(), "d"));
    keep(&history, &me(), "d", 6000, LIMITS);
    assert!(
        is_kept(&history, &me(), "c"),
        "in place of the other, not beside it"
    );
}

#[test]
fn there_are_never_more_than_the_limit() {
    let history = History::in_memory().unwrap();
    let limits = Limits {
        max_bytes: 64 << 20,
        ..LIMITS
    };
    for id in 0..=1024 {
        assert!(keep(&history, &me(), &id.to_string(), 600, limits));
    }
    assert!(!is_kept(&history, &me(), "0") && is_kept(&history, &me(), "1"));
    let none = Limits {
        max_responses: 0,
        ..limits
    };
    assert!(!keep(&history, &me(), "none", 600, none));
}

#[test]
fn a_response_is_its_makers_who_cannot_crowd_out_others() {
    let history = History::in_memory().unwrap();
    keep(&history, &other(), "mine", 2000, LIMITS);
    for id in 0..20 {
        keep(&history, &me(), &id.to_string(), 3000, LIMITS);
    }
    assert!(is_kept(&history, &other(), "mine"));
    assert!(!is_kept(&history, &me(), "mine"));
    assert!(!history.delete_response(&me(), "mine").unwrap());
    assert!(is_kept(&history, &me(), "19") && !is_kept(&history, &other(), "19"));
    keep(&history, &other(), "19", 700, LIMITS);
    assert!(history.delete_response(&other(), "19").unwrap());
    assert!(is_kept(&history, &me(), "19"), "the same id, another owner");
}

#[test]
fn sign_ins_are_kept_removed_and_end() {
    let history = History::in_memory().unwrap();
    for index in 1..=3 {
        history
            .add_sign_in(&[index; 32], &[9; 32], u64::from(index))
            .unwrap();
    }
    history.add_sign_in(&[1; 32], &[8; 32], 5).unwrap();
    let times = |history: &History| {
        let sign_ins = history.sign_ins().unwrap();
        sign_ins.iter().map(|it| it.created_at).collect::<Vec<_>>()
    };
    assert_eq!(times(&history), [2, 3, 5]);
    let last = history.sign_ins().unwrap().pop().unwrap();
    assert_eq!((last.token_hash, last.key_digest), ([1; 32], [8; 32]));
    assert!(history.remove_sign_in(&[3; 32]).unwrap());
    assert!(!history.remove_sign_in(&[3; 32]).unwrap());
    assert_eq!(history.remove_sign_ins_before(5).unwrap(), 1);
    assert_eq!(times(&history), [5]);
}

#[test]
fn a_key_has_so_many_sign_ins_and_loses_its_oldest() {
    let history = History::in_memory().unwrap();
    let token = |index: u64| {
        let mut token = [0; 32];
        token[..8].copy_from_slice(&index.to_be_bytes());
        token
    };
    let add = |key: u8, index: u64| history.add_sign_in(&token(index), &[key; 32], index);
    add(1, 0).unwrap();
    for index in 1..=SIGN_INS_OF_KEY + 3 {
        add(2, index).unwrap();
    }
    let left = history.sign_ins().unwrap();
    let times: Vec<u64> = left.iter().map(|it| it.created_at).collect();
    let expected: Vec<u64> = [0].into_iter().chain(4..=SIGN_INS_OF_KEY + 3).collect();
    assert_eq!(times, expected);
}
