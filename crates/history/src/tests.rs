//! What takes bounds that callers do not set, or a transaction that they do not hold.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::json;

use crate::bounds::Bounds;
use crate::error::{Attempt, HistoryError};
use crate::model::{
    Answer, Changes, ImportedConversation, NewConversation, NewMessage, Owner, Role, State,
};
use crate::responses::{KeptResponse, Limits};
use crate::schema::TEXT_BYTES;
use crate::store::History;

fn me() -> Owner {
    Owner::new("me")
}

fn made(history: &History) -> String {
    let new = NewConversation::default();
    history.create(&me(), &new, 1).unwrap().id
}

/// A conversation's bytes, as they are counted and as they are.
fn measured(history: &History, id: &str) -> (i64, i64) {
    let sql = format!(
        "SELECT text_bytes, (SELECT ifnull(sum({TEXT_BYTES}), 0) FROM messages m \
         WHERE m.conversation = conversations.number) FROM conversations WHERE id = ?1"
    );
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    history.lock().query_row(&sql, [id], row).unwrap()
}

fn running(history: &History, id: &str) -> String {
    let mut new = NewMessage::new(None, Role::Assistant, "");
    new.state = State::Running;
    history.add_message(&me(), id, &new, 1).unwrap().id
}

fn answer(bytes: usize, state: State) -> Answer {
    Answer {
        content: "x".repeat(bytes).into(),
        state,
        ..Answer::default()
    }
}

#[test]
fn what_a_conversation_takes_in_memory_is_measured_and_bounded() {
    let bounds = Bounds {
        conversation_bytes: 1000,
        ..Bounds::default()
    };
    let history = History::in_memory_with(bounds).unwrap();
    let id = made(&history);
    let mut new = NewMessage::new(None, Role::User, "12345678");
    new.reasoning = Some("r".repeat(100));
    new.model = Some("tiny".to_owned());
    new.request = Some("x".repeat(5000).into());
    let first = history.add_message(&me(), &id, &new, 1).unwrap().id;
    assert_eq!(
        measured(&history, &id),
        (114, 114),
        "what is not loaded does not count"
    );
    let message = running(&history, &id);
    let mut save = answer(500, State::Running);
    save.logprobs = Some("x".repeat(5000).into());
    save.usage = Some(json!({}));
    let saved = history.save_answer(&me(), &id, &message, &save, 1);
    assert!(saved.unwrap());
    let before = (114 + 504, 114 + 504);
    assert_eq!(measured(&history, &id), before);
    let expected = "a conversation may have at most 1000 bytes: begin a new one";
    let long = NewMessage::new(None, Role::User, "x".repeat(400));
    let error = history.add_message(&me(), &id, &long, 1).unwrap_err();
    assert_eq!(error.to_string(), expected);
    let checkpoint = answer(1000, State::Running);
    let error = history.save_answer(&me(), &id, &message, &checkpoint, 1);
    assert_eq!(error.unwrap_err().to_string(), expected);
    assert_eq!(measured(&history, &id), before);
    let whole = history.whole(&me(), &id).unwrap().unwrap();
    let mut imported = ImportedConversation::from(whole);
    imported.messages[0].content = "x".repeat(1000).into();
    let error = history.import(&me(), &imported, 1).unwrap_err();
    assert_eq!(error.to_string(), expected);
    history.delete_message(&me(), &id, &message, 1).unwrap();
    assert_eq!(measured(&history, &id), (114, 114));
    history.delete_message(&me(), &id, &first, 1).unwrap();
    assert_eq!(measured(&history, &id), (0, 0));
    history.add_message(&me(), &id, &long, 1).unwrap();
}

#[test]
fn an_answer_that_has_ended_is_kept_without_room() {
    for (conversation_bytes, owner_bytes) in [(5000, u64::MAX), (u64::MAX, 5000)] {
        let bounds = Bounds {
            conversation_bytes,
            owner_bytes,
            ..Bounds::default()
        };
        let history = History::in_memory_with(bounds).unwrap();
        let id = made(&history);
        let message = running(&history, &id);
        let save = |state| history.save_answer(&me(), &id, &message, &answer(6000, state), 1);
        let error = save(State::Running).unwrap_err().to_string();
        assert!(error.contains("at most 5000 bytes"), "{error}");
        for state in [
            State::Stopped,
            State::Interrupted,
            State::Failed,
            State::Done,
        ] {
            assert!(save(state).unwrap());
        }
        let detail = history.message(&me(), &id, &message).unwrap().unwrap();
        assert_eq!(detail.message.content.as_str().unwrap().len(), 6000);
        let new = NewMessage::new(None, Role::User, "x");
        assert!(history.add_message(&me(), &id, &new, 1).is_err());
        let draft = Changes {
            draft: Some("to be sent elsewhere".to_owned()),
            ..Changes::default()
        };
        let updated = history.update(&me(), &id, &draft, 1);
        assert_eq!(updated.is_ok(), owner_bytes == u64::MAX);
        assert!(history.delete(&me(), &id).unwrap());
    }
}

/// Holds a transaction of one kind in a thread while `other` works. That it ends shows that it did not
/// wait, and so fast that it did not give up waiting.
fn beside<T>(
    hold: impl FnOnce(&dyn Fn(&Connection) -> Attempt<()>) -> T + Send,
    other: impl FnOnce(),
) {
    let (begun, has_begun) = mpsc::channel();
    let (end, is_ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            hold(&|connection| {
                // A statement begins the transaction.
                connection.query_row("SELECT count(*) FROM messages", [], |_| Ok(()))?;
                begun.send(()).unwrap();
                // So that a test that fails ends, too.
                let _ = is_ended.recv_timeout(Duration::from_secs(20));
                Ok(())
            });
        });
        has_begun.recv().unwrap();
        let begin = Instant::now();
        other();
        let waited = begin.elapsed();
        drop(end);
        assert!(waited < Duration::from_secs(3), "{waited:?}");
    });
}

#[test]
fn reading_and_writing_do_not_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let history = History::open(folder.path().join("history.db")).unwrap();
    let id = made(&history);
    let new = NewMessage::new(None, Role::User, "x");
    let first = history.add_message(&me(), &id, &new, 1).unwrap().id;
    let kept = KeptResponse {
        response: "{}",
        input: "[]",
        messages: "[]",
    };
    let limits = Limits {
        max_responses: 9,
        max_bytes: 9000,
    };
    history.keep_response(&me(), "r", &kept, limits, 1).unwrap();
    history.add_sign_in(&[1; 32], &[1; 32], 1).unwrap();
    let read = || {
        let listed = history.list(&me(), &Default::default()).unwrap();
        assert_eq!(listed.data.len(), 1);
        let conversation = history.conversation(&me(), &id).unwrap().unwrap();
        let whole = history.whole(&me(), &id).unwrap().unwrap();
        assert_eq!(conversation.message_count, whole.messages.len() as u64);
        let path = history.path(&me(), &id, &first, 1000).unwrap();
        assert_eq!(path.unwrap().len(), 1);
        assert!(history.message(&me(), &id, &first).unwrap().is_some());
        let ids = history.message_ids_below(&me(), &id, None).unwrap();
        assert!(ids.is_empty());
        assert!(history.response(&me(), "r").unwrap().is_some());
        assert_eq!(history.sign_ins().unwrap().len(), 1);
        let mut exported = 0;
        let each = |_| -> Result<(), HistoryError> {
            exported += 1;
            Ok(())
        };
        history.export(&me(), each).unwrap();
        assert_eq!(exported, 1);
        whole.messages.len()
    };
    beside(
        |wait| history.write(|transaction| wait(transaction)).unwrap(),
        || assert_eq!(read(), 1),
    );
    beside(
        |wait| history.read(|connection| wait(connection)).unwrap(),
        || drop(history.add_message(&me(), &id, &new, 1).unwrap()),
    );
    for messages in 3..10 {
        history.add_message(&me(), &id, &new, 1).unwrap();
        assert_eq!(read(), messages, "what is written is read at once");
    }
    let writes = history.read(|connection| {
        connection.execute("DELETE FROM messages", [])?;
        Ok(())
    });
    assert!(writes.is_err());
}

#[test]
fn a_deletion_waits_until_nobody_here_reads_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    // Less patience with other programs than the reader takes.
    let patience = Duration::from_millis(20);
    let history = History::open_with(&file, Bounds::default(), patience).unwrap();
    let id = made(&history);
    let secret = NewMessage::new(None, Role::User, "Wolpertinger");
    history.add_message(&me(), &id, &secret, 1).unwrap();
    std::thread::scope(|scope| {
        let (begun, has_begun) = mpsc::channel();
        let reading = history.clone();
        scope.spawn(move || {
            let read = reading.read(|connection| {
                connection.query_row("SELECT count(*) FROM messages", [], |_| Ok(()))?;
                begun.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(200));
                Ok(())
            });
            read.unwrap();
        });
        has_begun.recv().unwrap();
        assert!(history.delete(&me(), &id).unwrap());
    });
    let log = std::fs::read(folder.path().join("history.db-wal")).unwrap();
    assert!(log.is_empty(), "{} bytes", log.len());
}

#[test]
fn of_all_sign_ins_the_key_with_the_most_loses_its_oldest() {
    let bounds = Bounds {
        sign_ins: 5,
        ..Bounds::default()
    };
    let history = History::in_memory_with(bounds).unwrap();
    let add = |key: u8, token: u8| history.add_sign_in(&[token; 32], &[key; 32], 1).unwrap();
    let left = || -> Vec<u8> {
        let sign_ins = history.sign_ins().unwrap();
        sign_ins.iter().map(|it| it.token_hash[0]).collect()
    };
    add(7, 1);
    (2..=9).for_each(|token| add(8, token));
    assert_eq!(left(), [1, 6, 7, 8, 9], "one of many keys is left alone");
    (10..=12).for_each(|token| add(token, token));
    assert_eq!(left(), [1, 9, 10, 11, 12]);
    add(0, 13);
    assert_eq!(
        left(),
        [9, 10, 11, 12, 13],
        "the oldest of keys with as many"
    );
}

/// Keeps `count` responses of a hundred owners, of many sizes.
fn fill(history: &History, count: i64) {
    let sql = "INSERT INTO responses(owner, id, response, input, messages, bytes, created_at) \
               WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
               SELECT 'owner ' || (i * 7919 % 100), i, 'x', '', '', 513 + i * 31 % 977, 1 FROM n";
    let filled = history.write(|transaction| Ok(transaction.execute(sql, [count])?));
    assert_eq!(filled.unwrap(), usize::try_from(count).unwrap());
}

fn kept(history: &History) -> Vec<(String, i64, u64)> {
    let sql = "SELECT owner, number, bytes FROM responses ORDER BY number";
    let connection = history.lock();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, row.get(1)?, crate::rows::time(row, 2)?))
    });
    rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

fn keep(history: &History, max_responses: usize, max_bytes: usize) {
    let limits = Limits {
        max_responses,
        max_bytes,
    };
    let new = KeptResponse {
        response: "x",
        input: "",
        messages: "",
    };
    let owner = Owner::new("owner 1");
    assert!(history.keep_response(&owner, "a", &new, limits, 1).unwrap());
}

#[test]
fn who_takes_the_most_loses_its_oldest_until_all_fit() {
    for (max_responses, max_bytes) in [(250, usize::MAX), (1000, 100_000), (3, 5000), (1, 600)] {
        let history = History::in_memory().unwrap();
        fill(&history, 300);
        let mut expected = kept(&history);
        expected.push(("owner 1".to_owned(), 301, 513));
        let bytes = |rows: &[(String, i64, u64)]| rows.iter().map(|row| row.2).sum::<u64>();
        while expected.len() > max_responses || bytes(&expected) > max_bytes as u64 {
            let takes = |owner: &str| -> u64 {
                let rows = expected.iter().filter(|row| row.0 == owner);
                rows.map(|row| row.2).sum()
            };
            let owners = expected.iter().map(|row| (takes(&row.0), &row.0));
            let most = owners.max_by(|one, other| (one.0, other.1).cmp(&(other.0, one.1)));
            let most = most.unwrap().1.clone();
            let oldest = expected.iter().position(|row| row.0 == most);
            expected.remove(oldest.unwrap());
        }
        keep(&history, max_responses, max_bytes);
        assert_eq!(kept(&history), expected);
    }
}

#[test]
fn room_is_made_at_once_among_many_responses() {
    let history = History::in_memory().unwrap();
    fill(&history, 20_000);
    let begin = Instant::now();
    keep(&history, 10, usize::MAX);
    let taken = begin.elapsed();
    assert!(taken < Duration::from_secs(1), "{taken:?}");
    assert_eq!(kept(&history).len(), 10);
}
